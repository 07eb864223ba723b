//! Lines of dead letters, compressed with gzip, whose checksum shows damage.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::line::parse_line;
use crate::record::{Identity, Stream};

/// Lines that are larger than this after decompression are damaged: a worker never keeps so many.
const MAX_LINES: u64 = 512 << 20;

pub fn compress(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(lines)?;
    encoder.finish()
}

/// # Errors
/// If `compressed` is damaged.
pub fn decompress(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    MultiGzDecoder::new(compressed).take(MAX_LINES + 1).read_to_end(&mut lines)?;
    if lines.len() as u64 > MAX_LINES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(lines)
}

/// The lines, each with its line feed.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// Adds dead letters to the lines of their pipeline. An earlier dead letter of the same lane and identity is replaced:
/// a worker that was killed before its checkpoint moved, or whose write had no answer, keeps its dead letters again.
pub fn append(stored: &[u8], added: &[u8]) -> Vec<u8> {
    let replaced: HashSet<_> = lines(added).filter_map(key).collect();
    let is_kept = |line: &&[u8]| key(line).is_none_or(|key| !replaced.contains(&key));
    lines(stored).filter(is_kept).chain([added]).flatten().copied().collect()
}

/// Stream, sink and identity. `None` for a line that cannot be read.
fn key(line: &[u8]) -> Option<(Stream, String, Identity)> {
    let dead_letter = parse_line(line.trim_ascii_end()).ok()?;
    Some((dead_letter.stream, dead_letter.sink, dead_letter.identity))
}

/// Compresses lines, in several pieces if they have more than `max` bytes after compression. A line is never split: a
/// piece of one line may have more.
pub fn pieces(text: &[u8], max: usize) -> io::Result<Vec<Vec<u8>>> {
    let compressed = compress(text)?;
    let count = lines(text).count();
    if compressed.len() <= max || count < 2 {
        return Ok(vec![compressed]);
    }
    let middle = lines(text).take(count / 2).map(<[u8]>::len).sum();
    let (first, second) = text.split_at(middle);
    Ok([pieces(first, max)?, pieces(second, max)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;
    use crate::sink::dead_letters::DeadLetter;
    use crate::sink::dead_letters::line::write_line;

    fn line(sink: &str, id: &str, reason: &str) -> Vec<u8> {
        let mut line = Vec::new();
        let dead_letter = DeadLetter {
            time: Timestamp::from_micros(0),
            pipeline: "acme",
            stream: Stream::Threats,
            sink,
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
        let (one, other, of_other_sink) = (line("siem", "1", "old"), line("siem", "2", ""), line("bus", "1", ""));
        let unknown = b"{\"v\":99}\n".to_vec();
        let stored = [one, other.clone(), of_other_sink.clone(), unknown.clone()].concat();
        let new = line("siem", "1", "new");
        assert_eq!(append(&stored, &new), [other, of_other_sink, unknown, new].concat());
    }

    #[test]
    fn lines_are_divided_until_each_piece_fits() {
        let text: Vec<u8> = (0..40).flat_map(|id| line("siem", &id.to_string(), "")).collect();
        let all = pieces(&text, 400).unwrap();
        assert!(all.len() > 2 && all.iter().all(|piece| piece.len() <= 400));
        let joined: Vec<u8> = all.iter().flat_map(|piece| decompress(piece).unwrap()).collect();
        assert_eq!(joined, text);
        assert_eq!(pieces(&line("siem", "1", ""), 1).unwrap().len(), 1, "a line is never divided");
    }

    #[test]
    fn damage_shows() {
        let mut compressed = compress(b"a line\n").unwrap();
        let last = compressed.len() - 6;
        compressed[last] ^= 1;
        assert!(decompress(&compressed).is_err() && decompress(&compressed[..9]).is_err());
    }
}
