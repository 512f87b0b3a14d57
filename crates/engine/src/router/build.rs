//! From a list of routes to a router, and what is wrong with the list: routes that no request can
//! reach.

use hashbrown::HashMap;
use http::Method;

use super::condition::{HeaderCondition, Match, QueryCondition};
use super::host::Hosts;
use super::tree::Leaf;
use super::{Entry, Router};

/// Takes routes in the order of the file.
pub struct Builder<T> {
    hosts: Hosts,
    entries: Vec<Entry<T>>,
}

/// A route that can never serve, because others take every request that it matches.
#[derive(Debug)]
pub struct Shadow<'r, T> {
    pub value: &'r T,
    /// The match that cannot be reached; a route may have others.
    pub wanted: &'r Match,
    /// Who takes its requests: one route, or several that share its methods.
    pub by: Vec<&'r T>,
}

impl<T> Builder<T> {
    pub(super) fn new() -> Self {
        Self { hosts: Hosts::default(), entries: Vec::new() }
    }

    /// Adds a route, or one more match of a route.
    pub fn add(&mut self, mut wanted: Match, value: T) {
        wanted.normalize();
        self.hosts.tree(&wanted.host).insert(&wanted.path, self.entries.len());
        self.entries.push(Entry { wanted, value });
    }

    pub fn build(self) -> Router<T> {
        let Self { mut hosts, entries } = self;
        let wanted = |route: &usize| entries.get(*route).map(|entry| &entry.wanted);
        for tree in hosts.trees_mut() {
            tree.finish(&mut |leaf| {
                let mut ranked = leaf.order(false).to_vec();
                ranked.sort_by_cached_key(|route| (wanted(route).map(Match::rank), *route));
                let lists_head =
                    |route: &usize| wanted(route).is_some_and(|w| w.lists(&Method::HEAD));
                let (mut for_head, others): (Vec<_>, Vec<_>) =
                    ranked.iter().copied().partition(lists_head);
                for_head.extend(others);
                leaf.set_order(ranked, for_head);
            });
        }
        Router { hosts, entries }
    }
}

type Conditions<'r> = (&'r [HeaderCondition], &'r [QueryCondition]);

impl<T> Router<T> {
    /// The routes that no request can reach, in the order of the file.
    ///
    /// The rule never asks a wider route before a narrower one of the same host and path: each of
    /// its steps prefers the one that asks for more. So a route can only be hidden by routes with
    /// the very same header and query conditions, which together take all of its methods.
    pub fn shadowed(&self) -> Vec<Shadow<'_, T>> {
        let mut hidden = Vec::new();
        for tree in self.hosts.trees() {
            tree.leaves(&mut |leaf| self.shadowed_in(leaf, &mut hidden));
        }
        hidden.sort_unstable_by_key(|(route, _)| *route);
        let shadow = |(route, by): (usize, Vec<usize>)| {
            let Entry { wanted, value } = self.entries.get(route)?;
            let by =
                by.iter().filter_map(|route| self.entries.get(*route)).map(|entry| &entry.value);
            Some(Shadow { value, wanted, by: by.collect() })
        };
        hidden.into_iter().filter_map(shadow).collect()
    }

    fn shadowed_in(&self, leaf: &Leaf, hidden: &mut Vec<(usize, Vec<usize>)>) {
        let mut takers: HashMap<Conditions<'_>, Takers<'_>> = HashMap::new();
        for &route in leaf.order(false) {
            let Some(Entry { wanted, .. }) = self.entries.get(route) else { continue };
            let takers = takers.entry((&wanted.headers, &wanted.query)).or_default();
            match takers.all_of(wanted) {
                Some(by) => hidden.push((route, by)),
                None => takers.add(wanted, route),
            }
        }
    }
}

/// Which of the routes asked so far takes a method.
#[derive(Default)]
struct Takers<'r> {
    listed: HashMap<&'r Method, usize>,
    any: Option<usize>,
}

impl<'r> Takers<'r> {
    /// Those that take every method of a route, if each has one. A route that does not list HEAD
    /// is asked for it after all that do, so whoever takes its GET takes its HEAD.
    fn all_of(&self, wanted: &Match) -> Option<Vec<usize>> {
        if wanted.methods.is_empty() {
            return self.any.map(|route| vec![route]);
        }
        let by: Option<Vec<_>> =
            wanted.methods.iter().map(|m| self.listed.get(m).copied()).collect();
        by.map(|mut by| {
            by.sort_unstable();
            by.dedup();
            by
        })
    }

    fn add(&mut self, wanted: &'r Match, route: usize) {
        if wanted.methods.is_empty() {
            self.any = self.any.or(Some(route));
        }
        for method in &wanted.methods {
            self.listed.entry(method).or_insert(route);
        }
    }
}
