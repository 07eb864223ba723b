//! An HTTP source of Panther.

use serde_json::Value;

use super::double::{Contract, Received, Refusal, Reply, lines, only_post};
use super::hmac::{hex, hmac_sha256};

/// How a source knows who may send.
#[derive(Debug, Clone, Copy)]
pub enum Guard {
    /// This header has this value: a shared secret, or bearer and basic credentials.
    Header(&'static str, &'static str),
    /// This header has the HMAC of the body under this key, in hex.
    Hmac(&'static str, &'static [u8]),
}

/// A source under `/http/UUID`: 1 MB on the wire, headers included; lines or an array.
pub struct Panther(pub Guard);

impl Contract for Panther {
    fn encodings(&self) -> &'static [&'static str] {
        &["gzip", "zstd"]
    }

    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        only_post(request)
    }

    fn answer(&mut self, request: &Received) -> Reply {
        self.read(request).into()
    }
}

impl Panther {
    fn read(&self, request: &Received) -> Result<Vec<Value>, Refusal> {
        if request.path != "/http/5e1f" || !request.query.is_empty() {
            return Err((404, r#"{"message":"Not Found"}"#));
        }
        let headers: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if request.wire_bytes + headers > 1_000_000 {
            return Err((413, r#"{"message":"Request Too Long"}"#));
        }
        if !self.0.admits(request) {
            return Err((403, r#"{"message":"Forbidden"}"#));
        }
        if request.body.starts_with('[') {
            return serde_json::from_str(&request.body).map_err(|_| (400, "not a JSON array"));
        }
        lines(&request.body)
    }
}

impl Guard {
    fn admits(self, request: &Received) -> bool {
        match self {
            Self::Header(name, value) => request.header(name) == value,
            Self::Hmac(name, key) => request.header(name) == hex(&hmac_sha256(key, &request.bytes)),
        }
    }
}
