//! The path patterns of one host as a tree: one node per pattern prefix, one hash look-up per
//! literal segment. It knows routes by number only.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::pattern::{Pattern, Segment};

/// The routes of one host and path, by number.
#[derive(Default)]
pub(super) struct Leaf {
    /// In the order in which they are asked.
    ranked: Vec<usize>,
    /// The same for HEAD: those that list it come first.
    for_head: Vec<usize>,
}

impl Leaf {
    pub(super) fn order(&self, head: bool) -> &[usize] {
        if head { &self.for_head } else { &self.ranked }
    }

    /// Called once, when every route is in.
    pub(super) fn set_order(&mut self, ranked: Vec<usize>, for_head: Vec<usize>) {
        *self = Self { ranked, for_head };
    }

    fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }
}

/// What stands below one prefix.
pub(super) struct Node {
    literals: HashMap<Arc<str>, Node>,
    /// The keys of `literals`, sorted: what looks most like a segment that is not there is a
    /// neighbour of the place where it would stand.
    labels: Vec<Arc<str>>,
    named: Option<Box<Node>>,
    /// Patterns that end here.
    exact: Leaf,
    /// Patterns that go on with `/*` here.
    tail: Leaf,
    /// The lowest number of a route at or below this node. Nothing is near the root.
    first: usize,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            literals: HashMap::new(),
            labels: Vec::new(),
            named: None,
            exact: Leaf::default(),
            tail: Leaf::default(),
            first: usize::MAX,
        }
    }
}

impl Node {
    pub(super) fn insert(&mut self, pattern: &Pattern, route: usize) {
        let mut node = self;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(Arc::clone(text)).or_default(),
                Segment::Name(_) => node.named.get_or_insert_default(),
            };
            node.first = node.first.min(route);
        }
        let leaf = if pattern.has_tail() { &mut node.tail } else { &mut node.exact };
        leaf.ranked.push(route);
    }

    /// Visits every leaf once and makes the tree ready for look-ups.
    pub(super) fn finish(&mut self, visit: &mut impl FnMut(&mut Leaf)) {
        self.labels = self.literals.keys().cloned().collect();
        self.labels.sort_unstable();
        visit(&mut self.exact);
        visit(&mut self.tail);
        let named = self.named.as_deref_mut();
        for child in self.literals.values_mut().chain(named) {
            child.finish(visit);
        }
    }

    pub(super) fn leaves<'t>(&'t self, visit: &mut impl FnMut(&'t Leaf)) {
        visit(&self.exact);
        visit(&self.tail);
        for child in self.literals.values().chain(self.named.as_deref()) {
            child.leaves(visit);
        }
    }

    /// The literal child that has the most leading bytes in common with a segment.
    fn most_alike(&self, segment: &str) -> Option<(usize, &Node)> {
        let at = self.labels.partition_point(|label| **label < *segment);
        let neighbours = [at.checked_sub(1), Some(at)].into_iter().flatten();
        let alike = neighbours.filter_map(|at| {
            let label = self.labels.get(at)?;
            Some((in_common(label, segment), self.literals.get(label)?))
        });
        alike.max_by_key(|(shared, node)| (*shared, std::cmp::Reverse(node.first)))
    }
}

/// Leading bytes that two texts have in common.
pub(super) fn in_common(left: &str, right: &str) -> usize {
    left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count()
}

/// The segment that begins at a byte of the path, as a range, and where the next one begins.
fn segment_at(path: &str, at: usize) -> (Range<usize>, Option<usize>) {
    let rest = path.get(at..).unwrap_or_default();
    match rest.find('/') {
        Some(length) => (at..at + length, Some(at + length + 1)),
        None => (at..path.len(), None),
    }
}

/// One way through the trees of a request's host, the most specific leaf first.
pub(super) struct Walk<'q> {
    path: &'q str,
    /// Where the values of `{name}` segments stand in the path. After a break: those of the leaf
    /// that was chosen.
    pub(super) spans: SmallVec<[Range<usize>; 4]>,
    /// Nodes looked at.
    pub(super) visited: usize,
}

impl<'q> Walk<'q> {
    pub(super) fn new(path: &'q str) -> Self {
        Self { path, spans: SmallVec::new(), visited: 0 }
    }

    /// Shows `visit` every leaf that takes the path, with the byte at which a tail begins, until
    /// it breaks.
    pub(super) fn tree<'t, B>(
        &mut self,
        root: &'t Node,
        visit: &mut impl FnMut(&'t Leaf, Option<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.spans.clear();
        if !self.path.starts_with('/') {
            return ControlFlow::Continue(());
        }
        self.node(root, Some(1), visit)
    }

    /// `at` is where the rest begins, behind its slash; none at the path's end. Goes only as deep
    /// as the tree, whatever the path.
    fn node<'t, B>(
        &mut self,
        node: &'t Node,
        at: Option<usize>,
        visit: &mut impl FnMut(&'t Leaf, Option<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.visited += 1;
        match at {
            Some(at) => {
                let (span, next) = segment_at(self.path, at);
                let segment = self.path.get(span.clone()).unwrap_or_default();
                if let Some(child) = node.literals.get(segment) {
                    self.node(child, next, visit)?;
                }
                if let Some(child) = node.named.as_deref().filter(|_| !segment.is_empty()) {
                    self.spans.push(span);
                    self.node(child, next, visit)?;
                    self.spans.pop();
                }
            }
            None if !node.exact.is_empty() => visit(&node.exact, None)?,
            None => {}
        }
        if node.tail.is_empty() {
            return ControlFlow::Continue(());
        }
        visit(&node.tail, Some(at.map_or(self.path.len(), |at| at - 1)))
    }
}

/// How near a route is to a path that it does not take: whole segments in common from the left,
/// then leading bytes of the next literal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nearness {
    pub(super) segments: usize,
    pub(super) bytes: usize,
}

/// The route that comes nearest to a path in one tree.
pub(super) fn nearest(root: &Node, path: &str) -> Option<(Nearness, usize)> {
    let mut best = None;
    if path.starts_with('/') {
        descend(root, path, Some(1), 0, &mut best);
    }
    best
}

fn descend(
    node: &Node,
    path: &str,
    at: Option<usize>,
    segments: usize,
    best: &mut Option<(Nearness, usize)>,
) {
    let mut offer = |bytes, route| {
        let offered = Nearness { segments, bytes };
        if offered > Nearness::default() && best.is_none_or(|(nearness, _)| offered > nearness) {
            *best = Some((offered, route));
        }
    };
    offer(0, node.first);
    let Some(at) = at else { return };
    let (span, next) = segment_at(path, at);
    let segment = path.get(span).unwrap_or_default();
    if let Some((bytes, child)) = node.most_alike(segment) {
        offer(bytes, child.first);
    }
    if let Some(child) = node.literals.get(segment) {
        descend(child, path, next, segments + 1, best);
    }
    if let Some(child) = node.named.as_deref().filter(|_| !segment.is_empty()) {
        descend(child, path, next, segments + 1, best);
    }
}
