//! How much and how long a client may.

use std::time::Duration;

use portcullis_config::{Bytes, Ranged, settings};

settings! {
    /// How much and how long a client may send. Every bound has a safe default.
    pub struct BoundsSettings {
        /// All of a request's head together.
        pub header_bytes: Bytes = "32KiB",
        /// Header fields of a request.
        pub header_fields: Ranged<1, 4096> = "100",
        /// A request's or an answer's body that a policy reads.
        pub buffered_body: Bytes = "1MiB",
        /// A request's body that passes, on routes without a `body_limit`. gRPC is exempt where an
        /// upstream has `protocol: h2`.
        pub streamed_body: Bytes = "16MiB",
        /// From the first byte of a request's head, or the connection's begin, to its last.
        pub header_read: Duration = "10s",
        /// Bytes of a request's body in a second, as far as somebody waits for them. gRPC is exempt
        /// where an upstream has `protocol: h2`.
        pub body_rate: Bytes = "128B",
        /// How long a body may lag behind `body_rate`.
        pub body_stall: Duration = "20s",
        /// From a request's head to the last byte of its body. gRPC is exempt where an upstream has
        /// `protocol: h2`.
        pub body_read: Duration = "10m",
        /// How long a connection may rest between requests.
        pub idle: Duration = "60s",
        /// How long a client may take nothing of an answer that is there.
        pub write_stall: Duration = "60s",
        /// Requests of one connection; then it is closed in order.
        pub requests: Ranged<1, 4294967295> = "1000000",
        /// Streams of one HTTP/2 connection at a time.
        pub streams: Ranged<1, 65535> = "128",
        /// Frames of one HTTP/2 connection that carry nothing of a request, such as PING, SETTINGS,
        /// WINDOW_UPDATE and empty DATA: so many at once. A tenth grows back every second, and some
        /// with every request and every piece of an answer.
        pub control_frames: Ranged<100, 1000000> = "1000",
        /// Streams of one HTTP/2 connection that end by a reset, whoever sends it: so many at once. A
        /// tenth grows back every second, and one with every stream that ends otherwise.
        pub resets: Ranged<10, 1000000> = "100",
        /// TLS handshakes that are under way at a time, for each worker. How long one may take is part of
        /// `header_read`.
        pub handshakes: u32 = "1024",
        /// Connections of all clients together.
        pub connections: Ranged<1, 1000000> = "10000",
        /// Connections of one client: an IPv4 address, or the first 64 bits of an IPv6 address. Those of
        /// `trusted_proxies` and of `proxy_protocol` are not counted, since they are many clients'.
        pub connections_per_client: Ranged<1, 1000000> = "1000",
    }
}
