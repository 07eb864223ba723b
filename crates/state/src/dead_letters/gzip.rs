//! Lines of dead letters, compressed with gzip, whose checksum shows damage.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use s1_forwarder_record::{Identity, LaneId};

use super::line::parse_line;

/// Most bytes of lines before compression: they are decompressed in memory.
pub const MAX_LINES: usize = 128 << 20;

/// Compresses lines.
///
/// # Errors
/// If the encoder fails. Writing to memory never fails.
pub fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(lines)?;
    encoder.finish()
}

/// Decompresses lines, of at most `MAX_LINES` bytes.
///
/// # Errors
/// If `compressed` is damaged.
pub fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    MultiGzDecoder::new(compressed).take(MAX_LINES as u64 + 1).read_to_end(&mut lines)?;
    if lines.len() > MAX_LINES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(lines)
}

/// Returns the lines, each with its line feed.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Adds dead letters to the lines of their pipeline. An earlier dead letter of the same lane and identity is replaced.
/// A worker keeps a dead letter again if it was killed before its checkpoint moved, or if the write had no answer.
pub fn append(stored: &[u8], added: &[u8]) -> Vec<u8> {
    let replaced: HashSet<_> = lines(added).filter_map(key).collect();
    let is_kept = |line: &&[u8]| key(line).is_none_or(|key| !replaced.contains(&key));
    lines(stored).filter(is_kept).chain([added]).flatten().copied().collect()
}

/// Returns lane and identity of a line; `None` for a line that cannot be read.
fn key(line: &[u8]) -> Option<(LaneId, Identity)> {
    let dead_letter = parse_line(line.trim_ascii_end()).ok()?;
    Some((dead_letter.lane, dead_letter.identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::line::write_line;
    use s1_forwarder_engine::dead_letters::DeadLetter;
    use s1_forwarder_record::{Stream, Timestamp};

    fn line(sink: &str, id: &str, reason: &str) -> Vec<u8> {
        let mut line = Vec::new();
        let lane = LaneId::new("acme", Stream::Threats, sink);
        let dead_letter = DeadLetter {
            time: Timestamp::from_micros(0),
            lane: &lane,
            identity: Identity::of("host", Stream::Threats, id, ""),
            record_id: id,
            status: "400",
            reason,
            event_time: None,
            error: None,
            labels: None,
            truncated: false,
            event: b"{}",
        };
        write_line(&dead_letter, &mut line);
        line
    }

    #[test]
    fn a_dead_letter_replaces_that_of_its_lane_and_identity_only() {
        let one = line("siem", "1", "old");
        let other = line("siem", "2", "");
        let of_other_sink = line("bus", "1", "");
        let unknown = b"{\"v\":99}\n".to_vec();
        let stored = [one, other.clone(), of_other_sink.clone(), unknown.clone()].concat();
        let new = line("siem", "1", "new");
        assert_eq!(append(&stored, &new), [other, of_other_sink, unknown, new].concat());
    }

    #[test]
    fn damage_shows() {
        let mut compressed = compress(b"a line\n").unwrap();
        let last = compressed.len() - 6;
        compressed[last] ^= 1;
        assert!(decompress(&compressed).is_err() && decompress(&compressed[..9]).is_err());
    }
}
