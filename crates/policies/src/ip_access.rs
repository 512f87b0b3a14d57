//! `ip_access`: from which addresses a route may be asked. The client's address is the one that trusted
//! proxies vouch for; what is denied stays denied, whatever is allowed.

use std::sync::Arc;

use http::StatusCode;
use ipnet::IpNet;
use portcullis_config::{Decode, Definitions, Node, OrOff, settings};
use portcullis_core::{Build, Code, Event, Exchange, Networks, Outcome, Policy, Problem, Step};

use crate::planner::{Planned, Planner};

const NAME: &str = "ip_access";

pub const ADDRESS_REFUSED: Code = Code {
    name: "address_refused",
    status: StatusCode::FORBIDDEN,
    title: "Forbidden",
    cure: "Ask from an address that the route's ip_access allows. If the log shows a proxy's address, name the proxy in trusted_proxies.",
};
pub const CODES: &[&Code] = &[&ADDRESS_REFUSED];

settings! {
    /// From which addresses a route may be asked.
    pub struct IpAccessSettings {
        /// Networks and addresses that may ask, and nobody else; everybody when `off`.
        pub allow: OrOff<Vec<IpNet>> = "off",
        /// Networks and addresses that may not ask, also when they are allowed.
        pub deny: OrOff<Vec<IpNet>> = "off",
    }
}

pub fn schema(definitions: &mut Definitions) -> serde_json::Value {
    IpAccessSettings::schema(definitions)
}

pub fn plan(block: &Node, planner: &mut Planner<'_>) -> Option<Box<dyn Planned>> {
    let settings = IpAccessSettings::decode(block, planner.out)?;
    for key in ["allow", "deny"] {
        let list = block.get(key).filter(|node| node.as_list().is_some_and(<[Node]>::is_empty));
        if let Some(list) = list {
            let what = if key == "allow" { "allows nobody" } else { "denies nobody" };
            planner
                .out
                .error(list.span, format!("an empty list {what}"))
                .hint(format!("write `{key}: off`, or name networks such as 10.0.0.0/8"));
            return None;
        }
    }
    if settings.allow.is_off() && settings.deny.is_off() {
        planner
            .out
            .error(block.span, "`ip_access` has no effect without `allow` or `deny`")
            .hint("name networks, such as `allow: [10.0.0.0/8]`");
        return None;
    }
    let set = |list: OrOff<Vec<IpNet>>| list.into_on().map(|all| all.into_iter().collect());
    let access = IpAccess { allow: set(settings.allow), deny: set(settings.deny) };
    Some(Box::new(Plan(Arc::new(access))))
}

struct Plan(Arc<IpAccess>);

impl Planned for Plan {
    fn build(&self, _build: &mut Build<'_>) -> Arc<dyn Policy> {
        Arc::clone(&self.0) as Arc<dyn Policy>
    }
}

struct IpAccess {
    /// `None`: everybody.
    allow: Option<Networks>,
    deny: Option<Networks>,
}

impl Policy for IpAccess {
    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Step<'a> {
        let address = exchange.client_ip;
        let has = |set: &Networks| set.contains(address);
        let why = match (&self.allow, &self.deny) {
            (_, Some(deny)) if has(deny) => "it is denied",
            (Some(allow), _) if !has(allow) => "it is not among the allowed",
            _ => return Step::Next,
        };
        exchange.record.event(Event::new(NAME, Outcome::Refused));
        let private = format!("the address {address}: {why}");
        Problem::new(&ADDRESS_REFUSED, "this address may not ask here").private(private).into()
    }
}
