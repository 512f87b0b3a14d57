//! The configuration language's outermost shape: what a file may say, as typed settings. What the
//! blocks of policies, upstreams and issuers look like stands in their own rooms.

mod bounds;
mod compose;
mod listener;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::policies::PoliciesBlock;
pub use bounds::BoundsSettings;
pub use compose::{CallSettings, ComposeSettings};
use ipnet::IpNet;
pub use listener::{
    AcmeChallenge, AcmeSettings, CertificatePart, CertificateSettings, ClientCertificateSettings,
    HstsSettings, ListenerSettings, Presence, TlsSettings, TlsVersion,
};
use portcullis_config::{
    Decode, Definitions, Diagnostics, Named, Node, OneOrMany, OrOff, Ranged, Secret, Spanned,
    choices, settings,
};
use portcullis_core::{Doubtful, PathRules};
use portcullis_policies::consumers::ConsumerSettings;
use portcullis_policies::issuers::IssuerSettings;
use portcullis_policies::rate_limit::TierSettings;
use portcullis_policies::stores::StoreSettings;
use portcullis_upstream::{UpstreamSettings, WebSocketSettings};

settings! {
    /// One Portcullis configuration.
    pub struct FileSettings {
        /// Where clients connect.
        pub listeners: Vec<ListenerSettings>,
        /// The address for operators: health, status and metrics.
        pub admin: OrOff<AdminSettings> = "{}",
        /// How many cores serve requests; all of them when left out.
        pub workers: Option<Ranged<1, 256>>,
        /// Networks whose X-Forwarded-* headers are believed, such as 10.0.0.0/8.
        pub trusted_proxies: Vec<IpNet> = "[]",
        /// What becomes of headers whose names have other characters than letters, digits and `-`:
        /// services that read `_` or `.` as `-` take them for other headers. gRPC may have them.
        pub odd_header_names: OddHeaderNames = "drop",
        /// What becomes of headers that name another method than the request's (X-HTTP-Method-Override,
        /// X-HTTP-Method, X-Method-Override): a service that heeds them does what no policy saw.
        pub method_override: MethodOverride = "drop",
        /// What becomes of a path with `%2F` in it: some services read it as a slash, others do not.
        pub encoded_slash: DoubtfulPath = "refuse",
        /// What becomes of a path with `;` or `%3B` in it: some services cut a segment there, others do not.
        pub path_parameters: DoubtfulPath = "refuse",
        /// How much and how long a client may send.
        pub bounds: BoundsSettings = "{}",
        /// The access log.
        pub log: LogSettings = "{}",
        /// How the gateway and its listeners end.
        pub drain: DrainSettings = "{}",
        /// Who signs tokens.
        pub issuers: Named<IssuerSettings> = "{}",
        /// How much each kind of client may ask for.
        pub tiers: Named<TierSettings> = "{}",
        /// Who is asked for the addresses of host names.
        pub resolver: ResolverSettings = "{}",
        /// State that several gateways share.
        pub stores: Named<StoreSettings> = "{}",
        /// Programs that ask with a key.
        pub consumers: Named<ConsumerSettings> = "{}",
        /// Named groups of endpoints.
        pub upstreams: Named<UpstreamSettings> = "{}",
        /// What programs may read as `$env.NAME` and templates as `{env.NAME}`: names, each with a
        /// text such as `${NAME}` or `${NAME:-default}`.
        pub env: Named<Spanned<String>> = "{}",
        /// Mappings that several routes use, by name: jq programs.
        pub mappings: Named<Spanned<String>> = "{}",
        /// Policies on every route, unless a route says otherwise.
        pub policies: PoliciesBlock = "{}",
        /// What is served.
        pub routes: Vec<Spanned<RouteSettings>>,
    }
}

settings! {
    /// The address for operators. Loopback unless said otherwise.
    pub struct AdminSettings {
        /// IP address and port.
        pub address: Spanned<SocketAddr> = "127.0.0.1:9901",
        /// What `Authorization: Bearer` must carry for everything that changes something. Without
        /// it nothing can be changed here.
        pub token: Option<Secret>,
    }
}

settings! {
    /// Who is asked for the addresses of upstreams' host names.
    pub struct ResolverSettings {
        /// DNS servers, each an IP address and a port; left out, whom the system asks.
        pub nameservers: Vec<SocketAddr> = "[]",
    }
}

choices! {
    /// What becomes of headers with odd names.
    pub enum OddHeaderNames {
        /// They go no further, and are counted.
        Drop = "drop",
        /// Their request is refused.
        Refuse = "refuse",
        /// They are sent on.
        Pass = "pass",
    }
}

choices! {
    /// What becomes of headers that name another method.
    pub enum MethodOverride {
        /// They go no further.
        Drop = "drop",
        /// They are sent on.
        Pass = "pass",
    }
}

choices! {
    /// What becomes of a path that can be read in two ways.
    pub enum DoubtfulPath {
        /// Its request is refused.
        Refuse = "refuse",
        /// It is sent on as it is, where both readings lead to the same route.
        Keep = "keep",
    }
}

impl FileSettings {
    /// What clients' paths may have.
    pub fn path_rules(&self) -> PathRules {
        PathRules {
            encoded_slash: self.encoded_slash.into(),
            parameters: self.path_parameters.into(),
        }
    }

    /// What paths may have that are made of a template: a semicolon in one is the template's own.
    pub fn made_path_rules(&self) -> PathRules {
        PathRules { parameters: Doubtful::Keep, ..self.path_rules() }
    }
}

impl From<DoubtfulPath> for Doubtful {
    fn from(setting: DoubtfulPath) -> Self {
        match setting {
            DoubtfulPath::Refuse => Self::Refuse,
            DoubtfulPath::Keep => Self::Keep,
        }
    }
}

choices! {
    /// How a line of the access log looks.
    pub enum LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}

settings! {
    /// The access log: one line per request.
    pub struct LogSettings {
        /// Where the lines go; standard output when left out. Opened again on SIGUSR1.
        pub file: Option<PathBuf>,
        /// How a line looks.
        pub format: LogFormat = "auto",
    }
}

settings! {
    /// How the gateway ends after SIGTERM, and a listener that a reload removed.
    pub struct DrainSettings {
        /// How long it goes on as before while /readyz already says no, so that load balancers
        /// send elsewhere.
        pub delay: Duration = "0s",
        /// How long connections that rest are kept open for one more request.
        pub grace: Duration = "1s",
        /// When whatever is left is cut off.
        pub deadline: Duration = "30s",
    }
}

settings! {
    /// One route: which requests, which policies, and who answers.
    pub struct RouteSettings {
        /// Unique; in logs, metrics and `explain`.
        pub name: Spanned<String>,
        /// Which requests.
        pub r#match: MatchSettings,
        /// Laid over the inherited policies, key by key.
        pub policies: PoliciesBlock = "{}",
        /// One upstream answers.
        pub forward: Option<ForwardSettings>,
        /// Several calls are composed into one answer.
        pub compose: Option<ComposeSettings>,
        /// A fixed answer.
        pub respond: Option<RespondSettings>,
        /// The client is sent elsewhere.
        pub redirect: Option<RedirectSettings>,
    }
}

settings! {
    /// Which requests a route serves. The most specific route wins.
    pub struct MatchSettings {
        /// Exact, with `{name}` for a segment, or ending in `/*`.
        pub path: Spanned<String>,
        /// Exact, or `*.suffix`; any when left out.
        pub host: OneOrMany<Spanned<String>> = "[]",
        /// Any when left out.
        pub methods: Vec<Spanned<String>> = "[]",
        /// Name and exact value, or `*` for any.
        pub headers: Named<Spanned<String>> = "{}",
        /// Name and exact value, or `*` for any.
        pub query: Named<Spanned<String>> = "{}",
    }
}

settings! {
    /// One upstream answers.
    pub struct ForwardSettings {
        /// The upstream's name.
        pub to: Spanned<String>,
        /// The path to ask for: a string template. The client's path when left out; its query
        /// passes.
        pub path: Option<Spanned<String>>,
        /// What is cut off the front of the client's path.
        pub strip_prefix: Option<Spanned<String>>,
        /// `keep` for the client's Host, or a name; the endpoint's authority when left out.
        pub host: Option<Spanned<String>>,
        /// Location and Content-Location that name the endpoint are made to name the gateway.
        pub rewrite_location: bool = "on",
        /// Whether the upstream's `retries` are for methods that are not idempotent, too.
        pub retry_non_idempotent: bool = "off",
        /// Whether clients may have WebSockets: `on`, or for how long.
        pub websocket: Spanned<OrOff<WebSocketSettings>> = "off",
        /// Who answers when the upstream does not.
        pub fallback: Option<FallbackSettings>,
    }
}

settings! {
    /// Another upstream answers what was not sent to the first.
    pub struct OtherSettings {
        /// The upstream's name.
        pub to: Spanned<String>,
    }
}

/// Who answers in place of an upstream: another one, or the gateway.
#[derive(Clone, Debug)]
pub enum FallbackSettings {
    Other(OtherSettings),
    Fixed(RespondSettings),
}

impl Decode for FallbackSettings {
    fn decode(node: &Node, out: &mut Diagnostics) -> Option<Self> {
        match node.get("to") {
            Some(_) => OtherSettings::decode(node, out).map(Self::Other),
            None => RespondSettings::decode(node, out).map(Self::Fixed),
        }
    }

    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let (other, fixed) =
            (OtherSettings::schema(definitions), RespondSettings::schema(definitions));
        serde_json::json!({ "anyOf": [other, fixed] })
    }
}

settings! {
    /// A fixed answer.
    pub struct RespondSettings {
        /// The status.
        pub status: Spanned<u16> = "200",
        /// Headers of the answer.
        pub headers: Named<Spanned<String>> = "{}",
        /// A text body.
        pub text: Option<String>,
        /// A JSON body.
        pub json: Option<Node>,
    }
}

settings! {
    /// The client is sent elsewhere.
    pub struct RedirectSettings {
        /// The address or path to go to: a string template. The query passes.
        pub to: Spanned<String>,
        /// 301, 302, 303, 307 or 308.
        pub status: Spanned<u16> = "308",
    }
}
