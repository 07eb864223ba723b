//! Bounds of a record. Each index has its own limits, and no single record may reach them. The bounds are far above
//! what consoles send. A part that exceeds a bound is moved from its place into a text, with its path.

use s1_forwarder_record::{MAX_DEPTH, read_object, string_end, value_end};

use super::json::escape_into;
use super::misfits::Misfits;
use super::secret_keys::is_secret;
use super::secrets;

/// Maximum number of members of an object, and of values of a list.
pub(super) const MAX_MEMBERS: usize = 10_000;

/// A record within the bounds.
#[derive(Debug)]
pub(super) struct Bounded {
    pub record: String,
    /// A JSON object of the removed parts, under their names; elements of lists are not numbered.
    pub overflow: String,
}

/// Returns the record within the bounds; `None` if no object and no list has too many values.
#[inline]
pub(super) fn bounded(record: &str) -> Option<Bounded> {
    // `MAX_MEMBERS` values have commas between them.
    if record.len() <= 2 * MAX_MEMBERS { None } else { bounded_long(record) }
}

#[cold]
fn bounded_long(record: &str) -> Option<Bounded> {
    let commas = memchr::memchr_iter(b',', record.as_bytes()).count();
    if commas < MAX_MEMBERS { None } else { truncated(record) }
}

/// Moves the parts with too many values or levels out of a record. Returns `None` if there is no such part, or if the
/// record is not JSON.
pub(super) fn truncated(record: &str) -> Option<Bounded> {
    let bounded = |quotes: bool| {
        let mut cutter = Cutter {
            text: record,
            at: 0,
            out: String::with_capacity(record.len()),
            overflow: Misfits::default(),
            quotes,
        };
        cutter.record()?;
        Some(Bounded { record: cutter.out, overflow: cutter.overflow.take()? })
    };
    // A removed part may itself have too many levels.
    let is_json = |bounded: &Bounded| read_object(&bounded.overflow).is_ok();
    let first = bounded(false)?;
    if is_json(&first) { Some(first) } else { bounded(true).filter(is_json) }
}

struct Cutter<'t> {
    text: &'t str,
    at: usize,
    out: String,
    overflow: Misfits,
    /// Whether removed objects and lists are written as texts.
    quotes: bool,
}

impl<'t> Cutter<'t> {
    fn record(&mut self) -> Option<()> {
        if self.peek() != Some(b'{') {
            return None;
        }
        self.object(None, 0)?;
        if self.peek().is_none() { Some(()) } else { None }
    }

    /// Copies an object. `key` is the key of the object, or of the list around it. `depth` is the number of levels
    /// around the object, without the record.
    fn object(&mut self, key: Option<&str>, depth: u32) -> Option<()> {
        let before = self.overflow.len();
        self.copy(1)?;
        let mut members = 0;
        if self.peek()? != b'}' {
            loop {
                let name = self.name()?;
                if is_secret(name) {
                    self.skip()?;
                } else if members == MAX_MEMBERS || self.is_deep(depth) {
                    let value = self.left_over()?;
                    self.overflow.add(name.as_bytes(), value.as_bytes());
                } else {
                    self.out.push_str(if members == 0 { "\"" } else { ",\"" });
                    self.out.push_str(name);
                    self.out.push_str("\":");
                    self.value(name, depth)?;
                    members += 1;
                }
                match self.peek()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.copy(1)?;
        if let Some(key) = key {
            self.overflow.enclose(before, key.as_bytes());
        }
        Some(())
    }

    fn list(&mut self, key: &str, depth: u32) -> Option<()> {
        self.copy(1)?;
        let mut values = 0;
        if self.peek()? != b']' {
            loop {
                if values == MAX_MEMBERS {
                    self.rest_of_list(key)?;
                    break;
                }
                if self.is_deep(depth) {
                    let value = self.left_over()?;
                    self.overflow.add(key.as_bytes(), value.as_bytes());
                } else {
                    if values > 0 {
                        self.out.push(',');
                    }
                    self.value(key, depth)?;
                    values += 1;
                }
                match self.peek()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return None,
                }
            }
        }
        self.copy(1)
    }

    /// Moves the remaining values of a list into the overflow, as one list, and stops before the list's bracket.
    fn rest_of_list(&mut self, key: &str) -> Option<()> {
        let start = self.at;
        loop {
            self.skip()?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        let rest = format!("[{}]", self.text.get(start..self.at)?);
        let rest = self.without_secrets(&rest);
        self.overflow.add(key.as_bytes(), rest.as_bytes());
        Some(())
    }

    fn value(&mut self, key: &str, depth: u32) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(Some(key), depth + 1),
            b'[' => self.list(key, depth + 1),
            _ => {
                let value = self.skip()?;
                self.out.push_str(value);
                Some(())
            }
        }
    }

    /// Skips the next value, and returns it as JSON for the overflow.
    fn left_over(&mut self) -> Option<String> {
        let is_deep = self.next_is_container();
        let value = self.skip()?;
        Some(if is_deep { self.without_secrets(value) } else { value.to_owned() })
    }

    fn without_secrets(&self, container: &str) -> String {
        let shown = secrets::redact(container.as_bytes());
        if !self.quotes {
            return String::from_utf8_lossy(&shown).into_owned();
        }
        let mut text = b"\"".to_vec();
        escape_into(&mut text, &shown);
        text.push(b'"');
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Returns whether the next value is an object or a list that no reader accepts at this depth.
    fn is_deep(&mut self, depth: u32) -> bool {
        depth >= MAX_DEPTH && self.next_is_container()
    }

    fn next_is_container(&mut self) -> bool {
        matches!(self.peek(), Some(b'{' | b'['))
    }

    /// Skips the next name and its colon, and returns the name.
    fn name(&mut self) -> Option<&'t str> {
        if self.peek()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        self.at = string_end(self.text.as_bytes(), self.at)?;
        let name = self.text.get(start..self.at - 1)?;
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(name)
    }

    fn skip(&mut self) -> Option<&'t str> {
        self.peek()?;
        let start = self.at;
        self.at = value_end(self.text.as_bytes(), start)?;
        self.text.get(start..self.at).filter(|value| !value.is_empty())
    }

    fn copy(&mut self, bytes: usize) -> Option<()> {
        self.peek()?;
        self.out.push_str(self.text.get(self.at..self.at + bytes)?);
        self.at += bytes;
        Some(())
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }
}
