//! What `/status` shows of an upstream.

use portcullis_core::breaker::Phase;
use serde_json::{Value, json};

use crate::upstream::Upstream;

impl Upstream {
    /// For operators: breaker, endpoints and their addresses.
    pub fn status(&self) -> Value {
        let endpoints: Vec<Value> = self
            .endpoints()
            .iter()
            .map(|endpoint| {
                let addresses = endpoint.addresses();
                json!({
                    "aside": endpoint.health.is_aside(self.age()),
                    "failures": endpoint.health.failures(),
                    "endpoint": endpoint.authority,
                    "weight": endpoint.weight,
                    "resolved": endpoint.is_resolved(),
                    "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({ "name": **self.name(), "breaker": self.breaker_status(), "endpoints": endpoints })
    }

    fn breaker_status(&self) -> Value {
        let Some(breaker) = self.breaker() else { return json!("off") };
        let status = breaker.status(self.clock().now());
        let mut shown = json!({ "state": status.phase.as_str() });
        let Some(members) = shown.as_object_mut() else { return shown };
        match status.phase {
            Phase::Closed => {
                members.insert("failures".into(), status.failures.into());
            }
            Phase::HalfOpen => {
                members.insert("probing".into(), status.probing.into());
                members.insert("successes".into(), status.successes.into());
            }
            Phase::Open => {
                let wait = status.retry_after.map_or(0, portcullis_core::problem::whole_seconds);
                members.insert("retryAfter".into(), wait.into());
            }
        }
        members.insert("lastReason".into(), self.last_reason().into());
        shown
    }
}
