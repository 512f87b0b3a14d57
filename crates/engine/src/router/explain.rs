//! Why a request gets the route that it gets: for `portcullis explain` and for people who wonder.
//! It takes the walk that a lookup takes, to its end, so it cannot tell another story.

use std::fmt;
use std::ops::ControlFlow;

use super::tree::{Nearness, Walk, in_common};
use super::{Entry, Found, Match, Missed, Query, Refusal, Router, Segment};

/// How many routes are named as near.
const MAX_NEAR: usize = 3;

/// All there is to say about one request.
#[derive(Debug)]
pub struct Explanation<'r, 'q, T> {
    pub result: Result<Found<'r, 'q, T>, Missed>,
    /// The routes that have the request's host and path, in the order in which they are asked.
    pub considered: Vec<Considered<'r, T>>,
    /// Other routes, the nearest first; at most three.
    pub near: Vec<Near<'r, T>>,
    /// Nodes of the route tree that have to do with the path: no lookup of it sees more.
    pub visited: usize,
}

/// A route that has the request's host and path.
#[derive(Debug)]
pub struct Considered<'r, T> {
    pub value: &'r T,
    pub wanted: &'r Match,
    pub why: Why<'r>,
}

/// What became of a route that has the request's host and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'r> {
    Serves,
    Refused(Refusal<'r>),
    /// It would serve, but a more specific one does.
    Shadowed,
}

/// A route whose path or host the request misses.
#[derive(Debug)]
pub struct Near<'r, T> {
    pub value: &'r T,
    pub wanted: &'r Match,
    pub apart: Apart,
}

/// What keeps a request from a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The path matches; it serves other hosts.
    Host,
    Path,
}

impl<T> Router<T> {
    /// Tells of every route that was considered, and of those that come near. Costs time in
    /// proportion to the number of routes: not for the request path.
    pub fn explain<'r, 'q>(&'r self, request: &Query<'q>) -> Explanation<'r, 'q, T> {
        let mut walk = Walk::new(request.path);
        let mut considered = Vec::new();
        let mut served = false;
        self.candidates(request, &mut walk, |Entry { wanted, value }, _| {
            let why = match wanted.test(request) {
                Err(refusal) => Why::Refused(refusal),
                Ok(()) if served => Why::Shadowed,
                Ok(()) => Why::Serves,
            };
            served |= why == Why::Serves;
            considered.push(Considered { value, wanted, why });
            ControlFlow::<()>::Continue(())
        });
        let near = self.near(request);
        Explanation { result: self.find(request), considered, near, visited: walk.visited }
    }

    fn near(&self, request: &Query<'_>) -> Vec<Near<'_, T>> {
        let others = self.entries.iter().filter_map(|Entry { wanted, value }| {
            let host = wanted.host.takes(request.host);
            let nearness = nearness(wanted, request.path);
            let apart = match nearness {
                None if host => return None,
                None => Apart::Host,
                Some(nearness) if nearness == Nearness::default() => return None,
                Some(_) => Apart::Path,
            };
            // A path that matches is nearer than any that does not.
            let key = (nearness.is_none(), nearness, host);
            Some((key, Near { value, wanted, apart }))
        });
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
        others.truncate(MAX_NEAR);
        others.into_iter().map(|(_, near)| near).collect()
    }
}

/// How near a pattern is to a path; none if it takes it.
pub(super) fn nearness(wanted: &Match, path: &str) -> Option<Nearness> {
    let Some(relative) = path.strip_prefix('/') else { return Some(Nearness::default()) };
    let mut parts = relative.split('/');
    let mut segments = 0;
    for segment in wanted.path.segments() {
        let part = parts.next();
        let bytes = match (segment, part) {
            (Segment::Literal(text), Some(part)) if **text == *part => None,
            (Segment::Literal(text), Some(part)) => Some(in_common(text, part)),
            (Segment::Name(_), Some(part)) if !part.is_empty() => None,
            _ => Some(0),
        };
        if let Some(bytes) = bytes {
            return Some(Nearness { segments, bytes });
        }
        segments += 1;
    }
    let taken = wanted.path.has_tail() || parts.next().is_none();
    (!taken).then_some(Nearness { segments, bytes: 0 })
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves => f.write_str("it serves the request"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Shadowed => f.write_str("it would serve, but a more specific route does"),
        }
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("its path matches, its host does not"),
            Self::Path => f.write_str("its path does not match"),
        }
    }
}
