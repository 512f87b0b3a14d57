//! Which route serves a request. Pure, and generic over what a route is, so that precedence can be
//! read and tested alone.
//!
//! # The rule: the most specific route that takes the request serves it
//!
//! Routes are asked in this order, whatever their order in the file:
//!
//! 1. **Host**: an exact name, then the longer `*.suffix` before the shorter, then any host.
//! 2. **Path**, segment by segment from the left: a literal, then `{name}`, then `/*`. At the
//!    path's end a pattern that ends there comes before one that goes on with `/*`.
//! 3. Among routes of the same host and path (whatever the `{name}`s are called): those that list
//!    methods before those that take any; then more header conditions, and of as many the ones
//!    with more exact values; then the same for query conditions; then fewer listed methods.
//! 4. Then the order in the file.
//!
//! The first one whose method, headers and query all hold serves. One that does not is passed
//! over and the next is asked, across paths and hosts: `/a/b` that wants a header falls back to
//! `/a/{y}`, and that to `/a/*`.
//!
//! What matches what:
//!
//! * `{name}` takes one segment that is not empty. `/a/*` takes `/a`, `/a/` and all below. A
//!   trailing slash is otherwise significant: `/a` and `/a/` are two paths.
//! * `*.example.com` takes every name below `example.com`, not `example.com` itself.
//! * Of a header or query parameter that stands there more than once, the first counts, as it does
//!   for policies.
//! * GET stands for HEAD (RFC 9110 section 9.3.2), so HEAD goes where GET goes, unless a route of
//!   the same host and path lists HEAD: such routes are asked first. A route elsewhere that lists
//!   HEAD does not draw it away from the more specific path's policies.
//!
//! * A preflight has the values of no header that it announces: a route's condition on such a header
//!   holds for it (see [`Router::meant`]).
//!
//! When a route's host, path, headers and query hold but for no such route the method does, the
//! answer is [`Missed::MethodNotAllowed`] with all methods that would be served.
//!
//! # What a lookup costs
//!
//! One hash per host form and one per path segment; the number of routes has no part in it. A
//! lookup looks at the trees of at most 1 + (labels of the longest suffix) + 1 hosts, and in each at
//! no more than `2^(n+1) - 1` nodes for a path of n segments, because a node has at most two
//! children that take a segment, and n is never more than the longest pattern's
//! (at most [`MAX_SEGMENTS`]). It is also never more than the nodes that the tree has; the power
//! of two needs routes for every mixture of literals and names, which real ones are not. Only
//! routes of one host and one path (those that differ in conditions alone) are tried one by one. A
//! lookup allocates nothing for up to four names and host suffixes of up to eight labels.

mod build;
mod condition;
mod explain;
mod host;
mod pattern;
mod preflight;
mod tree;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use portcullis_core::CanonicalPath;
use smallvec::SmallVec;

pub use build::{Builder, Shadow};
pub use condition::{HeaderCondition, Match, QueryCondition, Refusal, Wanted, parse_method};
pub use explain::{Apart, Considered, Explanation, Near, Why};
pub use host::HostPattern;
pub use pattern::{MAX_SEGMENTS, Pattern, PatternError, Segment};

use host::Hosts;
use tree::Walk;

/// What of a request decides about its route.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// In lower case, without port and without a trailing dot.
    pub host: &'q str,
    /// Canonical.
    pub path: &'q str,
    pub method: &'q Method,
    pub headers: &'q HeaderMap,
    /// What follows the `?`, as it was sent.
    pub query: Option<&'q str>,
    /// Names of headers that will be there, whatever their values: what a preflight announces.
    pub announced: Option<&'q HeaderValue>,
}

struct Entry<T> {
    wanted: Match,
    value: T,
}

/// Finds the route of a request. Immutable; see the module for the rule.
pub struct Router<T> {
    hosts: Hosts,
    /// In the order in which they were added.
    entries: Vec<Entry<T>>,
}

/// The route that serves a request.
#[derive(Debug)]
pub struct Found<'r, 'q, T> {
    pub value: &'r T,
    /// What it matched by.
    pub wanted: &'r Match,
    path: &'q str,
    spans: SmallVec<[Range<usize>; 4]>,
    tail: Option<usize>,
}

impl<T> Found<'_, '_, T> {
    /// The values of `{name}` segments from left to right, still percent-encoded.
    pub fn params(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        let values = self.spans.iter().map(|span| self.path.get(span.clone()).unwrap_or_default());
        self.wanted.path.names().iter().zip(values)
    }

    /// For a pattern that ends in `/*`: what follows the part in front of it, with its slash.
    /// `/a/*` has the tail `` of `/a`, `/` of `/a/` and `/b/c` of `/a/b/c`.
    pub fn tail(&self) -> Option<&str> {
        self.tail.map(|at| self.path.get(at..).unwrap_or_default())
    }
}

/// What is wrong with a path that [`Router::read_otherwise`] finds something for.
pub const TWO_READINGS: &str = "the path can be read in two ways, which lead to different routes";

/// Why no route serves a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// 404. [`Router::nearest`] names what may have been meant.
    NotFound,
    /// 405, or 204 to OPTIONS.
    MethodNotAllowed {
        /// The value of `Allow` (RFC 9110 section 10.2.1), sorted; has OPTIONS, and HEAD with GET.
        allow: String,
    },
}

impl<T> Router<T> {
    pub fn builder() -> Builder<T> {
        Builder::new()
    }

    /// The route that serves a request.
    pub fn find<'r, 'q>(&'r self, request: &Query<'q>) -> Result<Found<'r, 'q, T>, Missed> {
        let mut walk = Walk::new(request.path);
        let mut method_missed = false;
        let found = self.candidates(request, &mut walk, |entry, tail| {
            match entry.wanted.test(request) {
                Ok(()) => return ControlFlow::Break((entry, tail)),
                Err(Refusal::Method(_)) => method_missed = true,
                Err(Refusal::Header(_) | Refusal::Query(_)) => {}
            }
            ControlFlow::Continue(())
        });
        match found {
            Some((entry, tail)) => {
                let Entry { wanted, value } = entry;
                Ok(Found { value, wanted, path: request.path, spans: walk.spans, tail })
            }
            None if method_missed => Err(Missed::MethodNotAllowed { allow: self.allow(request) }),
            None => Err(Missed::NotFound),
        }
    }

    /// Another route that serves the request when its path is read otherwise, and that reading.
    pub fn read_otherwise<'r>(
        &'r self,
        request: &Query<'_>,
        path: &CanonicalPath,
        same: impl Fn(&T) -> bool,
    ) -> Option<(&'r T, String)> {
        path.other_readings().find_map(|reading| {
            let found = self.find(&Query { path: &reading, ..*request }).ok()?.value;
            (!same(found)).then_some((found, reading))
        })
    }

    /// For a request that no route serves: the route of its host that comes nearest to its path,
    /// if there is anything in common. Costs about as much as a lookup, whoever asks.
    pub fn nearest<'r>(&'r self, request: &Query<'_>) -> Option<&'r T> {
        let mut walk = Walk::new(request.path);
        let taken =
            self.candidates(request, &mut walk, |entry, _| ControlFlow::Break(&entry.value));
        taken.or_else(|| {
            let trees = self.hosts.matching(request.host);
            let best = trees.filter_map(|tree| tree::nearest(tree, request.path));
            let best = best.reduce(|best, next| if next.0 > best.0 { next } else { best });
            best.and_then(|(_, route)| self.entries.get(route)).map(|entry| &entry.value)
        })
    }

    /// Shows `visit` every route that takes the request's host and path, in the order of the rule,
    /// until it breaks. The walk then holds the names' places in that route's path.
    fn candidates<'r, B>(
        &'r self,
        request: &Query<'_>,
        walk: &mut Walk<'_>,
        mut visit: impl FnMut(&'r Entry<T>, Option<usize>) -> ControlFlow<B>,
    ) -> Option<B> {
        let head = *request.method == Method::HEAD;
        for tree in self.hosts.matching(request.host) {
            let end = walk.tree(tree, &mut |leaf, tail| {
                let entries = leaf.order(head).iter().filter_map(|&route| self.entries.get(route));
                for entry in entries {
                    visit(entry, tail)?;
                }
                ControlFlow::Continue(())
            });
            if let ControlFlow::Break(answer) = end {
                return Some(answer);
            }
        }
        None
    }

    /// Every method that would be served if all else stayed the same.
    fn allow(&self, request: &Query<'_>) -> String {
        let mut methods = vec![Method::OPTIONS.as_str()];
        let mut walk = Walk::new(request.path);
        self.candidates(request, &mut walk, |entry, _| {
            if let Err(Refusal::Method(listed)) = entry.wanted.test(request) {
                methods.extend(listed.iter().map(Method::as_str));
            }
            ControlFlow::<()>::Continue(())
        });
        if methods.contains(&Method::GET.as_str()) {
            methods.push(Method::HEAD.as_str());
        }
        methods.sort_unstable();
        methods.dedup();
        methods.join(", ")
    }
}
