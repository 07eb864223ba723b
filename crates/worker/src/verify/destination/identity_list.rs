//! Identities that the operator has asked a destination for: `--present`.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use async_trait::async_trait;
use flate2::bufread::MultiGzDecoder;
use parking_lot::Mutex;
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Inconclusive, Lookup, SortedIdentities};
use s1_forwarder_record::{Identity, Timestamp};

/// How long an event may take to be found, where nothing else is known.
const SETTLE: Duration = Duration::from_mins(2);
/// Identities that are looked up at a time.
const MAX_IN_MEMORY: usize = 100_000;
const DIGITS: u64 = 32;
/// Number of digits of two identities. Any 32 digits of a shorter run may be an identity.
const MAX_IDENTITY: usize = 64;
/// The digits before each hyphen of a UUID.
const HYPHENS: [u64; 4] = [8, 12, 16, 20];
/// The bytes of an identity in base64.
const BYTES: u64 = 16;
/// Lengths at which destinations and their tools truncate a result. A list of about such a length may be the beginning
/// of a longer one.
const CAPS: [u64; 18] = [
    10, 20, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000,
];
/// Tools also truncate at a power of two from this one on, with or without the line of a heading.
const FIRST_POWER: u32 = 10;
/// Several results in one list, each truncated at a limit, have a multiple of this number of lines.
const ROUND: u64 = 50;
/// One line in this number may have been removed as a copy, if a list has no copies.
const COPIES: u64 = 20;
/// Maximum length of a word in a heading. The text of another identity has a longer one.
const WORD: u64 = 15;
/// The maximum of identities in a row, with the identities in its other columns. A line with more identities has
/// several rows.
const SEVERAL: u64 = 20;
/// The characters of a line that is an identity, without and with the hyphens of a UUID.
const ALONE: [u64; 2] = [32, 36];
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How compressed files begin, and the number of bytes: gzip, zstd, xz, a block of bzip2, zip. No text has these.
const COMPRESSED: [(u64, u32); 5] =
    [(0x1f_8b08, 3), (0x28b5_2ffd, 4), (0xfd_377a_585a, 5), (0x3141_5926_5359, 6), (0x504b_0304, 4)];

/// A list of identities: one a line, in any order, and in any text. The first line may be a heading.
pub struct IdentityList {
    name: String,
    as_of: Timestamp,
    sorted: Mutex<SortedIdentities>,
    /// Identities that come later in a line. They may be of another column, or the list may have several a line.
    later: Mutex<SortedIdentities>,
    distinct: u64,
    /// Lines with an identity.
    lines: u64,
    has_heading: bool,
    has_empty_end: bool,
    /// Lines that do not have the one identity of an event, or were truncated.
    pub other_lines: u64,
    /// The number of the first of these other lines.
    pub first_other: u64,
}

impl fmt::Debug for IdentityList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IdentityList").field("name", &self.name).finish_non_exhaustive()
    }
}

impl IdentityList {
    /// Reads all of `file`, which was made at `as_of` and may be compressed with gzip. Blocks.
    ///
    /// # Errors
    /// If it, or a temporary file, cannot be used, or a part of it is no text.
    pub fn read(name: String, as_of: Timestamp, file: impl Read) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let mut sorter = IdentitySorter::default();
        let mut later = IdentitySorter::default();
        let is_compressed = file.fill_buf()?.starts_with(GZIP);
        let mut line = Line::default();
        let mut escape = Escape::default();
        let mut lines = 0;
        let mut recent = 0;
        let mut is_utf_16 = None;
        let last = Cell::new(b'\n');
        let mut take = |bytes: &[u8]| {
            let is_utf_16 = *is_utf_16.get_or_insert_with(|| begins_as_utf_16(bytes));
            // UTF-16 has a zero with each character of an identity.
            for byte in bytes.iter().filter(|byte| **byte != 0) {
                last.set(*byte);
                recent = (recent << 8) | u64::from(*byte);
                if begins_compressed(recent) {
                    let line = line.number + 1;
                    return Err(io::Error::other(format!(
                        "a compressed file begins in line {line}: decompress it first"
                    )));
                }
                if !is_utf_16 && is_no_text(*byte) {
                    let line = line.number + 1;
                    return Err(io::Error::other(format!(
                        "line {line} is no text: if it belongs to a compressed file, decompress that first"
                    )));
                }
                let mut found = |found| match found {
                    Found::First(identity) => {
                        lines += 1;
                        sorter.add(identity)
                    }
                    Found::Later(identity) => later.add(identity),
                };
                escape.next(*byte, &mut |byte| line.next(byte, &mut found))?;
            }
            Ok::<_, io::Error>(())
        };
        if is_compressed {
            each_chunk(&mut BufReader::new(MultiGzDecoder::new(file)), &mut take)?
        } else {
            each_chunk(&mut file, &mut take)?
        }
        let is_open = !matches!(last.get(), b'\n' | b'\r');
        if is_open {
            take(b"\n")?;
            line.end_of_list();
        }
        let Line { others: other_lines, first_other, has_heading, is_after_empty: has_empty_end, .. } = line;
        let sorted = sorter.finish()?;
        let distinct = sorted.distinct();
        let later = Mutex::new(later.finish()?);
        let sorted = Mutex::new(sorted);
        Ok(Self { name, as_of, sorted, later, distinct, lines, has_heading, has_empty_end, other_lines, first_other })
    }

    /// The number of different identities.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }
}

#[async_trait]
impl Lookup for IdentityList {
    fn target_text(&self) -> String {
        let Self { name, as_of, distinct, .. } = self;
        format!("{name}: {distinct} identities; they count as the destination's content at {as_of}")
    }

    fn max_identities_per_query(&self) -> usize {
        MAX_IN_MEMORY
    }

    fn visible_after(&self) -> Duration {
        SETTLE
    }

    fn as_of(&self) -> Option<Timestamp> {
        Some(self.as_of)
    }

    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive> {
        let copies = self.sorted.lock().occurrences(identities);
        copies.map_err(|error| self.unread(&error))
    }

    fn is_given(&self) -> bool {
        true
    }

    /// Finds identities that are in the list, but not as the first of a line. It is not known whether the destination
    /// has these events.
    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        if let Some(cap) = self.cut_at() {
            let Self { name, lines, other_lines, .. } = self;
            return Err(Inconclusive::NoProof(format!(
                "{name} has {lines} lines with an identity and {other_lines} without one: a result may have been \
                 truncated at {cap}; give all identities of the lane, copies too and nothing else, or the identities \
                 of another window"
            )));
        }
        let copies = self.later.lock().occurrences(identities).map_err(|error| self.unread(&error))?;
        let Self { name, other_lines, first_other, .. } = self;
        if *other_lines > 0 && copies.contains(&0) {
            return Err(Inconclusive::NoProof(format!(
                "{name}: {other_lines} lines do not have the one identity of an event, or were cut, and the first is \
                 line {first_other}: each may be an event that is not found; remove what is no event, give one \
                 identity a line, and end the last line"
            )));
        }
        let place = |copies| (copies > 0).then(|| format!("{name}, in base64, or not as the first of its line"));
        Ok(copies.into_iter().map(place).collect())
    }
}

impl IdentityList {
    /// Returns the limit at which the result may have been truncated. Rows without an identity count, and so do copies
    /// that a tool may have removed.
    fn cut_at(&self) -> Option<u64> {
        let Self { lines, other_lines, distinct, has_heading, has_empty_end, .. } = *self;
        let more = u64::from(has_heading) + u64::from(has_empty_end);
        let rows = lines.saturating_add(other_lines).saturating_add(more);
        let copies = if distinct == lines { lines / (COPIES - 1) } else { 0 };
        let is_round = |rows: &u64| *rows > 0 && rows.is_multiple_of(ROUND);
        let powers = (FIRST_POWER..u64::BITS).map(|power| 1 << power).flat_map(|power: u64| [power - 1, power]);
        let cap = CAPS.into_iter().chain(powers).find(|cap| (lines..=rows.saturating_add(copies)).contains(cap));
        (lines..=rows).find(is_round).or(cap)
    }

    fn unread(&self, error: &io::Error) -> Inconclusive {
        Inconclusive::NoProof(format!("the sorted identities of {}: {error}", self.name))
    }
}

fn begins_as_utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..])
}

/// Returns whether a compressed file begins with the last bytes.
fn begins_compressed(recent: u64) -> bool {
    COMPRESSED.iter().any(|(beginning, bytes)| recent & ((1 << (8 * bytes)) - 1) == *beginning)
}

/// Control characters that neither separate nor end anything in a text.
fn is_no_text(byte: u8) -> bool {
    matches!(byte, 0x02..=0x07 | 0x0e..=0x19)
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
    /// The first identity of a line.
    First(Identity),
    /// Any other digits that may be one.
    Later(Identity),
}

/// Reads a digit that JSON has as `\u0061`. Other escapes are left as they are.
#[derive(Default)]
struct Escape {
    /// The bytes of an open escape that were read, without the backslash.
    read: Vec<u8>,
    is_open: bool,
}

impl Escape {
    fn next(&mut self, byte: u8, take: &mut impl FnMut(u8) -> io::Result<()>) -> io::Result<()> {
        if !self.is_open && byte != b'\\' {
            return take(byte);
        }
        // A text inside of another one has several backslashes.
        if byte == b'\\' && self.read.is_empty() {
            self.is_open = true;
            return Ok(());
        }
        let is_part = if self.read.is_empty() { byte == b'u' } else { byte.is_ascii_hexdigit() };
        if is_part {
            self.read.push(byte);
            if self.read.len() < b"u0061".len() {
                return Ok(());
            }
        }
        self.is_open = false;
        let read = std::mem::take(&mut self.read);
        let digits = std::str::from_utf8(read.get(1..).unwrap_or_default()).ok().filter(|_| is_part);
        let digit = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii_hexdigit);
        if let Some(digit) = digit {
            return take(digit);
        }
        take(b'\\')?;
        read.into_iter().try_for_each(&mut *take)?;
        if is_part { Ok(()) } else { self.next(byte, take) }
    }
}

/// Finds an identity in a run of base64: its 16 bytes, or the 32 hex digits of a text.
#[derive(Default)]
struct Base64 {
    bits: u32,
    characters: u64,
    /// The bytes so far, and the last 16 of them.
    bytes: u64,
    last: u128,
    hex: u128,
    hex_digits: u64,
}

impl Base64 {
    fn next(&mut self, byte: u8, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => {
                let run = std::mem::take(self);
                if run.bytes == BYTES {
                    take(Found::Later(identity(run.last)))?;
                }
                return if run.hex_digits == DIGITS { take(Found::Later(identity(run.hex))) } else { Ok(()) };
            }
        };
        self.bits = (self.bits << 6) | u32::from(value);
        self.characters += 1;
        match self.characters % 4 {
            1 => Ok(()),
            2 => self.byte(self.bits >> 4, take),
            3 => self.byte(self.bits >> 2, take),
            _ => self.byte(self.bits, take),
        }
    }

    /// The lowest eight bits are the next byte.
    fn byte(&mut self, bits: u32, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        let byte = bits & 0xff;
        self.bytes += 1;
        self.last = (self.last << 8) | u128::from(byte);
        match char::from_u32(byte).and_then(|byte| byte.to_digit(16)) {
            Some(digit) => {
                self.hex = (self.hex << 4) | u128::from(digit);
                self.hex_digits += 1;
                Ok(())
            }
            None if std::mem::take(&mut self.hex_digits) == DIGITS => take(Found::Later(identity(self.hex))),
            None => Ok(()),
        }
    }
}

/// Finds each 32 hex digits of a line that have no other digit next to them. The digits may have hyphens, as in a UUID.
/// Other digits that may be an identity are a [`Found::Later`]: 32 digits of a longer run, and shorter runs that have
/// 32 digits together and no letter or digit between them, as of an identity that was folded or grouped.
#[derive(Default)]
struct Line {
    /// The last 32 hex digits since the last letter that is no hex digit.
    last: u128,
    /// A bit for each of these digits, set if a run begins at it. The lowest bit belongs to the last digit.
    beginnings: u32,
    /// The digits since the last other character. No more than `MAX_IDENTITY` are kept.
    run: Vec<u8>,
    run_length: u64,
    /// The digits since the last character that is none of a UUID.
    uuid_length: u64,
    hyphens: usize,
    /// The identities of the line.
    found: u64,
    has_text: bool,
    /// The length of the word so far.
    word: u64,
    /// Whether the line has a text that no heading has.
    is_row: bool,
    /// The last visible character.
    last_visible: u8,
    /// Whether the line has an empty value, as the row of an event without an identity.
    has_empty: bool,
    /// Number of visible characters that only separate values.
    separators: u64,
    brackets: u64,
    /// Whether the last line was empty. It may be the end of the list.
    is_after_empty: bool,
    base64: Base64,
    /// The number of the line, which begins at 0.
    number: u64,
    is_after_return: bool,
    /// The visible characters of this line, of the last one, and of the one before.
    length: u64,
    lengths: [u64; 2],
    /// Whether a line had text.
    has_begun: bool,
    has_heading: bool,
    /// Lines that are neither a heading nor the row of one event, and the numbers of the first and the last one, which
    /// begin at 1.
    others: u64,
    first_other: u64,
    last_other: u64,
}

impl Line {
    fn next(&mut self, byte: u8, take: &mut impl FnMut(Found) -> io::Result<()>) -> io::Result<()> {
        self.base64.next(byte, take)?;
        let is_letter = byte.is_ascii_alphanumeric() || !byte.is_ascii();
        self.word = if is_letter { self.word + 1 } else { 0 };
        self.is_row |= byte.is_ascii_digit() || byte == b':' || self.word > WORD;
        self.has_text |= is_letter;
        if byte > b' ' {
            self.has_empty |= matches!(&[self.last_visible, byte], b"\"\"" | b"''" | b"{}" | b"[]");
            self.separators += u64::from(matches!(byte, b',' | b';'));
            self.brackets += u64::from(matches!(byte, b'[' | b']' | b'{' | b'}'));
            self.last_visible = byte;
            self.length += 1;
        }
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
        if self.run.len() < MAX_IDENTITY {
            self.run.push(u8::try_from(digit).unwrap_or_default());
        }
        self.is_after_return = false;
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
            take(if self.found > 0 { Found::Later(identity) } else { Found::First(identity) })?;
            self.found += 1;
        } else if length > DIGITS {
            take(Found::Later(self.identity()))?;
            if self.run.len() < MAX_IDENTITY {
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
        // A line ends with both of them, or with one.
        if byte == b'\r' || byte == b'\n' && !self.is_after_return {
            self.end_of_line();
        }
        self.is_after_return = byte == b'\r';
        Ok(())
    }

    fn end_of_line(&mut self) {
        // Another line comes after the empty one.
        if self.is_after_empty {
            self.doubt();
        }
        self.is_after_empty = self.length == 0;
        self.number += 1;
        if self.has_text && self.found == 0 && !self.has_begun && !self.is_row {
            self.has_heading = true;
        } else if self.has_text && self.found == 0 || self.found > SEVERAL || self.is_empty_row() {
            self.doubt();
        }
        self.has_begun |= self.has_text;
        self.lengths = [self.lengths[1], self.length];
        (self.has_text, self.is_row, self.found, self.length) = (false, false, 0, 0);
        (self.last_visible, self.has_empty, self.separators, self.brackets) = (0, false, 0, 0);
    }

    /// Returns whether the line has no text, and may be the row of an event all the same: its identity may be masked.
    /// Brackets alone, with what separates them, are none.
    fn is_empty_row(&self) -> bool {
        let are_brackets = self.brackets > 0 && self.brackets + self.separators == self.length && !self.has_empty;
        !self.has_text && self.length > 0 && !are_brackets
    }

    /// Ends a list whose last line had no end. The last line of a truncated list is not as long as others.
    fn end_of_list(&mut self) {
        let [before, length] = self.lengths;
        if length > 0 && length != before && !ALONE.contains(&length) {
            self.doubt();
        }
    }

    fn doubt(&mut self) {
        if self.last_other == self.number {
            return;
        }
        self.others += 1;
        self.last_other = self.number;
        self.first_other = if self.others == 1 { self.number } else { self.first_other };
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

    /// How often `TWO` and `ONE` are in the list, its number of identities, and its lines that are no rows of events.
    async fn found(bytes: &[u8]) -> (Vec<u32>, u64, u64) {
        let given = IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), bytes).unwrap();
        (given.occurrences(&identities()).await.unwrap(), given.distinct(), given.other_lines)
    }

    /// With each digit as JSON may have it.
    fn escaped(text: &str) -> String {
        text.chars()
            .map(|digit| if digit.is_ascii_hexdigit() { format!(r"\u{:04x}", u32::from(digit)) } else { digit.into() })
            .collect()
    }

    fn identities() -> [Identity; 2] {
        [TWO.parse().unwrap(), ONE.parse().unwrap()]
    }

    #[tokio::test]
    async fn the_first_32_hex_digits_of_each_line_count() {
        let long = "a".repeat(64);
        for (text, expected) in [
            (format!("{ONE}\n{TWO}\n"), (vec![1, 1], 2, 0)),
            (format!("\n{ONE}\r\n\n {}", ONE.to_uppercase()), (vec![0, 2], 1, 2)),
            (format!(r#"{{"_id":"{ONE}","other":"{TWO}"}}"#), (vec![0, 1], 1, 0)),
            (format!("pipeline=acme,id={ONE},stream=activities\n"), (vec![0, 1], 1, 0)),
            (format!("identity\n{long}\n{ONE}0\n0{ONE}\n{long},{TWO}\n"), (vec![1, 0], 1, 3)),
            (format!("{ONE}\r{TWO}\r\n"), (vec![1, 1], 2, 0)),
            (
                "9D5EDEC1-36b7-6dda-4e86-07e86dfbcbbc\n9d5edec136b7-6dda-4e86-07e86dfbcbbc".to_owned(),
                (vec![0, 1], 1, 1),
            ),
            (format!("deadbeef-{ONE}, {}-x", &ONE[..8]), (vec![0, 1], 1, 0)),
            (String::new(), (vec![0, 0], 0, 0)),
            // Escaped digits, and other escapes next to them.
            (format!(r#"{{"_id":"\u0039{}\u0063","x":"\/\u00e4"}}"#, &ONE[1..31]), (vec![0, 1], 1, 0)),
            (format!(r"\u0022{}\\u0043 \\\u0031{}\u00e4\", &ONE[..31], &TWO[1..]), (vec![1, 0], 1, 0)),
            (escaped(ONE), (vec![0, 1], 1, 0)),
            (escaped(ONE).replace('\\', r"\\"), (vec![0, 1], 1, 0)),
            (format!(r"C:\u\{ONE}\u003"), (vec![0, 1], 1, 0)),
        ] {
            let text = format!("{text}\n");
            assert_eq!(found(text.as_bytes()).await, expected, "{text}");
            let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
            compressed.write_all(text.as_bytes()).unwrap();
            assert_eq!(found(&compressed.finish().unwrap()).await, expected, "compressed: {text}");
            let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(found(&utf_16).await, expected, "UTF-16: {text}");
        }
    }

    #[test]
    fn what_comes_later_in_a_line_is_not_missing() {
        let given =
            |text: String| IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), text.as_bytes()).unwrap();
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
            // Base64 of the bytes, of the digits, and of an event.
            ("nV7ewTa3bdpOhgfobfvLvA==\n\"Gaz9kr6AQ7MhUwstDCOiXg\"\n".to_owned(), [true, true]),
            ("id=OWQ1ZWRlYzEzNmI3NmRkYTRlODYwN2U4NmRmYmNiYmM=\n".to_owned(), [false, true]),
            ("eyJpZGVudGl0eSI6IjlkNWVkZWMxMzZiNzZkZGE0ZTg2MDdlODZkZmJjYmJjIiwiYSI6MX0=".to_owned(), [false, true]),
            ("xnV7ewTa3bdpOhgfobfvLvA==\n".to_owned(), [false, false]),
            // Another letter is between them.
            (format!("{}n{}\n", &ONE[..8], &ONE[8..]), [false, false]),
        ] {
            let copies = given(text.clone()).later.lock().occurrences(&identities()).unwrap();
            assert_eq!(copies.into_iter().map(|copies| copies > 0).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    /// A result that was cut has the number of lines that its maker is known for. Some of them may be no identity, or
    /// may have been removed as copies.
    #[tokio::test]
    async fn a_list_that_may_have_been_cut_claims_nothing() {
        // Lines, how often each is there, and lines without an identity.
        for (lines, copies, others, is_proof) in [
            (99, 2, 0, true),
            (100, 2, 0, false),
            (101, 2, 0, true),
            (10_000, 2, 0, false),
            // A heading.
            (1_000, 2, 1, false),
            (999, 2, 1, false),
            (997, 2, 1, true),
            (1_007, 2, 1, true),
            // Nothing is there twice: `sort -u`.
            (998, 1, 0, false),
            (960, 1, 0, false),
            (947, 1, 0, true),
            (1_025, 1, 0, true),
            // Powers of two, and a heading among them.
            (1_024, 2, 0, false),
            (1_023, 2, 0, false),
            (1_022, 2, 0, true),
            (1_025, 2, 0, true),
            (2_048, 2, 0, false),
            (16_383, 2, 0, false),
            (16_385, 2, 0, true),
            (7_801, 1, 0, false),
            // An answer an hour, each cut at 50.
            (1_200, 2, 0, false),
            (1_201, 2, 0, true),
            // A heading has one line.
            (1_201, 2, 2, false),
        ] {
            let identities_of: String = (0..lines).map(|line| format!("{:032x}\n", line / copies)).collect();
            let text = format!("{}{identities_of}", "x\n".repeat(others));
            let given = IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), text.as_bytes()).unwrap();
            assert!(given.occurrences(&identities()).await.is_ok());
            let is_whole = given.find_outside_target(&identities()).await.is_ok();
            assert_eq!(is_whole, is_proof, "{lines} lines, {copies} of each, {others} others");
        }
    }

    /// The output of each documented query is judged exactly. A line that is none of its rows is a doubt.
    #[tokio::test]
    async fn a_list_with_a_line_that_is_no_row_claims_nothing() {
        let absent: Identity = "f".repeat(32).parse().unwrap();
        let ids: Vec<String> = (0..223).map(|number| format!("{:032x}", number * 7_777_777_u128)).collect();
        let rows = |row: &dyn Fn(&String) -> String| ids.iter().map(row).collect::<String>();
        let lists = [
            ("jq and sed", rows(&|id| format!("{id}\n"))),
            ("Splunk", format!("\"event_id\",count\n{}", rows(&|id| format!("\"{id}\",1\n")))),
            ("Sentinel", format!("\u{feff}EventId\r\n{}", rows(&|id| format!("{id}\r\n")))),
            ("LogScale", format!("\"event_id\",\"_count\"\n{}", rows(&|id| format!("\"{id}\",\"1\"\n")))),
            ("JSON", rows(&|id| format!("{{\"_id\":\"{id}\",\"x\":[1,2]}}\n"))),
        ];
        let is_proof = async |text: &str| {
            let given = IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), text.as_bytes()).unwrap();
            given.find_outside_target(&[absent]).await.is_ok()
        };
        let others = [
            "SnKbLKIBGFGj1urg0001",
            "209396363232893927417459146711013161916",
            "TW7M5QJWW5W5UTUGA7UG364LXQ======",
            r"\x9d,\x5e,\xde,\xc1",
            "0x9d 0x5e 0xde 0xc1",
            "[157,94,222,193,54]",
            "null",
            "\"\"",
            "{},",
            ",",
            "-",
            "---",
            "***",
            "???",
            "\"___\",",
            "[],",
            "message ",
            "(223 rows)",
            r#"{"error":{"root_cause":[{"type":"search_context_missing_exception"}]},"status":404}"#,
            "Error: search_phase_execution_exception: timed out",
        ];
        for (name, text) in lists {
            assert!(is_proof(&text).await, "{name}");
            for other in others {
                let middle = text.match_indices('\n').nth(100).unwrap().0 + 1;
                for at in [middle, text.len()] {
                    let changed = format!("{}{other}\n{}", &text[..at], &text[at..]);
                    assert!(!is_proof(&changed).await, "{name}: {other}");
                }
            }
            // Empty, as the row of an event without an identity. An empty last line has none.
            let (middle, _) = text.match_indices('\n').nth(100).unwrap();
            for empty in ["\n", " \t\r\n"] {
                assert!(!is_proof(&format!("{}\n{empty}{}", &text[..middle], &text[middle + 1..])).await, "{name}");
                assert!(!is_proof(&format!("{empty}{text}")).await, "{name}");
                assert!(is_proof(&format!("{text}{empty}")).await, "{name}");
                assert!(!is_proof(&format!("{text}{empty}{empty}")).await, "{name}");
            }
            // Cut by bytes, amid a line.
            let end = text.match_indices('\n').nth(200).unwrap().0;
            let start = text[..end].rfind('\n').unwrap() + 1;
            for cut in start + 1..end {
                let is_whole = text[start..cut].parse::<Identity>().is_ok();
                assert!(is_whole || !is_proof(&text[..cut]).await, "{name}: {:?}", &text[start..cut]);
            }
        }
    }

    #[test]
    fn the_first_line_without_an_identity_is_named() {
        for (text, expected) in [
            (format!("{ONE}\n\nx\ny\n"), (3, 2)),
            (format!("{ONE}\n\n\n"), (1, 2)),
            (format!("{ONE}\r\n\r\n"), (0, 0)),
            (format!("{ONE}\r\n{TWO}\r\n{}", &ONE[1..]), (1, 3)),
            (format!("{ONE}\r{TWO}\rx\r"), (1, 3)),
            (format!("\"id\"\n{ONE}\nx"), (1, 3)),
            (ONE.to_owned(), (0, 0)),
            (format!("[\n\"{ONE}\",\n\"{TWO}\"\n],[\n]\n\u{1a}"), (0, 0)),
            (format!("{ONE}\n---\n"), (1, 2)),
            // A line that is cut after its identity, and one that is not.
            (format!("{{\"a\":\"{ONE}\"}}\n{{\"a\":\"{TWO}\""), (1, 2)),
            (format!("{{\"a\":\"{ONE}\"}}\n{{\"a\":\"{TWO}\"}}"), (0, 0)),
            (format!("{ONE},1\n{TWO}"), (0, 0)),
            // The first line may be an event, too.
            (format!("SnKbLKIBGFGjaurgabcd\n{ONE}\n"), (1, 1)),
            (format!("error: not found\n{ONE}\n"), (1, 1)),
            (format!("event_id\nEventId\n{ONE}\n"), (1, 2)),
            // All hits in one line.
            (format!("[{}]\n", format!("{{\"_id\":\"{ONE}\"}},").repeat(30)), (1, 1)),
            (format!("{ONE},{}\n", format!("{TWO},").repeat(9)), (0, 0)),
        ] {
            let given = IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), text.as_bytes()).unwrap();
            assert_eq!((given.other_lines, given.first_other), expected, "{text}");
        }
    }

    #[test]
    fn a_compressed_file_that_breaks_off_or_begins_in_another_is_no_list() {
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(format!("{ONE}\n").as_bytes()).unwrap();
        let bytes = compressed.finish().unwrap();
        let half = &bytes[..bytes.len() - 6];
        let read = |bytes: &[u8]| IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), bytes);
        assert!(read(half).is_err());
        let text = format!("{TWO}\n").into_bytes();
        assert!(read(&[&text[..], &bytes].concat()).unwrap_err().to_string().contains("line 2"));
        assert!(read(&[&bytes[..], &text].concat()).is_err());
        assert_eq!(read(&[&bytes[..], &bytes].concat()).unwrap().distinct(), 1);
    }

    #[test]
    fn bytes_that_are_no_text_make_no_list() {
        let read = |bytes: &[u8]| IdentityList::read("ids".to_owned(), Timestamp::from_micros(0), bytes);
        let text = format!("{TWO}\n");
        let utf_16: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for beginning in
            [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh91AY&SY", b"BZh11AY&SY", b"PK\x03\x04"]
        {
            for before in [text.as_bytes(), &utf_16] {
                let problem = read(&[before, beginning].concat()).unwrap_err().to_string();
                assert!(problem.contains("line 2"), "{beginning:x?}: {problem}");
            }
        }
        assert!(read(&[text.as_bytes(), b"\x89\x04\x22"].concat()).unwrap_err().to_string().contains("line 2"));
        // Separators of records and columns, colours, and the end of a file of DOS.
        let separated = format!("\u{1e}{{\"id\":\"{ONE}\"}}\n\u{1b}[1m{TWO}\u{1}x\u{1f}y\u{c}\r\n\u{1a}");
        assert_eq!(read(separated.as_bytes()).unwrap().distinct(), 2);
        // In UTF-16, characters that are not Latin have such bytes, and the bytes of other sets are no ASCII.
        let other: Vec<u8> = format!("\u{feff}{ONE}\tПётр\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&other).unwrap().distinct(), 1);
        assert_eq!(read(&[text.as_bytes(), b"M\xfcller\n"].concat()).unwrap().distinct(), 1);
        // A tool has added UTF-16 to UTF-8.
        assert_eq!(read(&[format!("{ONE}\n").as_bytes(), &utf_16].concat()).unwrap().distinct(), 2);
    }
}
