//! What a scripted upstream answers: a list of rules, of which the first that fits speaks.

use std::cell::Cell;
use std::time::Duration;

use super::fields::{Fields, bytes_of};
use super::wire::{Body, Head};

/// What an answer carries.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// A JSON object that tells what the upstream saw.
    #[default]
    Echo,
    Nothing,
    Text(String),
    Json(serde_json::Value),
    /// Sent as they are, one chunk each.
    Chunks(Vec<String>),
    /// This many bytes of `x`.
    Filler(usize),
    /// Everything, the status line included, byte by byte.
    Raw(Vec<u8>),
}

/// What is said to one request, and how.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Fields,
    pub content: Content,
    pub trailers: Fields,
    /// Passes before anything is sent.
    pub delay: Duration,
    /// Passes between chunks.
    pub pace: Duration,
    /// Nothing is sent before the test releases the upstream.
    pub hold: bool,
    /// The answer is sent before the request's body is read.
    pub early: bool,
    /// The connection is closed after the answer.
    pub close: bool,
    /// The connection is reset in place of an answer.
    pub reset: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Fields::default(),
            content: Content::Echo,
            trailers: Fields::default(),
            delay: Duration::ZERO,
            pace: Duration::ZERO,
            hold: false,
            early: false,
            close: false,
            reset: false,
        }
    }
}

impl Answer {
    pub fn json(value: serde_json::Value) -> Self {
        Self { content: Content::Json(value), ..Self::default() }
    }

    pub fn text(text: &str) -> Self {
        Self { content: Content::Text(text.to_owned()), ..Self::default() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, content: Content::Nothing, ..Self::default() }
    }

    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The pieces that go out one after the other, framing included.
    pub fn pieces(&self, echo: &serde_json::Value, to_head: bool) -> Vec<Vec<u8>> {
        let (kind, body) = match &self.content {
            Content::Raw(bytes) => return vec![bytes.clone()],
            Content::Chunks(chunks) => return self.chunked(chunks, to_head),
            Content::Echo => (Some("application/json"), echo.to_string().into_bytes()),
            Content::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Content::Text(text) => (Some("text/plain"), text.clone().into_bytes()),
            Content::Filler(length) => (None, vec![b'x'; *length]),
            Content::Nothing => (None, Vec::new()),
        };
        if !self.trailers.0.is_empty() {
            return self.chunked(&[String::from_utf8_lossy(&body).into_owned()], to_head);
        }
        let mut out = self.head(kind);
        if self.status >= 200 && !matches!(self.status, 204 | 304) {
            out.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        out.push_str("\r\n");
        let mut bytes = bytes_of(&out);
        if !to_head {
            bytes.extend_from_slice(&body);
        }
        vec![bytes]
    }

    fn chunked(&self, chunks: &[String], to_head: bool) -> Vec<Vec<u8>> {
        let mut head = self.head(None);
        head.push_str("transfer-encoding: chunked\r\n");
        for (name, _) in &self.trailers.0 {
            head.push_str(&format!("trailer: {name}\r\n"));
        }
        head.push_str("\r\n");
        let mut pieces = vec![bytes_of(&head)];
        if to_head {
            return pieces;
        }
        for chunk in chunks {
            pieces.push(format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes());
        }
        let mut end = String::from("0\r\n");
        for (name, value) in &self.trailers.0 {
            end.push_str(&format!("{name}: {value}\r\n"));
        }
        end.push_str("\r\n");
        pieces.push(bytes_of(&end));
        pieces
    }

    fn head(&self, kind: Option<&str>) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers.0 {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(kind) = kind.filter(|_| self.headers.get("content-type").is_none()) {
            head.push_str(&format!("content-type: {kind}\r\n"));
        }
        if self.close {
            head.push_str("connection: close\r\n");
        }
        head
    }
}

/// Which requests a rule is for. What is left out does not matter.
#[derive(Clone, Debug, Default)]
pub struct When {
    pub method: Option<String>,
    /// The target with its query; `*` stands for anything.
    pub path: Option<String>,
    pub headers: Fields,
}

/// An answer and when it is given.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub when: When,
    pub answer: Answer,
    /// How often it may still be given; for ever when there is no number.
    pub left: Cell<Option<usize>>,
}

impl Rule {
    /// A rule for every request.
    pub fn always(answer: Answer) -> Self {
        Self { answer, ..Self::default() }
    }

    /// A rule for the requests to one path.
    pub fn at(path: &str, answer: Answer) -> Self {
        let when = When { path: Some(path.to_owned()), ..When::default() };
        Self { when, answer, ..Self::default() }
    }

    pub fn fits(&self, head: &Head) -> bool {
        let path = |path: &String| wild(path, &head.target);
        let header = |(name, value): &(String, String)| {
            head.fields.joined(name).is_some_and(|got| wild(value, &got))
        };
        self.left.get() != Some(0)
            && self.when.method.as_ref().is_none_or(|method| *method == head.method)
            && self.when.path.as_ref().is_none_or(path)
            && self.when.headers.0.iter().all(header)
    }

    /// Uses it once.
    pub fn spend(&self) {
        self.left.set(self.left.get().map(|left| left.saturating_sub(1)));
    }
}

/// What an upstream saw of one request.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub head: Head,
    pub body: Body,
    /// The request came to its end.
    pub complete: bool,
}

impl Seen {
    pub fn to_json(&self, upstream: &str) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body.bytes);
        let mut value = serde_json::json!({
            "upstream": upstream,
            "method": self.head.method,
            "path": self.head.target,
            "headers": self.head.fields.to_json(),
            "text": text,
        });
        if let Some(object) = value.as_object_mut() {
            if let Ok(json) = serde_json::from_slice(&self.body.bytes) {
                object.insert("json".to_owned(), json);
            }
            if !self.body.trailers.0.is_empty() {
                object.insert("trailers".to_owned(), self.body.trailers.to_json());
            }
        }
        value
    }
}

/// True when `text` fits a pattern in which `*` stands for any characters, also none.
pub fn wild(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}
