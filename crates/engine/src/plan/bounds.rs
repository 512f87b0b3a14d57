//! The bounds that clients are held to, in the units in which they are compared.

use std::time::Duration;

use crate::settings::BoundsSettings;

/// How much and how long a client may send.
#[derive(Clone, Copy, Debug)]
pub struct BoundsPlan {
    pub header_bytes: usize,
    pub header_fields: usize,
    pub buffered_body: u64,
    pub streamed_body: u64,
    pub header_read: Duration,
    /// Bytes a second; 0 for any.
    pub body_rate: u64,
    pub body_stall: Duration,
    pub body_read: Duration,
    pub idle: Duration,
    pub write_stall: Duration,
    pub requests: u64,
    pub streams: u32,
    pub control_frames: u32,
    pub resets: u32,
    pub handshakes: u32,
    pub connections: usize,
    pub connections_per_client: usize,
}

/// How often connections are looked at: never so often that it costs, nor so seldom that a bound is
/// missed by much.
const OFTEN: Duration = Duration::from_millis(20);
const SELDOM: Duration = Duration::from_secs(1);

impl BoundsPlan {
    /// Between two looks at a connection.
    pub fn tick(&self) -> Duration {
        let times =
            [self.header_read, self.body_stall, self.body_read, self.idle, self.write_stall];
        let shortest = times.into_iter().min().unwrap_or(SELDOM);
        (shortest / 4).clamp(OFTEN, SELDOM)
    }

    pub fn of(settings: &BoundsSettings) -> Self {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            header_bytes: settings.header_bytes.as_usize(),
            header_fields: settings.header_fields.as_usize(),
            buffered_body: settings.buffered_body.0,
            streamed_body: settings.streamed_body.0,
            header_read: settings.header_read,
            body_rate: settings.body_rate.0,
            body_stall: settings.body_stall,
            body_read: settings.body_read,
            idle: settings.idle,
            write_stall: settings.write_stall,
            requests: settings.requests.get(),
            streams: small(settings.streams.get()),
            control_frames: small(settings.control_frames.get()),
            handshakes: settings.handshakes,
            resets: small(settings.resets.get()),
            connections: settings.connections.as_usize(),
            connections_per_client: settings.connections_per_client.as_usize(),
        }
    }
}
