//! `tiers:`: how much each kind of client may ask for. Every line of a tier holds at once.

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Diagnostics, Named, Ranged, settings};

use super::window::{Line, micros};
use crate::planner::Plans;

settings! {
    /// So many requests in any window of this length.
    pub struct LineSettings {
        /// How many.
        pub requests: Ranged<1, 1_000_000_000>,
        /// In any window of this length.
        pub per: Duration,
    }
}

/// The lines of one tier.
pub type TierSettings = Vec<LineSettings>;

/// A tier, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct TierPlan {
    pub(super) lines: Vec<Line>,
}

pub fn plan_tiers(tiers: &Named<TierSettings>, out: &mut Diagnostics) -> Plans<TierPlan> {
    let mut plans: Plans<_> = tiers.broken().iter().map(|name| (name.clone(), None)).collect();
    for tier in tiers.iter() {
        if tier.value.is_empty() || tier.value.iter().any(|line| line.per.is_zero()) {
            out.error(tier.span, format!("the tier `{}` limits nothing", tier.name))
                .hint("write at least one line, such as [{ requests: 100, per: 1m }]");
            plans.insert(tier.name.clone(), None);
            continue;
        }
        let line =
            |line: &LineSettings| Line { requests: line.requests.get(), per: micros(line.per) };
        let lines = tier.value.iter().map(line).collect();
        plans.insert(tier.name.clone(), Some(Arc::new(TierPlan { lines })));
    }
    plans
}
