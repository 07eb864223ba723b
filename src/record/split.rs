use std::io::{self, BufRead};

use super::scan;

/// Splits the input of the command `map` into records; `parse_page` splits pages of a console. Buffers no more than one
/// of them. Accepts NDJSON, JSON objects over several lines, a JSON array of records, and pages as the console sends
/// them.
#[derive(Debug)]
pub struct RecordSplitter<R> {
    input: R,
    /// From `start` on: bytes that were read and not yet returned.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    /// Bytes and line breaks before `start`.
    offset: u64,
    line: u64,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Records follow one another.
    Concatenated,
    /// Inside a JSON array. In a page, other keys may follow it.
    List { is_page: bool },
    /// After the list of a page.
    PageEnd,
}

/// One record of the input, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    pub bytes: Vec<u8>,
    /// The line of the first byte, from 1.
    pub line: u64,
    /// The offset of the first byte in the input.
    pub offset: u64,
    /// False if the record is truncated or not JSON; it then extends to the end of the line.
    pub is_complete: bool,
}

/// Reading cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error("the input cannot be read: {0}")]
    Input(#[from] io::Error),
    /// The list of records is malformed, so the start of the next record is unknown.
    #[error("the list of records is malformed at line {line}, byte {offset}: {reason}")]
    Malformed {
        /// From 1.
        line: u64,
        /// In bytes from 0.
        offset: u64,
        reason: &'static str,
    },
}

impl<R: BufRead> RecordSplitter<R> {
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, ended: false, offset: 0, line: 1, framing: Framing::Concatenated }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read, or a list of records is malformed.
    pub fn next_record(&mut self) -> Result<Option<RawRecord>, SplitError> {
        loop {
            match self.framing {
                Framing::Concatenated => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        None => return Ok(None),
                        Some(b'[') => {
                            self.advance(1);
                            self.framing = Framing::List { is_page: false };
                        }
                        Some(b'{') => {
                            if let Some(list) = self.page_list()? {
                                self.advance(list + 1);
                                self.framing = Framing::List { is_page: true };
                                continue;
                            }
                            return self.concatenated_record().map(Some);
                        }
                        Some(_) => return self.concatenated_record().map(Some),
                    }
                }
                Framing::List { is_page } => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        Some(b']') => {
                            self.advance(1);
                            self.framing = if is_page { Framing::PageEnd } else { Framing::Concatenated };
                        }
                        Some(b',') => self.advance(1),
                        Some(_) => return self.listed_record().map(Some),
                        None => return Err(self.malformed("the closing bracket is missing")),
                    }
                }
                Framing::PageEnd => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        Some(b'}') => {
                            self.advance(1);
                            self.framing = Framing::Concatenated;
                        }
                        Some(b',' | b':') => self.advance(1),
                        Some(_) => {
                            let end = self.value_end(0)?.filter(|end| *end > 0);
                            let end = end.ok_or_else(|| self.malformed("the page ends too early"))?;
                            self.advance(end);
                        }
                        None => return Err(self.malformed("the page ends too early")),
                    }
                }
            }
        }
    }

    /// The position of the list of records if the next object is a page, which its first keys show.
    fn page_list(&mut self) -> Result<Option<usize>, SplitError> {
        let mut at = 1;
        loop {
            at = self.space_end(at)?;
            if self.byte(at)? != Some(b'"') {
                return Ok(None);
            }
            let Some(key_end) = self.value_end(at)? else { return Ok(None) };
            let key = self.buffer[self.start + at + 1..self.start + key_end - 1].to_vec();
            let colon = self.space_end(key_end)?;
            if self.byte(colon)? != Some(b':') {
                return Ok(None);
            }
            let value = self.space_end(colon + 1)?;
            match key.as_slice() {
                b"data" => return Ok((self.byte(value)? == Some(b'[')).then_some(value)),
                b"pagination" | b"errors" => {}
                _ => return Ok(None),
            }
            let Some(end) = self.value_end(value)? else { return Ok(None) };
            at = self.space_end(end)?;
            if self.byte(at)? != Some(b',') {
                return Ok(None);
            }
            at += 1;
        }
    }

    /// An element of a list: it ends where its brackets close.
    fn listed_record(&mut self) -> Result<RawRecord, SplitError> {
        match self.value_end(0)? {
            Some(end) if end > 0 => Ok(self.take(end, true)),
            _ => Err(self.malformed("a record does not end, or is not JSON")),
        }
    }

    /// One of several concatenated values. A truncated value must not swallow the next one: it ends at a line break
    /// inside a string, or at a line break before an object that the grammar does not allow there.
    fn concatenated_record(&mut self) -> Result<RawRecord, SplitError> {
        if let Some(end) = self.line_value_end() {
            return Ok(self.take(end, true));
        }
        let mut depth = 0_usize;
        let mut at = 0;
        let mut before = b' ';
        let mut line_break = None;
        loop {
            let Some(byte) = self.byte(at)? else { return Ok(self.take(at, false)) };
            match byte {
                b'\n' if depth == 0 && at > 0 => return Ok(self.take(at, true)),
                b'\n' => line_break = Some(at),
                b' ' | b'\t' | b'\r' => {}
                b'{' if line_break.is_some() && !matches!(before, b',' | b':' | b'[') => {
                    return Ok(self.take(line_break.unwrap_or(at), false));
                }
                b'"' => {
                    let Some(end) = self.string_end(at)? else {
                        let end = self.line_end(at)?;
                        return Ok(self.take(end, false));
                    };
                    at = end;
                    if depth == 0 {
                        return Ok(self.take(at, true));
                    }
                    (before, line_break) = (b'"', None);
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => {
                    let end = self.line_end(at)?;
                    return Ok(self.take(end, false));
                }
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(self.take(at + 1, true));
                    }
                }
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                (before, line_break) = (byte, None);
            }
            at += 1;
        }
    }

    /// The end of a value that is alone on its line, as in NDJSON, if the buffer has the whole line. This avoids the
    /// scan byte by byte.
    fn line_value_end(&self) -> Option<usize> {
        let rest = &self.buffer[self.start..];
        let line = &rest[..memchr::memchr(b'\n', rest)?];
        let end = scan::value_end(line, 0)?;
        line[end..].iter().all(u8::is_ascii_whitespace).then_some(end)
    }

    /// The position after the string at `at`; `None` if a line ends inside it.
    fn string_end(&mut self, at: usize) -> Result<Option<usize>, SplitError> {
        let mut next = at + 1;
        loop {
            next = scan::string_stop(&self.buffer, self.start + next) - self.start;
            match self.byte(next)? {
                Some(b'"') => return Ok(Some(next + 1)),
                Some(b'\\') if self.byte(next + 1)? != Some(b'\n') => next += 2,
                Some(b'\n' | b'\\') | None => return Ok(None),
                Some(_) => next += 1,
            }
        }
    }

    /// The position after the value at `at`, by strings and brackets alone.
    fn value_end(&mut self, at: usize) -> Result<Option<usize>, SplitError> {
        let mut depth = 0_usize;
        let mut next = at;
        loop {
            match self.byte(next)? {
                None => return Ok(None),
                Some(b'"') => match self.string_end(next)? {
                    Some(end) => next = end - 1,
                    None => return Ok(None),
                },
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') if depth == 0 => return Ok(Some(next)),
                Some(b'}' | b']') => depth -= 1,
                Some(b',' | b':') if depth == 0 => return Ok(Some(next)),
                Some(byte) if depth == 0 => {
                    if byte.is_ascii_whitespace() {
                        return Ok(Some(next));
                    }
                    next += 1;
                    continue;
                }
                Some(_) => {
                    next += 1;
                    continue;
                }
            }
            next += 1;
            if depth == 0 {
                return Ok(Some(next));
            }
        }
    }

    fn line_end(&mut self, mut at: usize) -> Result<usize, SplitError> {
        while self.byte(at)?.is_some_and(|byte| byte != b'\n') {
            at += 1;
        }
        Ok(at)
    }

    fn space_end(&mut self, mut at: usize) -> Result<usize, SplitError> {
        while self.byte(at)?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            at += 1;
        }
        Ok(at)
    }

    fn skip_space(&mut self) -> Result<(), SplitError> {
        while self.byte(0)?.is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.advance(1);
        }
        Ok(())
    }

    /// The byte `at` bytes after the current position; reads more input if needed.
    #[inline]
    fn byte(&mut self, at: usize) -> Result<Option<u8>, SplitError> {
        while self.start + at >= self.buffer.len() {
            if self.ended {
                return Ok(None);
            }
            self.read()?;
        }
        Ok(Some(self.buffer[self.start + at]))
    }

    fn read(&mut self) -> Result<(), SplitError> {
        // Drop the bytes of returned records.
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let chunk = self.input.fill_buf()?;
        self.ended = chunk.is_empty();
        self.buffer.extend_from_slice(chunk);
        let length = chunk.len();
        self.input.consume(length);
        Ok(())
    }

    fn advance(&mut self, length: usize) {
        let skipped = &self.buffer[self.start..self.start + length];
        self.line += memchr::memchr_iter(b'\n', skipped).count() as u64;
        self.offset += length as u64;
        self.start += length;
    }

    fn take(&mut self, length: usize, is_complete: bool) -> RawRecord {
        let record = RawRecord {
            bytes: self.buffer[self.start..self.start + length].to_vec(),
            line: self.line,
            offset: self.offset,
            is_complete,
        };
        self.advance(length);
        record
    }

    fn malformed(&self, reason: &'static str) -> SplitError {
        SplitError::Malformed { line: self.line, offset: self.offset, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(input: &str) -> (Vec<(String, bool, u64)>, Option<String>) {
        // Three bytes at a time, so that reads end at many different positions.
        let mut splitter = RecordSplitter::new(io::BufReader::with_capacity(3, input.as_bytes()));
        let mut records = Vec::new();
        loop {
            match splitter.next_record() {
                Ok(Some(record)) => {
                    let text = String::from_utf8(record.bytes).unwrap();
                    assert_eq!(&input[record.offset as usize..][..text.len()], text);
                    records.push((text, record.is_complete, record.line));
                }
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error.to_string())),
            }
        }
    }

    fn complete(input: &str) -> Vec<String> {
        let (records, error) = records(input);
        assert_eq!(error, None, "{input}");
        assert!(records.iter().all(|(_, is_complete, _)| *is_complete), "{records:?}");
        records.into_iter().map(|(text, _, _)| text).collect()
    }

    #[test]
    fn lines_lists_and_pages_are_split() {
        assert_eq!(complete("{\"a\":\"}\\\"\"}\n\n{\"b\":[1,2]}"), [r#"{"a":"}\""}"#, r#"{"b":[1,2]}"#]);
        assert_eq!(complete(" [ {\"a\":1} ,\n{\"b\":{}},3 ]\n"), [r#"{"a":1}"#, r#"{"b":{}}"#, "3"]);
        assert_eq!(complete("[]"), Vec::<String>::new());
        let page = r#"{"pagination":{"nextCursor":"x","totalItems":2}, "data":[{"a":1},{"b":"]"}],"errors":null}"#;
        assert_eq!(complete(&format!("{page}\n{page}")), [r#"{"a":1}"#, r#"{"b":"]"}"#, r#"{"a":1}"#, r#"{"b":"]"}"#]);
        // An activity has a key `data` too, but its value is not a list.
        assert_eq!(complete("{\"data\":{\"x\":1},\"id\":\"1\"}"), [r#"{"data":{"x":1},"id":"1"}"#]);
        assert_eq!(complete("{\"id\":\"1\",\"data\":[1]}"), [r#"{"id":"1","data":[1]}"#]);
        assert_eq!(complete(""), Vec::<String>::new());
    }

    #[test]
    fn objects_may_be_printed_over_several_lines() {
        let input = "{\n  \"a\": 1,\n  \"b\": [\n    {\n      \"c\": 2\n    },\n    {\n      \"d\": 3\n    }\n  ]\n}\n{\n  \"e\":\n{}\n}";
        assert_eq!(complete(input).len(), 2);
    }

    #[test]
    fn a_truncated_line_does_not_affect_other_lines() {
        for invalid in ["{\"a\":1", "{\"a\":\"text", "{\"a\":[1", "nonsense {", "{\"a\":\"b\\"] {
            let (records, error) = records(&format!("{{\"x\":1}}\n{invalid}\n{{\"y\":2}}\n"));
            assert_eq!(error, None);
            let texts: Vec<_> =
                records.iter().map(|(text, is_complete, line)| (text.as_str(), *is_complete, *line)).collect();
            assert_eq!(texts[0], ("{\"x\":1}", true, 1));
            assert_eq!(texts[1].2, 2);
            assert_eq!(texts.last().unwrap(), &("{\"y\":2}", true, 3), "{invalid}");
        }
        let (records, _) = records("{\"a\":1");
        assert_eq!(records, [("{\"a\":1".to_owned(), false, 1)]);
    }

    #[test]
    fn a_malformed_list_is_reported_with_line_and_byte() {
        let (records, error) = records("[{\"a\":1},\n{\"b\":");
        assert_eq!(records.len(), 1);
        assert!(error.unwrap().contains("line 2, byte 10"));
        assert!(split_error("{\"data\":[{\"a\":1}").contains("closing bracket is missing"));
        assert!(split_error("{\"data\":[{\"a\":1}]").contains("page ends too early"));
    }

    #[test]
    fn no_more_than_one_record_is_buffered() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
        for (before, between, after) in [("", "", ""), ("[", ",", "{}]"), ("{\"data\":[", ",", "{}]}")] {
            let input = format!("{before}{}{after}", (line.clone() + between).repeat(5_000));
            let mut splitter = RecordSplitter::new(io::BufReader::with_capacity(4_096, input.as_bytes()));
            let mut count = 0;
            while splitter.next_record().unwrap().is_some() {
                count += 1;
                assert!(splitter.buffer.capacity() < 20_000, "{}", splitter.buffer.capacity());
            }
            assert_eq!(count, 5_000 + usize::from(!after.is_empty()));
        }
    }

    fn split_error(input: &str) -> String {
        records(input).1.unwrap()
    }
}
