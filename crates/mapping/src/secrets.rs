//! Secrets of the console in records: they let their holder enrol an agent, or remove it from a host.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use s1_forwarder_record::Stream;

use super::mapping::{Mapped, Written};
use super::secret_keys::is_secret;

/// Replaces a value that nobody may see.
pub const REDACTED: &str = "[redacted]";

/// Ends of the keys of secrets, without the first letter, whose case differs: rare enough to be searched for first.
static ENDS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["censeKey\"", "cenceKey\"", "istrationToken\"", "ssphrase\""].map(Finder::new));

/// Calls `map`, which writes an event that contains the record, so that no secret is in it. Mapping looks at each key
/// without a field anyway, so that records without secrets cost nothing.
pub(super) fn guarded(
    guards: bool,
    stream: Stream,
    record: &[u8],
    out: &mut Vec<u8>,
    mut map: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Written, String>,
) -> Result<Mapped, String> {
    // Typed records of these streams have secrets as fields.
    if guards && matches!(stream, Stream::Agents | Stream::Groups) {
        return Ok(map(&redact(record), out)?.mapped);
    }
    let start = out.len();
    let Written { mapped, has_secret } = map(record, out)?;
    if !guards || !has_secret {
        return Ok(mapped);
    }
    out.truncate(start);
    let again = map(&redact(record), out)?.mapped;
    // The first time, the mapper came across leaves that it knows now.
    Ok(Mapped { drifted: mapped.drifted, ..again })
}

/// The record with `[redacted]` in the place of secrets. Valid JSON stays valid; other bytes are searched too.
pub(super) fn redact(record: &[u8]) -> Cow<'_, [u8]> {
    let mut ends: Vec<usize> =
        ENDS.iter().flat_map(|end| end.find_iter(record).map(|at| at + end.needle().len() - 1)).collect();
    if ends.is_empty() {
        return Cow::Borrowed(record);
    }
    ends.sort_unstable();
    let mut out = Vec::with_capacity(record.len());
    let mut copied = 0;
    for quote in ends {
        let Some((from, to)) = value_of_secret(record, quote, copied) else { continue };
        out.extend_from_slice(&record[copied..from]);
        out.push(b'"');
        out.extend_from_slice(REDACTED.as_bytes());
        out.push(b'"');
        copied = to;
    }
    out.extend_from_slice(&record[copied..]);
    Cow::Owned(out)
}

/// The place of the value, if the text that ends with this quote is the key of a secret, and the value does not begin
/// before `copied`. `null` and `""` stay.
fn value_of_secret(record: &[u8], quote: usize, copied: usize) -> Option<(usize, usize)> {
    let open = memchr::memrchr(b'"', &record[..quote])?;
    let key = std::str::from_utf8(&record[open + 1..quote]).ok()?;
    if !is_secret(key) {
        return None;
    }
    let colon = quote + 1 + skip_blanks(&record[quote + 1..]);
    if record.get(colon) != Some(&b':') {
        return None;
    }
    let from = colon + 1 + skip_blanks(&record[colon + 1..]);
    // Secrets may be in each other at any depth.
    if from < copied {
        return None;
    }
    let is_empty = record[from..].starts_with(b"null") || record[from..].starts_with(b"\"\"");
    // A value without an end was cut off.
    let to = s1_forwarder_record::value_end(record, from).unwrap_or(record.len());
    (!is_empty && from < to).then_some((from, to))
}

fn skip_blanks(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len())
}
