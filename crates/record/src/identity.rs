//! The permanent name of one version of a record.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Stream;

/// The permanent name of one version of a record: the first 16 bytes of the SHA-256 of console host, stream, record id
/// and version, joined by line feeds. Printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity([u8; 16]);

impl Identity {
    /// `host` must be in lower case and without the default port.
    pub fn of(host: &str, stream: Stream, id: &str, version: &str) -> Self {
        let mut hash = Sha256::new();
        for (index, part) in [host, stream.name(), id, version].into_iter().enumerate() {
            if index > 0 {
                hash.update(b"\n");
            }
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the 32 hex digits.
    pub fn hex(self) -> [u8; 32] {
        // Written for each event: formatting byte by byte takes ten times as long.
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }

    /// Returns the first 64 bits, which a position remembers.
    pub fn key(self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

/// The text is not an identity: 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hex digits")]
pub struct IdentityError;

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(IdentityError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| IdentityError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;

    /// Golden values: if they changed between releases, every destination would receive its records twice.
    #[test]
    fn identities_never_change() {
        let threat = Identity::of(
            "usea1-acme.sentinelone.net",
            Stream::Threats,
            "225494730938493804",
            "2018-02-27T04:49:26.257525Z",
        );
        let activity = Identity::of("usea1-acme.sentinelone.net", Stream::Activities, "225494730938493804", "");
        assert_eq!(threat.to_string(), "9d5edec136b76dda4e8607e86dfbcbbc");
        assert_eq!("9d5edec136b76dda4e8607e86dfbcbbc".parse(), Ok(threat));
        assert_eq!("+d5edec136b76dda4e8607e86dfbcbbc".parse::<Identity>(), Err(IdentityError));
        assert_eq!(activity.to_string(), "19acfd92be8043b321530b2d0c23a25e");
        let identity_of = |stream, record: &str| {
            facts(stream, record.as_bytes()).identity("usea1-acme.sentinelone.net", record.as_bytes()).to_string()
        };
        let alert = r#"{"id":"019d114e-e4f4-7ad6-82c3-9829b6d0a801","status":"NEW","analystVerdict":"UNDEFINED","updatedAt":WHEN}"#;
        let updated = alert.replace("WHEN", r#""2026-03-21T16:51:18.468Z""#);
        assert_eq!(identity_of(Stream::UnifiedAlerts, &updated), "156988f464a398a7ca6e9862b9de1013");
        assert_eq!(
            identity_of(Stream::UnifiedAlerts, &alert.replace("WHEN", "null")),
            "ccb434b3cc35bc0879d71ff8fb46a68c"
        );
        let finding = r#"{"id":"2228104980801805822","status":"Detected","cveId":"CVE-2025-0411","severity":"HIGH","endpointId":"2162143406517023959","daysDetected":59,"lastScanDate":"2025-07-29T19:25:47Z","lastScanResult":"Succeeded","detectionDate":"2025-06-02T04:46:51.710569Z","baseScore":"7.00","markedBy":null}"#;
        assert_eq!(identity_of(Stream::Vulnerabilities, finding), "baae70a0cb918d0ae37123550217f16e");
        let scanned_again = finding.replace(":59", ":60").replace("2025-07-29", "2025-07-30");
        assert_eq!(identity_of(Stream::Vulnerabilities, &scanned_again), "baae70a0cb918d0ae37123550217f16e");
    }
}
