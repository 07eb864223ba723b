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

/// Adds dead letters to the lines of their pipeline. An earlier dead letter of the same lane and identity is replaced: a
/// worker that was killed before its checkpoint moved, or whose write had no answer, keeps its dead letters again.
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
