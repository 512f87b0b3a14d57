//! The scenario language: what a scenario file may say. scenarios/README.md explains it by example.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_config::{Bytes, Named, Node, OneOrMany, choices, settings};

use crate::shapes::{Amount, Texts};

settings! {
    /// One scenario: a gateway, what stands around it, and what happens.
    pub struct Scenario {
        /// A sentence that a user would say.
        pub name: String,
        /// The gateway's configuration. A `listeners` or `admin` block that is left out is added, on
        /// free ports. Without a configuration no gateway is started.
        pub config: Option<String>,
        /// Other files in its directory.
        pub files: Texts = "{}",
        /// Files and folders that it is started with beside its own.
        pub beside: Vec<PathBuf> = "[]",
        /// Its environment; nothing else is in it.
        pub env: Texts = "{}",
        /// Scripted upstreams by name: rules, of which the first that fits answers.
        pub upstreams: Named<Vec<RuleSettings>> = "{}",
        /// Certificates, made in this order: `NAME.pem`, `NAME.key` and `NAME.crl` in its directory.
        pub certificates: Named<CertificateSettings> = "{}",
        /// Upstreams that speak TLS: `${upstream.NAME}` is then https.
        pub secure: Named<SecureSettings> = "{}",
        /// How the issuer is before the gateway starts.
        pub issuer: IssuerMood = "healthy",
        /// What happens, in order.
        pub steps: Vec<Node> = "[]",
        /// In place of a running gateway and steps: the binary's arguments. `{file}` is the
        /// configuration, which is taken as it is.
        pub command: Option<Vec<String>>,
        /// How the command ends.
        pub expect: Option<Node>,
    }
}

settings! {
    /// A certificate; the CN of its subject is its name.
    pub struct CertificateSettings {
        /// Host names and addresses.
        pub names: OneOrMany<String> = "[]",
        /// The name of the one that signs it; itself when left out.
        pub by: Option<String>,
        /// It may sign others.
        pub authority: bool = "off",
        /// In how many days it ends.
        pub days: String = "\"90\"",
        /// Which of those that it signs it takes back, in NAME.crl.
        pub revokes: OneOrMany<String> = "[]",
        /// In how many days its next list comes; 0: no list unless it takes any back.
        pub list_days: String = "\"0\"",
    }
}

settings! {
    /// How an upstream speaks TLS.
    pub struct SecureSettings {
        pub certificate: String,
        /// The one that has to have signed its clients' certificates.
        pub clients: Option<String>,
    }
}

settings! {
    /// How a client speaks TLS.
    pub struct AskTlsSettings {
        /// The certificate that it believes.
        pub ca: String,
        /// The one that it shows.
        pub certificate: Option<String>,
        /// The host that it asks for; the request's when left out.
        pub server_name: Option<String>,
    }
}

settings! {
    /// When a scripted upstream answers what.
    pub struct RuleSettings {
        /// Which requests; all when left out.
        pub r#match: WhenSettings = "{}",
        pub answer: AnswerSettings = "{}",
        /// How often; for ever when left out.
        pub times: Option<usize>,
    }
}

settings! {
    /// Which requests.
    pub struct WhenSettings {
        pub method: Option<String>,
        /// With the query; `*` stands for anything.
        pub path: Option<String>,
        pub headers: Texts = "{}",
    }
}

settings! {
    /// An upstream's answer. With no status and no body it is 200 and tells what came.
    pub struct AnswerSettings {
        pub status: Option<u16>,
        pub headers: Texts = "{}",
        pub json: Option<Node>,
        pub text: Option<String>,
        /// Every byte of it, with \r \n \xHH as escapes.
        pub raw: Option<String>,
        /// One HTTP chunk each.
        pub chunks: Option<Vec<String>>,
        /// A body of this many bytes.
        pub bytes: Option<Bytes>,
        /// Tells what came, whatever the status.
        pub echo: bool = "off",
        pub trailers: Texts = "{}",
        /// Passes before the answer.
        pub delay: Duration = "0s",
        /// Passes between chunks.
        pub pace: Duration = "0s",
        /// Waits for a `release` step.
        pub hold: bool = "off",
        /// Does not wait for the request's body.
        pub early: bool = "off",
        pub close: bool = "off",
        /// Resets the connection in place of answering.
        pub reset: bool = "off",
    }
}

settings! {
    /// One step: first it changes what it says, then it asks, then it looks.
    pub struct Step {
        /// Other rules for upstreams.
        pub script: Named<Vec<RuleSettings>> = "{}",
        /// Stops listening and breaks its connections.
        pub upstream_down: OneOrMany<String> = "[]",
        pub upstream_up: OneOrMany<String> = "[]",
        /// Lets answers go that are on `hold`.
        pub release: OneOrMany<String> = "[]",
        /// The issuer signs with new keys.
        pub rotate_keys: bool = "off",
        /// Changes the issuer, or counts what it was asked since the scenario began.
        pub issuer: Option<IssuerStep>,
        pub write: Option<WriteStep>,
        /// Certificates that are made anew, or for the first time.
        pub certificates: Named<CertificateSettings> = "{}",
        pub rename: Option<RenameStep>,
        /// TERM, HUP or USR1, to the gateway.
        pub signal: Option<String>,

        /// A request to a listener.
        pub request: Option<AskSettings>,
        /// A request to the admin address.
        pub admin: Option<AskSettings>,
        /// Bytes to a listener, with \r \n \xHH as escapes.
        pub raw: Option<String>,
        /// The listener that raw bytes go to.
        pub listener: usize = "0",
        /// When the client of raw bytes goes away without having read the answer.
        pub hang_up: Option<HangUp>,
        /// The binary's arguments.
        pub command: Option<Vec<String>>,
        /// The step ends when the upstreams saw what they should; `await` has the answer.
        pub background: Option<String>,
        /// The answer of an earlier step in the background.
        pub r#await: Option<String>,
        /// The gateway's exit code.
        pub wait_exit: Option<u8>,

        /// So many times, one after the other.
        pub repeat: usize = "1",
        /// So many at once.
        pub parallel: usize = "1",
        /// Again and again until everything below holds.
        pub eventually: Option<Duration>,

        pub expect: Option<Expect>,
        /// How often which status was answered, for repeated requests.
        pub statuses: Texts = "{}",
        /// What upstreams saw since the step began: for each request, or one by one in a list.
        pub upstream: Named<OneOrMany<Saw>> = "{}",
        /// Each is a part of some access-log line of this step.
        pub log: OneOrMany<Node> = "[]",
        /// Stands in no line that the gateway wrote since the step began.
        pub hides: Vec<String> = "[]",
        /// Stands in what the gateway wrote to standard error since the step began.
        pub stderr: OneOrMany<String> = "[]",
        /// The same for standard output, for logs that are not JSON.
        pub stdout: OneOrMany<String> = "[]",
        /// Stands in what it wrote to standard error since its start.
        pub banner: OneOrMany<String> = "[]",
        /// Samples of /metrics: the sum of all with that name and those labels.
        pub metrics: Texts = "{}",
        /// Texts that stand in files below the directory.
        pub files: Texts = "{}",
        /// Names for parts of the answer, used as ${saved.NAME}: `header.NAME` or a JSON Pointer.
        pub save: Texts = "{}",
    }
}

settings! {
    /// A request.
    pub struct AskSettings {
        pub method: String = "GET",
        pub path: String = "/",
        pub host: Option<String>,
        pub headers: Texts = "{}",
        /// Claims, laid over good ones. `{token}` in a header is where it goes, else Authorization.
        pub token: Option<Node>,
        pub json: Option<Node>,
        pub text: Option<String>,
        /// A body of this many bytes.
        pub bytes: Option<Bytes>,
        /// A body without a length.
        pub chunks: Option<Vec<String>>,
        pub trailers: Texts = "{}",
        /// 1 or 2.
        pub http: u8 = "1",
        /// Which listener, from 0.
        pub listener: usize = "0",
        /// A name: the connection is kept, and used again by that name.
        pub connection: Option<String>,
        pub tls: Option<AskTlsSettings>,
        /// Bytes in front of everything, TLS included, with \\r \\n \\xHH as escapes.
        pub before: Option<String>,
        /// The address to come from, such as 127.0.0.2.
        pub from: Option<Address>,
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

impl portcullis_config::Decode for Address {
    fn decode(node: &Node, out: &mut portcullis_config::Diagnostics) -> Option<Self> {
        let address = node.as_text().and_then(|text| text.parse().ok());
        if address.is_none() {
            node.expected("an IP address", out);
        }
        address.map(Self)
    }

    fn schema(_: &mut portcullis_config::Definitions) -> serde_json::Value {
        serde_json::json!({ "type": "string" })
    }
}

settings! {
    /// What an answer, or a command's end, is like.
    pub struct Expect {
        pub status: Option<u16>,
        /// `*` stands for anything.
        pub headers: Texts = "{}",
        /// Headers that are not there.
        pub absent: Vec<String> = "[]",
        /// A part of the body; `*` stands for anything.
        pub json: Option<Node>,
        /// The whole body, also with `*`.
        pub json_exact: Option<Node>,
        pub text: Option<String>,
        /// The coding of the body, which Content-Encoding names too; it is compared without it.
        pub coding: Option<Coding>,
        /// Each stands in the body.
        pub contains: OneOrMany<String> = "[]",
        /// None stands in head or body.
        pub hides: OneOrMany<String> = "[]",
        pub trailers: Texts = "{}",
        /// The code of a problem, with everything that a problem carries.
        pub problem: Option<String>,
        /// The body's length.
        pub length: Option<Amount>,
        /// It took no longer.
        pub within: Option<Duration>,
        /// The head came within this time: what follows was not waited for.
        pub head_within: Option<Duration>,
        /// It took at least as long.
        pub after: Option<Duration>,
        /// Whether `100 Continue` came first (raw).
        pub continued: Option<bool>,
        /// The connection is closed behind the answer (raw).
        pub closed: bool = "off",
        /// The body broke off.
        pub broken: bool = "off",
        /// There is no answer at all: nobody listens, or the connection is closed.
        pub refused: bool = "off",
        /// The answers that follow on the same connection (raw).
        pub then: Vec<Expect> = "[]",
        /// A command's exit code.
        pub exit: Option<u8>,
        /// Each stands in what it wrote.
        pub stdout: OneOrMany<String> = "[]",
        pub stderr: OneOrMany<String> = "[]",
        /// It wrote nothing at all.
        pub quiet: bool = "off",
    }
}

settings! {
    /// What an upstream saw.
    pub struct Saw {
        /// How many requests; at least one when left out.
        pub count: Option<Amount>,
        pub method: Option<String>,
        pub path: Option<String>,
        pub headers: Texts = "{}",
        pub absent: Vec<String> = "[]",
        pub json: Option<Node>,
        pub text: Option<String>,
        pub trailers: Texts = "{}",
        pub length: Option<Amount>,
        /// New connections since the step began.
        pub connections: Option<Amount>,
    }
}

settings! {
    /// The issuer of tokens.
    pub struct IssuerStep {
        pub set: Option<IssuerMood>,
        /// How often its key set was asked for since the scenario began.
        pub fetches: Option<Amount>,
    }
}

choices! {
    /// A content coding.
    pub enum Coding {
        Gzip = "gzip",
        Brotli = "br",
        Zstd = "zstd",
    }
}

choices! {
    /// When a client goes away.
    pub enum HangUp {
        /// As soon as the upstreams saw what the step says.
        BeforeAnswer = "before_answer",
        /// When the head of the answer has come.
        AfterHead = "after_head",
    }
}

choices! {
    /// How the issuer's key set is answered.
    pub enum IssuerMood {
        Healthy = "healthy",
        Failing = "failing",
        Garbage = "garbage",
        /// Answers with more than anybody should read.
        Huge = "huge",
        /// Sends whoever asks elsewhere.
        Redirecting = "redirecting",
        Empty = "empty",
        Slow = "slow",
        Down = "down",
        Up = "up",
    }
}

settings! {
    /// Writes a file in one step, as editors do.
    pub struct WriteStep {
        pub file: String = "portcullis.yaml",
        /// A configuration, completed like the first one.
        pub config: Option<String>,
        /// Any text, as it is.
        pub text: Option<String>,
    }
}

settings! {
    /// Renames a file.
    pub struct RenameStep {
        pub from: String,
        pub to: String,
    }
}
