//! Floor 0: the vocabulary of the gateway (Exchange, Body, Reply, Problem, Policy) and the pure
//! pieces that several rooms need. Nothing here opens a socket, starts a task or reads a file.

pub mod body;
pub mod breaker;
pub mod build;
pub mod chance;
pub mod clock;
pub mod context;
pub mod env;
pub mod exchange;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod headers;
pub mod intake;
pub mod mapping;
pub mod mask;
pub mod metrics;
pub mod networks;
pub mod path;
pub mod policy;
pub mod preflight;
pub mod problem;
pub mod record;
pub mod sliding;
pub mod template;
pub mod tunnel;
pub mod worker;

pub use body::{Body, BodyError, Rest};
pub use build::{Build, Parts, Task, fingerprint};
pub use clock::Clock;
pub use env::Env;
pub use exchange::{Certificate, Claims, Consumer, Exchange, Outer, Params, Peer, Secure};
pub use grpc::Grpc;
pub use intake::Intake;
pub use networks::Networks;
pub use path::{CanonicalPath, Doubtful, PathError, PathRules};
pub use policy::{Inspected, LocalBoxFuture, Policy, Response, Step, Verdict};
pub use problem::{Code, FieldError, Origin, Problem, Reply};
pub use record::{Call, Event, Field, Outcome, Record};
pub use tunnel::{Lasting, Tunnel};
pub use worker::{Live, Worker};
