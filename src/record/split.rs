use std::io::{self, BufRead};

use super::json;

/// Cuts a stream of bytes into records, holding no more than one of them: NDJSON, JSON objects over several lines, a
/// JSON array of records, or a page as the console sends it.
#[derive(Debug)]
pub struct Split<R> {
    input: R,
    /// Bytes read and not yet given out, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    /// Bytes and line breaks before `start`.
    offset: u64,
    line: u64,
    within: Within,
}

/// What the records are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Nothing: they follow one another.
    Nothing,
    /// A list; behind it a page's other keys may come.
    List { is_page: bool },
    /// A page whose list is over.
    PageEnd,
}

/// A piece of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes of one value.
    pub bytes: Vec<u8>,
    /// The line it begins on, from 1.
    pub line: u64,
    /// Where it begins, in bytes from 0.
    pub offset: u64,
    /// False when it is cut off or no JSON: it ends where the line does.
    pub is_whole: bool,
}

/// The input cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Reading failed.
    #[error("the input cannot be read: {0}")]
    Input(#[from] io::Error),
    /// The list of records is broken: where the next one begins cannot be told.
    #[error("the list of records is broken at line {line}, byte {offset}: {reason}")]
    Broken {
        /// From 1.
        line: u64,
        /// From 0.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

impl<R: BufRead> Split<R> {
    /// At the beginning of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, ended: false, offset: 0, line: 1, within: Within::Nothing }
    }

    /// The next record, `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read, or a list of records is broken.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, SplitError> {
        loop {
            match self.within {
                Within::Nothing => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        None => return Ok(None),
                        Some(b'[') => {
                            self.pass(1);
                            self.within = Within::List { is_page: false };
                        }
                        Some(b'{') => {
                            if let Some(list) = self.page_list()? {
                                self.pass(list + 1);
                                self.within = Within::List { is_page: true };
                                continue;
                            }
                            return self.free_piece().map(Some);
                        }
                        Some(_) => return self.free_piece().map(Some),
                    }
                }
                Within::List { is_page } => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        Some(b']') => {
                            self.pass(1);
                            self.within = if is_page { Within::PageEnd } else { Within::Nothing };
                        }
                        Some(b',') => self.pass(1),
                        Some(_) => return self.listed_piece().map(Some),
                        None => return Err(self.broken("it ends before its closing bracket")),
                    }
                }
                Within::PageEnd => {
                    self.skip_space()?;
                    match self.byte(0)? {
                        Some(b'}') => {
                            self.pass(1);
                            self.within = Within::Nothing;
                        }
                        Some(b',' | b':') => self.pass(1),
                        Some(_) => {
                            let end = self.value_end(0)?.filter(|end| *end > 0);
                            let end = end.ok_or_else(|| self.broken("the page ends too early"))?;
                            self.pass(end);
                        }
                        None => return Err(self.broken("the page ends too early")),
                    }
                }
            }
        }
    }

    /// Where the list of records opens when what comes is a page: an object whose first keys are a page's own.
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

    /// An element of a list: its end is where its brackets close.
    fn listed_piece(&mut self) -> Result<Piece, SplitError> {
        match self.value_end(0)? {
            Some(end) if end > 0 => Ok(self.take(end, true)),
            _ => Err(self.broken("a record does not end, or is no JSON")),
        }
    }

    /// A value among others. One that is cut off must not swallow what follows: a line break inside a string, or one
    /// with a new object behind it where none can stand, ends it.
    fn free_piece(&mut self) -> Result<Piece, SplitError> {
        if let Some(end) = self.whole_line() {
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

    /// The end of a value that is alone on its line, as in NDJSON, where the whole line has been read: a way past looking
    /// at it byte by byte.
    fn whole_line(&self) -> Option<usize> {
        let rest = &self.buffer[self.start..];
        let line = &rest[..memchr::memchr(b'\n', rest)?];
        let end = json::value_end(line, 0)?;
        line[end..].iter().all(u8::is_ascii_whitespace).then_some(end)
    }

    /// The position behind the string at `at`; `None` when a line ends inside it.
    fn string_end(&mut self, at: usize) -> Result<Option<usize>, SplitError> {
        let mut next = at + 1;
        loop {
            next = json::string_stop(&self.buffer, self.start + next) - self.start;
            match self.byte(next)? {
                Some(b'"') => return Ok(Some(next + 1)),
                Some(b'\\') if self.byte(next + 1)? != Some(b'\n') => next += 2,
                Some(b'\n' | b'\\') | None => return Ok(None),
                Some(_) => next += 1,
            }
        }
    }

    /// The position behind the value at `at`, by strings and brackets alone.
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
            self.pass(1);
        }
        Ok(())
    }

    /// The byte at `at` from the present position, read when it is not there yet.
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
        // What has been given out makes room for what comes.
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

    fn pass(&mut self, length: usize) {
        let passed = &self.buffer[self.start..self.start + length];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.offset += length as u64;
        self.start += length;
    }

    fn take(&mut self, length: usize, is_whole: bool) -> Piece {
        let piece = Piece {
            bytes: self.buffer[self.start..self.start + length].to_vec(),
            line: self.line,
            offset: self.offset,
            is_whole,
        };
        self.pass(length);
        piece
    }

    fn broken(&self, reason: &'static str) -> SplitError {
        SplitError::Broken { line: self.line, offset: self.offset, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(input: &str) -> (Vec<(String, bool, u64)>, Option<String>) {
        // A reader of three bytes at a time: every place of the input is once the edge of what has been read.
        let mut split = Split::new(io::BufReader::with_capacity(3, input.as_bytes()));
        let mut pieces = Vec::new();
        loop {
            match split.next_piece() {
                Ok(Some(piece)) => {
                    let text = String::from_utf8(piece.bytes).unwrap();
                    assert_eq!(&input[piece.offset as usize..][..text.len()], text);
                    pieces.push((text, piece.is_whole, piece.line));
                }
                Ok(None) => return (pieces, None),
                Err(error) => return (pieces, Some(error.to_string())),
            }
        }
    }

    fn whole(input: &str) -> Vec<String> {
        let (pieces, error) = pieces(input);
        assert_eq!(error, None, "{input}");
        assert!(pieces.iter().all(|(_, is_whole, _)| *is_whole), "{pieces:?}");
        pieces.into_iter().map(|(text, _, _)| text).collect()
    }

    #[test]
    fn lines_lists_and_pages_are_cut() {
        assert_eq!(whole("{\"a\":\"}\\\"\"}\n\n{\"b\":[1,2]}"), [r#"{"a":"}\""}"#, r#"{"b":[1,2]}"#]);
        assert_eq!(whole(" [ {\"a\":1} ,\n{\"b\":{}},3 ]\n"), [r#"{"a":1}"#, r#"{"b":{}}"#, "3"]);
        assert_eq!(whole("[]"), Vec::<String>::new());
        let page = r#"{"pagination":{"nextCursor":"x","totalItems":2}, "data":[{"a":1},{"b":"]"}],"errors":null}"#;
        assert_eq!(whole(&format!("{page}\n{page}")), [r#"{"a":1}"#, r#"{"b":"]"}"#, r#"{"a":1}"#, r#"{"b":"]"}"#]);
        // An activity has a key `data` too, but it is no list.
        assert_eq!(whole("{\"data\":{\"x\":1},\"id\":\"1\"}"), [r#"{"data":{"x":1},"id":"1"}"#]);
        assert_eq!(whole("{\"id\":\"1\",\"data\":[1]}"), [r#"{"id":"1","data":[1]}"#]);
        assert_eq!(whole(""), Vec::<String>::new());
    }

    #[test]
    fn objects_may_be_printed_over_several_lines() {
        let input = "{\n  \"a\": 1,\n  \"b\": [\n    {\n      \"c\": 2\n    },\n    {\n      \"d\": 3\n    }\n  ]\n}\n{\n  \"e\":\n{}\n}";
        assert_eq!(whole(input).len(), 2);
    }

    #[test]
    fn a_line_that_is_cut_off_costs_only_itself() {
        for broken in ["{\"a\":1", "{\"a\":\"text", "{\"a\":[1", "nonsense {", "{\"a\":\"b\\"] {
            let (pieces, error) = pieces(&format!("{{\"x\":1}}\n{broken}\n{{\"y\":2}}\n"));
            assert_eq!(error, None);
            let texts: Vec<_> = pieces.iter().map(|(text, is_whole, line)| (text.as_str(), *is_whole, *line)).collect();
            assert_eq!(texts[0], ("{\"x\":1}", true, 1));
            assert_eq!(texts[1].2, 2);
            assert_eq!(texts.last().unwrap(), &("{\"y\":2}", true, 3), "{broken}");
        }
        let (pieces, _) = pieces("{\"a\":1");
        assert_eq!(pieces, [("{\"a\":1".to_owned(), false, 1)]);
    }

    #[test]
    fn a_broken_list_is_refused_with_its_place() {
        let (pieces, error) = pieces("[{\"a\":1},\n{\"b\":");
        assert_eq!(pieces.len(), 1);
        assert!(error.unwrap().contains("line 2, byte 10"));
        assert!(pieces_error("{\"data\":[{\"a\":1}").contains("closing bracket"));
        assert!(pieces_error("{\"data\":[{\"a\":1}]").contains("page ends too early"));
    }

    #[test]
    fn no_more_than_a_record_is_held() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000));
        for (before, between, after) in [("", "", ""), ("[", ",", "{}]"), ("{\"data\":[", ",", "{}]}")] {
            let input = format!("{before}{}{after}", (line.clone() + between).repeat(5_000));
            let mut split = Split::new(io::BufReader::with_capacity(4_096, input.as_bytes()));
            let mut count = 0;
            while split.next_piece().unwrap().is_some() {
                count += 1;
                assert!(split.buffer.capacity() < 20_000, "{}", split.buffer.capacity());
            }
            assert_eq!(count, 5_000 + usize::from(!after.is_empty()));
        }
    }

    fn pieces_error(input: &str) -> String {
        pieces(input).1.unwrap()
    }
}
