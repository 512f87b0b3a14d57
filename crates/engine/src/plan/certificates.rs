//! What is not wrong with a certificate and will be a trouble all the same: it ends soon, or it does
//! not name a host that is served.

use std::time::{Duration, SystemTime};

use portcullis_config::Diagnostics;

use super::Plan;
use super::listeners::{Shown, TlsPlan};
use crate::router::HostPattern;

const DAY: u64 = 24 * 60 * 60;
/// Who gets certificates anew by a program has done so by then.
const SOON: Duration = Duration::from_secs(30 * DAY);

/// Warns of what `check` is asked for. `now` decides what has ended.
pub fn judge(plan: &Plan, now: SystemTime, out: &mut Diagnostics) {
    let all: Vec<&TlsPlan> = plan.listeners.iter().filter_map(|it| it.tls.as_ref()).collect();
    for tls in &all {
        for shown in &tls.shown {
            time(shown, now, out);
            staple(shown, now, out);
        }
        if let Some(clients) = &tls.clients
            && clients.ca.lists_end.is_some_and(|end| end <= now)
        {
            out.warning(clients.span, "a revocation list is too old: every client is refused")
                .hint("get the authority's next list");
        }
    }
    if all.is_empty() {
        return;
    }
    let shown = || all.iter().flat_map(|tls| &tls.shown);
    let got = || all.iter().filter_map(|tls| tls.acme.as_ref()).flat_map(|acme| &acme.hosts);
    for route in &plan.routes {
        for host in route.matches.iter().filter_map(|it| name(&it.host)) {
            let is_covered = shown().any(|shown| shown.facts.covers(&host));
            if !is_covered && !got().any(|name| *name == host) {
                let message = format!("no certificate has the name `{host}`");
                let served = format!("the route `{}` serves it", route.name);
                out.warning(route.span, message).hint(served);
            }
        }
    }
}

fn name(host: &HostPattern) -> Option<String> {
    match host {
        HostPattern::Any => None,
        HostPattern::Exact(name) => Some(name.to_string()),
        HostPattern::Suffix(name) => Some(format!("*.{name}")),
    }
}

fn time(shown: &Shown, now: SystemTime, out: &mut Diagnostics) {
    let Shown { file, span, facts, is_renewed, .. } = shown;
    let days = |time: Duration| match time.as_secs() / DAY {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    };
    let message = match (facts.not_after.duration_since(now), facts.not_before.duration_since(now))
    {
        (Err(ago), _) => format!("{file}: the certificate ended {} ago", days(ago.duration())),
        (_, Ok(wait)) if !wait.is_zero() => {
            format!("{file}: the certificate begins in {}", days(wait))
        }
        (Ok(left), _) if left < SOON && !is_renewed => {
            format!("{file}: the certificate ends in {}", days(left))
        }
        _ => return,
    };
    out.warning(*span, message);
}

fn staple(shown: &Shown, now: SystemTime, out: &mut Diagnostics) {
    let Some((staple, file, span)) = &shown.staple else { return };
    if !staple.is_good {
        let message = format!("{file}: the responder does not call the certificate good");
        out.warning(*span, message).hint("clients refuse it: ask its authority why");
    } else if staple.ends.is_some_and(|end| end <= now) {
        let message = format!("{file}: the responder's answer is too old: it is not shown");
        out.warning(*span, message).hint("get the next one, or leave it out");
    }
}
