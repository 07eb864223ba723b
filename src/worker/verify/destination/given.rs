//! Identities that the operator has asked a destination for: `--present`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use async_trait::async_trait;
use flate2::bufread::MultiGzDecoder;
use parking_lot::Mutex;

use crate::record::{Identity, Timestamp};
use crate::sink::lookup::{IdentitySorter, Lookup, SortedIdentities, Unproven};

/// How long an event may take to be found, where nothing else is known.
const SETTLE: Duration = Duration::from_secs(120);
/// Identities that are looked up at a time.
const MOST: usize = 100_000;
const DIGITS: u64 = 32;
/// The digits before each hyphen of a UUID.
const HYPHENS: [u64; 4] = [8, 12, 16, 20];
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A list of identities: one a line, in any order, and in any text.
pub struct Given {
    name: String,
    copied_at: Timestamp,
    sorted: Mutex<SortedIdentities>,
    /// Identities that come later in a line. They may be of another column, or the list may have several a line.
    later: Mutex<SortedIdentities>,
    distinct: u64,
    /// Lines with text and without an identity.
    pub other_lines: u64,
}

impl fmt::Debug for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Given").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Given {
    /// Reads all of `file`, which was made at `copied_at` and may be compressed with gzip. Blocks.
    ///
    /// # Errors
    /// If it, or a temporary file, cannot be used.
    pub fn read(name: String, copied_at: Timestamp, file: impl Read) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let mut sorter = IdentitySorter::default();
        let mut later = IdentitySorter::default();
        let is_compressed = file.fill_buf()?.starts_with(GZIP);
        let mut line = Line::default();
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                match line.next(*byte) {
                    Next::Open => {}
                    Next::First(identity) => sorter.add(identity)?,
                    Next::Later(identity) => later.add(identity)?,
                }
            }
            Ok::<_, io::Error>(())
        };
        match is_compressed {
            true => each_chunk(&mut BufReader::new(MultiGzDecoder::new(file)), &mut take)?,
            false => each_chunk(&mut file, &mut take)?,
        }
        // The last line may have no end.
        take(b"\n")?;
        let other_lines = line.others;
        let sorted = sorter.finish()?;
        let distinct = sorted.distinct();
        let later = Mutex::new(later.finish()?);
        Ok(Self { name, copied_at, sorted: Mutex::new(sorted), later, distinct, other_lines })
    }

    /// The number of different identities.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }
}

#[async_trait]
impl Lookup for Given {
    fn asked(&self) -> String {
        let Self { name, copied_at, distinct, .. } = self;
        format!("{name}: {distinct} identities, taken as what the destination had at {copied_at}")
    }

    fn most(&self) -> usize {
        MOST
    }

    fn settle(&self) -> Duration {
        SETTLE
    }

    fn copied_at(&self) -> Option<Timestamp> {
        Some(self.copied_at)
    }

    async fn copies(&self, identities: &[Identity]) -> Result<Vec<u32>, Unproven> {
        let copies = self.sorted.lock().copies(identities);
        copies.map_err(|error| self.unread(&error))
    }

    /// Nobody knows whether the destination has what is not the first identity of a line.
    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        let copies = self.later.lock().copies(identities).map_err(|error| self.unread(&error))?;
        let place = |copies| (copies > 0).then(|| format!("{}, after another identity of the same line", self.name));
        Ok(copies.into_iter().map(place).collect())
    }
}

impl Given {
    fn unread(&self, error: &io::Error) -> Unproven {
        Unproven::NoProof(format!("the sorted identities of {}: {error}", self.name))
    }
}

fn each_chunk(file: &mut impl BufRead, take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    loop {
        let chunk = file.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        take(chunk)?;
        let length = chunk.len();
        file.consume(length);
    }
}

/// Finds each 32 hex digits of a line that have no other digit next to them. They may have hyphens, as those of a UUID.
/// More digits may be identities without anything between them: those at their beginning, at their end, and each next.
#[derive(Default)]
struct Line {
    /// The digits since the last other character, and since the last one that is none of a UUID.
    plain: Digits,
    uuid: Digits,
    hyphens: u8,
    is_found: bool,
    has_text: bool,
    /// Lines that had text, and none.
    others: u64,
}

#[derive(Default)]
struct Digits {
    /// The last 32.
    number: u128,
    count: u64,
}

enum Next {
    Open,
    /// The first one of a line.
    First(Identity),
    Later(Identity),
}

impl Digits {
    /// The digits before this one that may be an identity, if it is one digit more.
    fn add(&mut self, digit: u32) -> Option<Identity> {
        let before = (self.count > 0 && self.count.is_multiple_of(DIGITS)).then(|| self.last());
        self.number = (self.number << 4) | u128::from(digit);
        self.count += 1;
        before
    }

    fn identity(&self) -> Option<Identity> {
        (self.count == DIGITS).then(|| self.last())
    }

    /// The last 32 of more digits.
    fn end(&self) -> Option<Identity> {
        (self.count > DIGITS).then(|| self.last())
    }

    fn last(&self) -> Identity {
        Identity::from_bytes(self.number.to_be_bytes())
    }
}

impl Line {
    fn next(&mut self, byte: u8) -> Next {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.has_text = true;
            self.uuid.add(digit);
            return self.plain.add(digit).map_or(Next::Open, Next::Later);
        }
        let plain = std::mem::take(&mut self.plain);
        let (plain, end) = (plain.identity(), plain.end());
        if byte == b'-' && HYPHENS.get(usize::from(self.hyphens)) == Some(&self.uuid.count) {
            self.hyphens += 1;
            return Next::Open;
        }
        let uuid = std::mem::take(&mut self.uuid).identity();
        let is_uuid = usize::from(std::mem::take(&mut self.hyphens)) == HYPHENS.len();
        let found = plain.or(uuid.filter(|_| is_uuid));
        let ends = matches!(byte, b'\n' | b'\r');
        let next = match found {
            Some(identity) if self.is_found => Next::Later(identity),
            Some(identity) => Next::First(identity),
            None => end.map_or(Next::Open, Next::Later),
        };
        self.is_found |= found.is_some();
        self.has_text |= !byte.is_ascii_whitespace();
        if ends {
            let is_other = self.has_text && !self.is_found;
            *self = Self { others: self.others + u64::from(is_other), ..Self::default() };
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const ONE: &str = "9d5edec136b76dda4e8607e86dfbcbbc";
    const TWO: &str = "19acfd92be8043b321530b2d0c23a25e";

    /// How often `TWO` and `ONE` are in the list, its number of identities, and its lines without one.
    async fn found(bytes: &[u8]) -> (Vec<u32>, u64, u64) {
        let given = Given::read("ids".to_owned(), Timestamp::from_micros(0), bytes).unwrap();
        (given.copies(&identities()).await.unwrap(), given.distinct(), given.other_lines)
    }

    fn identities() -> [Identity; 2] {
        [TWO.parse().unwrap(), ONE.parse().unwrap()]
    }

    #[tokio::test]
    async fn the_first_32_hex_digits_of_each_line_count() {
        let long = "a".repeat(64);
        for (text, expected) in [
            (format!("{ONE}\n{TWO}\n"), (vec![1, 1], 2, 0)),
            (format!("\n{ONE}\r\n\n {}", ONE.to_uppercase()), (vec![0, 2], 1, 0)),
            (format!(r#"{{"_id":"{ONE}","other":"{TWO}"}}"#), (vec![0, 1], 1, 0)),
            (format!("pipeline=acme,id={ONE},stream=activities\n"), (vec![0, 1], 1, 0)),
            (format!("identity\n{long}\n{ONE}0\n0{ONE}\n{long},{TWO}\n"), (vec![1, 0], 1, 4)),
            (format!("{ONE}\r{TWO}\r\n"), (vec![1, 1], 2, 0)),
            (
                "9D5EDEC1-36b7-6dda-4e86-07e86dfbcbbc\n9d5edec136b7-6dda-4e86-07e86dfbcbbc".to_owned(),
                (vec![0, 1], 1, 1),
            ),
            (format!("deadbeef-{ONE}, {}-x", &ONE[..8]), (vec![0, 1], 1, 0)),
            (String::new(), (vec![0, 0], 0, 0)),
        ] {
            assert_eq!(found(text.as_bytes()).await, expected, "{text}");
            let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
            compressed.write_all(text.as_bytes()).unwrap();
            assert_eq!(found(&compressed.finish().unwrap()).await, expected, "compressed: {text}");
        }
    }

    #[tokio::test]
    async fn what_comes_later_in_a_line_is_not_missing() {
        let given = |text: String| Given::read("ids".to_owned(), Timestamp::from_micros(0), text.as_bytes()).unwrap();
        for (text, expected) in [
            (format!("[\"{ONE}\",\"{TWO}\"]\n"), [true, false]),
            (format!("{TWO},{ONE}\n"), [false, true]),
            (format!("{ONE}\r{TWO}\r"), [false, false]),
            (format!("{}\n", "a".repeat(64)), [false, false]),
            // Nothing between them, or a digit that is none of theirs.
            (format!("{ONE}{TWO}"), [true, true]),
            (format!("{}{ONE}{TWO}\n", "0".repeat(32)), [true, true]),
            (format!("\u{feff}\"{TWO}{ONE}\",\r\n"), [true, true]),
            (format!("d{ONE},{TWO}b\n"), [true, true]),
            (format!("\u{feff}\"{TWO}\",\"{ONE}\"\r\n"), [false, true]),
        ] {
            let places = given(text.clone()).elsewhere(&identities()).await.unwrap();
            assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn a_compressed_file_that_breaks_off_is_no_list() {
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(format!("{ONE}\n").as_bytes()).unwrap();
        let bytes = compressed.finish().unwrap();
        let half = &bytes[..bytes.len() - 6];
        assert!(Given::read("ids".to_owned(), Timestamp::from_micros(0), half).is_err());
    }
}
