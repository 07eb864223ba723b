//! An HTTP source of Panther.

use super::intake::{Contract, lines};
use super::receiver::{Seen, hmac_sha256};

/// How a source knows who may send.
#[derive(Debug, Clone, Copy)]
pub enum Guard {
    /// This header has this value: a shared secret, or bearer and basic credentials.
    Header(&'static str, &'static str),
    /// This header has the HMAC of the body under this key, in hex.
    Hmac(&'static str, &'static [u8]),
}

/// A source under `/http/UUID`: 1 MB on the wire, headers included; lines or an array.
pub fn contract(guard: Guard) -> Contract {
    Box::new(move |seen| {
        if seen.path != "/http/5e1f" {
            return Err((404, r#"{"message":"Not Found"}"#));
        }
        let headers: usize = seen.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if seen.wire_bytes + headers > 1_000_000 {
            return Err((413, r#"{"message":"Request Too Long"}"#));
        }
        if !admits(guard, seen) {
            return Err((403, r#"{"message":"Forbidden"}"#));
        }
        if seen.body.starts_with('[') {
            return Ok((serde_json::from_str(&seen.body).map_err(|_| (400, "not a JSON array"))?, ""));
        }
        Ok((lines(&seen.body)?, ""))
    })
}

fn admits(guard: Guard, seen: &Seen) -> bool {
    match guard {
        Guard::Header(name, value) => seen.header(name) == value,
        Guard::Hmac(name, key) => {
            let digest = hmac_sha256(key, seen.body.as_bytes());
            let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            seen.header(name) == expected
        }
    }
}
