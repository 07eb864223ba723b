//! Splits the input of the command `map` into records.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::ops::{ControlFlow, Range};

use super::facts::for_each_entry;
use super::page::{PageError, parse_page, split_array};
use super::{Frame, Stream, parse_connection, scan};
use crate::visible::excerpt;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Splits the input of the command `map` into records: one record a line, or an array of records, or pages of the
/// console. Arrays and pages may be printed over several lines, and are in memory as a whole. Of other input, no more
/// than two lines are.
#[derive(Debug)]
pub struct RecordSplitter<R> {
    input: R,
    stream: Stream,
    /// The line that is being split, or all that is left if an array or a page begins there that has several lines.
    text: Vec<u8>,
    /// The line after `text`, if it has been read.
    ahead: Option<Vec<u8>>,
    /// The places of records in `text` that are not returned yet.
    records: VecDeque<Range<usize>>,
    /// Line breaks and bytes before `counted`, a position in `text`.
    lines: u64,
    offset: u64,
    counted: usize,
}

/// One record of the input, unparsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub bytes: &'a [u8],
    /// The line of the first byte, from 1.
    pub line: u64,
    /// The offset of the first byte in the input.
    pub offset: u64,
}

/// Reading cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error("the input cannot be read: {0}")]
    Input(#[from] io::Error),
    /// `line` is counted from 1, `offset` in bytes from 0.
    #[error("line {line}, byte {offset}: {problem}")]
    Malformed { line: u64, offset: u64, problem: SplitProblem },
}

/// What is wrong at one place of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitProblem {
    #[error("a record has several lines; `map` reads one record a line, and `jq -c .` writes them so")]
    SeveralLines,
    #[error("a line has several records; `map` reads one record a line, and `jq -c .` writes them so")]
    SeveralRecords,
    #[error("the array or page of records ends too early")]
    Truncated,
    #[error("the array or page of records is not JSON")]
    NotJson,
    #[error("not a page of records: {0}")]
    Shape(&'static str),
    #[error("the page is an error of the console: {0}")]
    Console(String),
}

impl<R: BufRead> RecordSplitter<R> {
    /// `stream` tells how pages look.
    pub fn new(input: R, stream: Stream) -> Self {
        Self { input, stream, text: Vec::new(), ahead: None, records: VecDeque::new(), lines: 0, offset: 0, counted: 0 }
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Errors
    /// If the input cannot be read, or a place in it is neither a record nor an array or page of records.
    pub fn next_record(&mut self) -> Result<Option<RawRecord<'_>>, SplitError> {
        let range = loop {
            if let Some(range) = self.records.pop_front() {
                break range;
            }
            if !self.read_text()? {
                return Ok(None);
            }
            if let Some((at, problem)) = self.split_text()? {
                self.count_to(at);
                return Err(SplitError::Malformed { line: self.lines + 1, offset: self.offset, problem });
            }
        };
        self.count_to(range.start);
        Ok(Some(RawRecord { bytes: &self.text[range], line: self.lines + 1, offset: self.offset }))
    }

    fn count_to(&mut self, at: usize) {
        let passed = &self.text[self.counted..at];
        self.lines += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.offset += passed.len() as u64;
        self.counted = at;
    }

    /// Reads the next line that is not blank; false at the end.
    fn read_text(&mut self) -> io::Result<bool> {
        loop {
            self.count_to(self.text.len());
            self.counted = 0;
            self.text = match self.ahead.take() {
                Some(line) => line,
                None => {
                    let mut line = std::mem::take(&mut self.text);
                    line.clear();
                    self.input.read_until(b'\n', &mut line)?;
                    line
                }
            };
            if self.text.is_empty() {
                return Ok(false);
            }
            // RFC 8259 lets a reader ignore a byte order mark before JSON.
            if self.offset == 0 && self.text.starts_with(BYTE_ORDER_MARK) {
                self.text.drain(..BYTE_ORDER_MARK.len());
                self.offset = BYTE_ORDER_MARK.len() as u64;
            }
            if !self.text.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// Finds the records of `text`, and reads more if they have several lines. Returns where it is malformed, and how.
    fn split_text(&mut self) -> io::Result<Option<(usize, SplitProblem)>> {
        let start = scan::skip_space(&self.text, 0);
        let is_array = match self.text.get(start) {
            Some(b'[') => true,
            Some(b'{') => false,
            // No record, which mapping finds out.
            _ => {
                self.take_line(start);
                return Ok(None);
            }
        };
        let mut is_list = is_array;
        if scan::value_end(&self.text, start).is_none() {
            is_list |= self.begins_page(start)?;
            if is_list {
                self.input.read_to_end(&mut self.text)?;
            }
        }
        let Some(end) = scan::value_end(&self.text, start) else {
            if is_list {
                return Ok(Some((self.text.len(), SplitProblem::Truncated)));
            }
            if self.goes_on()? {
                return Ok(Some((start, SplitProblem::SeveralLines)));
            }
            // A truncated line, which must not hide the next one.
            self.take_line(start);
            return Ok(None);
        };
        let is_page = !is_array && is_page(&self.text[start..end]);
        let rest = scan::skip_space(&self.text, end);
        match self.text.get(rest) {
            None => {}
            Some(b'{' | b'[') => return Ok(Some((rest, SplitProblem::SeveralRecords))),
            Some(_) if is_array || is_page => return Ok(Some((rest, SplitProblem::NotJson))),
            Some(_) => {
                self.take_line(start);
                return Ok(None);
            }
        }
        if is_array || is_page {
            return Ok(self.split_list(start, is_array).err());
        }
        if memchr::memchr(b'\n', &self.text[start..end]).is_some() {
            return Ok(Some((start, SplitProblem::SeveralLines)));
        }
        self.records.push_back(start..end);
        Ok(None)
    }

    fn take_line(&mut self, start: usize) {
        self.records.push_back(start..self.text.trim_ascii_end().len());
    }

    /// Returns whether an object without an end begins as a page does. Its first key may be on another line.
    fn begins_page(&mut self, start: usize) -> io::Result<bool> {
        let inside = start + 1;
        loop {
            let is_blank = self.text[inside..].iter().all(u8::is_ascii_whitespace);
            if !is_blank || self.input.read_until(b'\n', &mut self.text)? == 0 {
                break;
            }
        }
        let key = scan::skip_space(&self.text, inside);
        let key_end = if self.text.get(key) == Some(&b'"') { scan::string_end(&self.text, key) } else { None };
        Ok(key_end.is_some_and(|end| is_page_key(&self.text[key + 1..end - 1])))
    }

    /// Returns whether the record in `text`, which has no end, continues after `text`. It does if no record begins on
    /// the next line.
    fn goes_on(&mut self) -> io::Result<bool> {
        let is_one_line = self.text.trim_ascii_end().len() <= memchr::memchr(b'\n', &self.text).unwrap_or(usize::MAX);
        let mut ahead = Vec::new();
        self.input.read_until(b'\n', &mut ahead)?;
        let goes_on = ahead.trim_ascii_start().first().is_some_and(|byte| *byte != b'{');
        self.ahead = Some(ahead);
        Ok(goes_on || !is_one_line)
    }

    /// Splits the array or page at `start`.
    fn split_list(&mut self, start: usize, is_array: bool) -> Result<(), (usize, SplitProblem)> {
        let body = &self.text[start..];
        let mut records = Vec::new();
        let mut console_error = None;
        let split = if is_array {
            split_array(body, 0, &mut records).map(drop)
        } else if self.stream.description().frame == Frame::Alerts {
            parse_connection(body, "alerts").map(|connection| {
                records = connection.page.records;
                if records.is_empty() {
                    console_error = connection.errors.into_iter().next();
                }
            })
        } else {
            parse_page(body).map(|page| {
                records = page.records;
                console_error = page.errors.into_iter().next();
            })
        };
        split.map_err(|error| match error {
            PageError::NotJson(at) => (start + at, SplitProblem::NotJson),
            PageError::Truncated(at) => (start + at, SplitProblem::Truncated),
            PageError::Shape(problem) => (start, SplitProblem::Shape(problem)),
            PageError::Html => (start, SplitProblem::NotJson),
        })?;
        if let Some(error) = console_error {
            return Err((start, SplitProblem::Console(excerpt(&error))));
        }
        let begin = self.text.as_ptr() as usize;
        self.records.extend(records.into_iter().map(|record| {
            let at = record.as_ptr() as usize - begin;
            at..at + record.len()
        }));
        Ok(())
    }
}

fn is_page_key(key: &[u8]) -> bool {
    matches!(key, b"data" | b"pagination" | b"errors")
}

/// Returns whether an object is a page. A page has `data` and few other keys. An activity has `data` among many others.
fn is_page(object: &[u8]) -> bool {
    let mut has_data = false;
    let mut has_others = false;
    for_each_entry(object, |key, _| {
        has_data |= key == b"data";
        has_others |= !is_page_key(key);
        if has_others { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    has_data && !has_others
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(stream: Stream, input: &str) -> (Vec<(String, u64)>, Option<String>) {
        // Three bytes at a time, so that reads end at many different positions.
        let mut splitter = RecordSplitter::new(io::BufReader::with_capacity(3, input.as_bytes()), stream);
        let mut records = Vec::new();
        loop {
            match splitter.next_record() {
                Ok(Some(record)) => {
                    let text = String::from_utf8(record.bytes.to_vec()).unwrap();
                    assert_eq!(&input[record.offset as usize..][..text.len()], text);
                    records.push((text, record.line));
                }
                Ok(None) => return (records, None),
                Err(error) => return (records, Some(error.to_string())),
            }
        }
    }

    fn complete_of(stream: Stream, input: &str) -> Vec<String> {
        let (records, error) = records(stream, input);
        assert_eq!(error, None, "{input}");
        records.into_iter().map(|(text, _)| text).collect()
    }

    fn complete(input: &str) -> Vec<String> {
        complete_of(Stream::Activities, input)
    }

    fn error(input: &str) -> String {
        records(Stream::Activities, input).1.unwrap_or_else(|| panic!("no error: {input}"))
    }

    #[test]
    fn lines_arrays_and_pages_are_split() {
        assert_eq!(complete("{\"a\":\"}\\\"\"}\r\n\n {\"b\":[1,2]} "), [r#"{"a":"}\""}"#, r#"{"b":[1,2]}"#]);
        assert_eq!(complete(" [ {\"a\":1} ,{\"b\":{}},3 ]\n"), [r#"{"a":1}"#, r#"{"b":{}}"#, "3"]);
        assert_eq!(complete("[]"), Vec::<String>::new());
        let page = r#"{"pagination":{"nextCursor":"x","totalItems":2}, "data":[{"a":1},{"b":"]"}],"errors":null}"#;
        assert_eq!(complete(&format!("{page}\n{page}")), [r#"{"a":1}"#, r#"{"b":"]"}"#, r#"{"a":1}"#, r#"{"b":"]"}"#]);
        // An activity has a key `data` too.
        assert_eq!(complete("{\"data\":{\"x\":1},\"id\":\"1\"}"), [r#"{"data":{"x":1},"id":"1"}"#]);
        assert_eq!(complete("{\"id\":\"1\",\"data\":[1]}"), [r#"{"id":"1","data":[1]}"#]);
        assert_eq!(complete("{\"data\":{\"id\":\"1\"}}"), [r#"{"id":"1"}"#], "a page of one record");
        assert_eq!(complete(""), Vec::<String>::new());
        assert_eq!(complete("\u{feff}[{\"a\":1}]"), [r#"{"a":1}"#], "a byte order mark");
        let alerts = r#"{"data":{"alerts":{"totalCount":2,"pageInfo":{"hasNextPage":false},
            "edges":[{"cursor":"a","node":{"id":"1"}},{"node":null},{"node":{"id":"2"}}]}}}"#;
        assert_eq!(complete_of(Stream::UnifiedAlerts, alerts), [r#"{"id":"1"}"#, r#"{"id":"2"}"#]);
        assert_eq!(complete_of(Stream::UnifiedAlerts, r#"{"id":"1"}"#), [r#"{"id":"1"}"#]);
    }

    #[test]
    fn arrays_and_pages_may_have_several_lines() {
        let record = "{\n  \"a\": 1,\n  \"b\": [\n    {\n      \"c\": 2\n    }\n  ]\n}";
        let array = format!("[\n{record},\n{record}\n]\n");
        assert_eq!(complete(&array), [record, record]);
        let page = format!("{{\n\n  \"data\": [\n{record}\n],\n  \"pagination\": {{}}\n}}\n");
        assert_eq!(records(Stream::Activities, &page).0, [(record.to_owned(), 4)]);
    }

    #[test]
    fn a_record_of_several_lines_and_several_records_of_a_line_are_refused_with_place_and_advice() {
        for (input, place) in [
            ("{\"x\":1}\n{\n  \"a\": 1\n}\n", "line 2, byte 8: a record has several lines"),
            ("{\"a\":\n1}", "line 1, byte 0: a record has several lines"),
            ("{\n \"data\": {},\n \"id\": \"1\"\n}\n", "line 1, byte 0: a record has several lines"),
            ("{\"a\":1} {\"b\":2}\n", "line 1, byte 8: a line has several records"),
            ("\n{\"a\":1}{\"b\":2}\n", "line 2, byte 8: a line has several records"),
            ("[1]\n[\n1] [2]", "line 3, byte 9: a line has several records"),
        ] {
            let error = error(input);
            assert!(error.starts_with(place) && error.contains("`jq -c .`"), "{input}: {error}");
        }
    }

    #[test]
    fn a_truncated_line_does_not_affect_other_lines() {
        for invalid in
            ["{\"a\":1", "{\"a\":\"text", "{\"a\":[1", "nonsense {", "{\"a\":\"b\\", "{\"a\":1}}", "\"text\""]
        {
            let (records, error) = records(Stream::Activities, &format!("{{\"x\":1}}\n{invalid}\n{{\"y\":2}}\n"));
            assert_eq!(error, None);
            let expected = [("{\"x\":1}", 1), (invalid, 2), ("{\"y\":2}", 3)];
            assert_eq!(records, expected.map(|(text, line)| (text.to_owned(), line)));
        }
        assert_eq!(complete("{\"a\":1"), ["{\"a\":1"]);
    }

    #[test]
    fn a_malformed_array_or_page_is_reported_with_line_and_byte() {
        assert_eq!(error("[{\"a\":1},\n{\"b\":"), "line 2, byte 15: the array or page of records ends too early");
        for (input, problem) in [
            ("{\"data\":[{\"a\":1}", "line 1, byte 16: the array or page of records ends too early"),
            ("{\"x\":1}\n{\"data\":[{\"a\":1}]", "line 2, byte 25: the array or page of records ends too early"),
            ("[1 2]", "line 1, byte 3: the array or page of records is not JSON"),
            ("[1] x", "line 1, byte 4: the array or page of records is not JSON"),
            ("{\"data\":5}", "line 1, byte 0: not a page of records: `data` is neither"),
            (
                "{\"data\":null,\"errors\":[{\"title\":\"busy\"}]}",
                "line 1, byte 0: the page is an error of the console: busy",
            ),
        ] {
            let error = error(input);
            assert!(error.starts_with(problem), "{input}: {error}");
        }
    }

    #[test]
    fn no_more_than_two_lines_are_in_memory() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
        let input = line.repeat(5_000);
        let reader = io::BufReader::with_capacity(4_096, input.as_bytes());
        let mut splitter = RecordSplitter::new(reader, Stream::Activities);
        let mut count = 0;
        while splitter.next_record().unwrap().is_some() {
            count += 1;
            assert!(splitter.text.capacity() < 10_000, "{}", splitter.text.capacity());
        }
        assert_eq!(count, 5_000);
    }

    proptest! {
        /// Places are right, and each line that holds one record gives it, whatever is between the lines.
        #[test]
        fn no_input_panics_and_each_record_has_its_place(
            tokens in prop::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", "\"", "\\", ",", ":", "\n", "1", "\"data\"", "{\"a\":1}", "\r", "x"]),
                0..40,
            ),
        ) {
            let input = tokens.concat();
            for stream in [Stream::Activities, Stream::UnifiedAlerts] {
                for (text, line) in records(stream, &input).0 {
                    let line_text = input.split('\n').nth(line as usize - 1).unwrap();
                    prop_assert!(line_text.contains(text.lines().next().unwrap()), "{:?} of {:?}", text, input);
                }
            }
        }
    }
}
