//! A receiver of JSON over HTTP: it checks framing, sizes, encoding and credentials.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::double::{Contract, Double, Memory, Received, Refusal, Reply, lines};
use super::hmac::{hex, hmac_sha256};

/// A receiver of JSON over HTTP as a strict operator would run it, by what it insists on.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Values of `Authorization` that are good; any when empty.
    pub authorization: BTreeSet<String>,
    /// A header that must have this value.
    pub header: Option<(&'static str, String)>,
    /// The key of a signature in this header.
    pub signature: Option<(Signed, &'static [u8])>,
    /// Most bytes of a request on the wire.
    pub wire_bytes: Option<usize>,
    /// Most bytes of a request decompressed.
    pub plain_bytes: Option<usize>,
    /// Most bytes of a request decompressed, and the refusal of a larger one where that is no 413.
    pub too_large: Option<(usize, Refusal)>,
    /// Most bytes of an event.
    pub event_bytes: Option<usize>,
    /// Whether bodies are not remembered: for tests with more events than fit into memory.
    pub forgets_bodies: bool,
    /// How the receiver reads bodies; `None` for any receiver of JSON.
    pub format: Option<Format>,
}

/// How one kind of destination reads a request.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub read: fn(&Received) -> Accepted,
    /// Status and body of the response when all events are accepted.
    pub success: (u16, &'static str),
}

/// The accepted events, and the refusal where those are not all.
pub type Accepted = (Vec<Value>, Result<(), Refusal>);

/// Milliseconds.
pub const HOUR: i64 = 3_600_000;

/// Returns the current time in milliseconds.
pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Turns a format that accepts all events or none into what a receiver accepts.
pub fn all_or_nothing(read: Result<Vec<Value>, Refusal>) -> Accepted {
    match read {
        Ok(events) => (events, Ok(())),
        Err(refusal) => (Vec::new(), Err(refusal)),
    }
}

/// Returns the event in a text, or an object with the text.
pub fn event(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "text": text }))
}

/// A running receiver.
pub type Receiver = Double<Rules>;

impl Receiver {
    /// Returns the URL that events are sent to.
    pub fn input(&self) -> String {
        format!("{}/in", self.url())
    }
}

/// The expected signature, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    StandardWebhooks,
    GithubOverPlain,
    GithubOverWire,
}

impl Contract for Rules {
    fn encodings(&self) -> &'static [&'static str] {
        &["gzip", "zstd"]
    }

    fn max_body_bytes(&self) -> usize {
        self.plain_bytes.unwrap_or(256 << 20)
    }

    fn memory(&self) -> Memory {
        if self.forgets_bodies { Memory::Heads } else { Memory::Everything }
    }

    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        if !self.authorization.is_empty() && !self.authorization.contains(request.header("authorization")) {
            return Err(Reply::new(401, "bad credentials"));
        }
        if let Some((name, value)) = &self.header
            && request.header(name) != value
        {
            return Err(Reply::new(403, "bad header"));
        }
        if request.method != "POST" {
            return Err(Reply::new(405, "POST only"));
        }
        if self.wire_bytes.is_some_and(|limit| request.wire_bytes > limit) {
            return Err(Reply::new(413, "too many bytes"));
        }
        if let Some((limit, refusal)) = self.too_large
            && request.bytes.len() > limit
        {
            return Err(refusal.into());
        }
        Ok(())
    }

    fn answer(&mut self, request: &Received) -> Reply {
        let (events, result) = self.read(request).unwrap_or_else(|refusal| (Vec::new(), Err(refusal)));
        let success = self.format.map_or((200, "{}"), |format| format.success);
        Reply::from(result.err().unwrap_or(success)).accepting(events)
    }
}

impl Rules {
    fn read(&self, request: &Received) -> Result<Accepted, Refusal> {
        if let Some((signed, key)) = self.signature {
            check_signature(request, signed, key)?;
        }
        if let Some(format) = self.format {
            return Ok((format.read)(request));
        }
        let text = std::str::from_utf8(&request.bytes).map_err(|_| (400, "not UTF-8"))?;
        let events = match request.header("content-type") {
            "application/x-ndjson" => lines(text)?,
            "application/json" => serde_json::from_str(text).map_err(|_| (400, "not a JSON array"))?,
            _ => return Err((415, "unknown type")),
        };
        if events.is_empty() {
            return Err((406, "empty"));
        }
        if self.event_bytes.is_some_and(|limit| events.iter().any(|event| event.to_string().len() > limit)) {
            return Err((400, "an event is too long"));
        }
        Ok((events, Ok(())))
    }
}

fn check_signature(request: &Received, signed: Signed, key: &[u8]) -> Result<(), Refusal> {
    let expected = match signed {
        Signed::StandardWebhooks => {
            let id = request.header("webhook-id");
            let timestamp = request.header("webhook-timestamp");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let sent: u64 = timestamp.parse().map_err(|_| (401, "no timestamp"))?;
            if now.abs_diff(sent) > 300 || id.is_empty() {
                return Err((401, "too old"));
            }
            let text = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.bytes].concat();
            ("webhook-signature", format!("v1,{}", BASE64_STANDARD.encode(hmac_sha256(key, &text))))
        }
        Signed::GithubOverPlain => {
            ("x-hub-signature-256", format!("sha256={}", hex(&hmac_sha256(key, &request.bytes))))
        }
        Signed::GithubOverWire => ("x-hub-signature-256", format!("sha256={}", hex(&hmac_sha256(key, &request.wire)))),
    };
    if request.header(expected.0) == expected.1 { Ok(()) } else { Err((401, "bad signature")) }
}
