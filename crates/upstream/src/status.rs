//! What `/status` shows of an upstream.

use serde_json::{Value, json};

use crate::health::Standing;
use crate::upstream::Upstream;

impl Upstream {
    /// For operators: breaker, endpoints, and what is at work beside them.
    pub fn status(&self) -> Value {
        let now = self.clock.now();
        let since = self.since(now);
        let endpoint = |(endpoint, weight): (std::sync::Arc<crate::endpoint::Endpoint>, u32)| {
            let health = &endpoint.health;
            let state = match health.standing(since, true) {
                _ if health.is_unhealthy() => "unhealthy",
                Standing::InUse => "in use",
                Standing::OnTrial => "to be tried",
                Standing::Aside => "aside",
            };
            json!({
                "endpoint": &*endpoint.label,
                "address": endpoint.socket.to_string(),
                "weight": weight,
                "health": state,
                "failures": health.failures(),
            })
        };
        let mut shown = json!({
            "name": *self.name,
            "breaker": self.breaker.as_ref().map_or(json!("off"), |breaker| breaker.status(now)),
            "endpoints": self.sources.endpoints().into_iter().map(endpoint).collect::<Vec<_>>(),
        });
        let Some(members) = shown.as_object_mut() else { return shown };
        let unresolved: Vec<&str> = self.unresolved().collect();
        if !unresolved.is_empty() {
            members.insert("unresolved".into(), unresolved.into());
        }
        if let Some(budget) = &self.budget {
            let [first, more] = budget.spent(since);
            members.insert("retries".into(), json!({ "requests": first, "retries": more }));
        }
        if let Some(overload) = &self.overload {
            let ((most, waiting), in_flight) = (overload.state(), overload.in_flight());
            let load = json!({ "inFlight": in_flight, "most": most, "waiting": waiting });
            members.insert("load".into(), load);
        }
        shown
    }
}
