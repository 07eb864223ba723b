//! Identities that the operator has asked a destination for: `--present`.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use async_trait::async_trait;
use flate2::bufread::MultiGzDecoder;
use parking_lot::Mutex;
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Lookup, SortedIdentities, Unproven};
use s1_forwarder_record::{Identity, Timestamp};

/// How long an event may take to be found, where nothing else is known.
const SETTLE: Duration = Duration::from_secs(120);
/// Identities that are looked up at a time.
const MOST: usize = 100_000;
const DIGITS: u64 = 32;
/// Any 32 digits of a run that is shorter than two identities may be one.
const LONGEST: usize = 64;
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
            // UTF-16 has a zero with each character of an identity.
            for byte in bytes.iter().filter(|byte| **byte != 0) {
                line.next(*byte, &mut |found| match found {
                    Found::First(identity) => sorter.add(identity),
                    Found::Later(identity) => later.add(identity),
                })?;
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

/// An identity of a line.
enum Found {
    /// The first one.
    First(Identity),
    /// Any other digits that may be one.
    Later(Identity),
}

/// Finds each 32 hex digits of a line that have no other digit next to them. They may have hyphens, as those of a UUID.
/// What else may be an identity comes later: 32 of the digits of a longer run, and shorter runs that have 32 digits
/// together and no letter or digit between them, as of an identity that was folded or grouped.
#[derive(Default)]
struct Line {
    /// The last 32 digits since the last letter that is none of them.
    last: u128,
    /// Where runs begin among them: the lowest bit is of the last digit.
    beginnings: u32,
    /// The digits since the last other character. No more than `LONGEST` are kept.
    run: Vec<u8>,
    run_length: u64,
    /// The digits since the last character that is none of a UUID.
    uuid_length: u64,
    hyphens: usize,
    is_found: bool,
    has_text: bool,
    /// Lines that had text, and none.
    others: u64,
}

impl Line {
    fn next(&mut self, byte: u8, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        match char::from(byte).to_digit(16) {
            Some(digit) => self.digit(digit, take),
            None => self.end_of_run(byte, take),
        }
    }

    fn digit(&mut self, digit: u32, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        let begins = self.run_length == 0;
        if !begins && self.run_length.is_multiple_of(DIGITS) {
            // Another digit comes after an identity, or after another one.
            take(Found::Later(self.identity()))?;
        }
        self.last = (self.last << 4) | u128::from(digit);
        self.beginnings = (self.beginnings << 1) | u32::from(begins);
        self.run_length += 1;
        self.uuid_length += 1;
        if self.run.len() < LONGEST {
            self.run.push(u8::try_from(digit).unwrap_or_default());
        }
        self.has_text = true;
        Ok(())
    }

    fn end_of_run(&mut self, byte: u8, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        let length = std::mem::take(&mut self.run_length);
        let is_part_of_uuid = byte == b'-' && HYPHENS.get(self.hyphens) == Some(&self.uuid_length);
        let (uuid_length, hyphens) = (self.uuid_length, self.hyphens);
        (self.uuid_length, self.hyphens) = if is_part_of_uuid { (uuid_length, hyphens + 1) } else { (0, 0) };
        let is_uuid = !is_part_of_uuid && uuid_length == DIGITS && hyphens == HYPHENS.len();
        if length == DIGITS || is_uuid {
            let identity = self.identity();
            take(if self.is_found { Found::Later(identity) } else { Found::First(identity) })?;
            self.is_found = true;
        } else if length > DIGITS {
            take(Found::Later(self.identity()))?;
            if self.run.len() < LONGEST {
                let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| (number << 4) | u128::from(*digit));
                let mut windows = self.run.windows(DIGITS as usize);
                windows.try_for_each(|digits| take(Found::Later(identity(number(digits)))))?;
            }
        } else if length > 0 && self.beginnings >> (DIGITS - 1) == 1 {
            take(Found::Later(self.identity()))?;
        }
        self.run.clear();
        if byte.is_ascii_alphanumeric() {
            self.beginnings = 0;
        }
        self.has_text |= !byte.is_ascii_whitespace();
        if matches!(byte, b'\n' | b'\r') {
            self.others += u64::from(self.has_text && !self.is_found);
            (self.has_text, self.is_found) = (false, false);
        }
        Ok(())
    }

    fn identity(&self) -> Identity {
        identity(self.last)
    }
}

fn identity(number: u128) -> Identity {
    Identity::from_bytes(number.to_be_bytes())
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
            let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(found(&utf_16).await, expected, "UTF-16: {text}");
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
            // Digits on both sides.
            (format!("idbad{ONE}cafe\n"), [false, true]),
            // Folded, and grouped.
            (format!("{},{}\n{}\n", TWO, &ONE[..20], &ONE[20..]), [false, true]),
            (format!("x={}=\r\n  {}\n", &ONE[..7], &ONE[7..]), [false, true]),
            (format!("{} {} {}:{}\n", &ONE[..8], &ONE[8..16], &ONE[16..24], &ONE[24..]), [false, true]),
            // Another letter is between them.
            (format!("{}n{}\n", &ONE[..8], &ONE[8..]), [false, false]),
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
