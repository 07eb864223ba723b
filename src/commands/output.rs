//! Standard output and standard error. Their reader may end before the command does (`| head`), which is no error: the
//! command finishes its work, and its exit code is about that. `println!` would panic, so the crate forbids it.
//!
//! Whatever is printed, words of consoles, files and peers reach no terminal as control characters: they are escaped
//! here, and in the cells of [`Table`].

use std::fmt::{self, Display};
use std::io::{self, Error, ErrorKind, IsTerminal, Result, Write, stderr, stdout};

use comfy_table::{CellAlignment, presets};

use crate::visible::{visible, visible_lines};

/// Characters of a cell that are shown.
const MAX_CELL: usize = 4_000;

/// Prints words on standard output: a line, and others that belong to it, which are indented. A closed pipe is not an
/// error.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_line(text: impl Display) -> Result<()> {
    or_closed(print_line_or_fail(text))
}

/// Prints words as [`print_line`] does, for commands that are useless without a reader: a closed pipe is an error.
///
/// # Errors
/// If standard output cannot be written, or its pipe is closed.
pub fn print_line_or_fail(text: impl Display) -> Result<()> {
    write_out(&words(&text.to_string()))
}

/// Prints a text whose lines are the program's own, such as a table. On a terminal it may have colours.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_lines(text: impl Display) -> Result<()> {
    let text = text.to_string();
    let text = if stdout().is_terminal() { visible_in_colour(&text) } else { visible_lines(&text).into_owned() };
    or_closed(write_out(&text))
}

/// Prints JSON. A terminal gets it with escapes, everybody else as it is.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_json(text: &str) -> Result<()> {
    let text = if stdout().is_terminal() { visible_lines(text) } else { text.into() };
    or_closed(write_out(&text))
}

fn write_out(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn or_closed(printed: Result<()>) -> Result<()> {
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Returns whether the reader of the command's output has ended.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Prints words for people on standard error, as [`print_line`] does.
pub fn note(text: impl Display) {
    // There is nowhere to report a failure.
    let _ = writeln!(stderr().lock(), "{}", words(&text.to_string()));
}

/// Prints a text for people on standard error, as [`print_lines`] does.
pub fn note_lines(text: impl Display) {
    let _ = writeln!(stderr().lock(), "{}", visible_lines(&text.to_string()));
}

/// Returns visible words with further lines indented: otherwise foreign words could look like a line of the program.
fn words(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut out = visible(lines.next().unwrap_or_default()).into_owned();
    for line in lines {
        let indent = if line.starts_with("  ") { "" } else { "  " };
        out.extend(["\n", indent, &visible(line)]);
    }
    out
}

/// Returns visible lines as [`visible_lines`] does, but keeps colours.
fn visible_in_colour(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let after = &rest[at + 1..];
        let is_of_colour = |c: char| c.is_ascii_digit() || c == ';';
        let numbers = after.strip_prefix('[').map(|after| after.trim_start_matches(is_of_colour));
        // The escape alone, if it does not begin a colour.
        let end = match numbers.and_then(|after| after.strip_prefix('m')) {
            Some(after) => rest.len() - after.len(),
            None => at,
        };
        out.push_str(&visible_lines(&rest[..at]));
        out.push_str(&rest[at..end]);
        if end == at {
            out.push_str(&visible("\x1b"));
        }
        rest = &rest[end.max(at + 1)..];
    }
    out.push_str(&visible_lines(rest));
    out
}

/// Rows of cells, without lines between them.
#[derive(Debug)]
pub struct Table(comfy_table::Table);

impl Table {
    pub fn new(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        Self(table)
    }

    /// Adds a row. Cells are shortened, and have one line.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        self.0.add_row(cells.into_iter().map(|cell| shortened(cell.as_ref())));
    }

    /// Aligns `columns` columns to the right, after those that are skipped.
    pub fn align_right(&mut self, skipped: usize, columns: usize) {
        for column in self.0.column_iter_mut().skip(skipped).take(columns) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", visible(&cell[..end])),
        None => visible(cell).into_owned(),
    }
}

impl Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.trim_fmt())
    }
}

/// Writes lines of JSON, with escapes if a terminal gets them. A closed pipe is an error.
///
/// # Errors
/// If standard output cannot be written, or its pipe is closed.
pub fn write_json(lines: &[u8]) -> Result<()> {
    let mut out = json_lines();
    out.write_all(lines)?;
    out.flush()
}

/// Writes an event with colours, in which all other control characters are escaped. A closed pipe is an error.
///
/// # Errors
/// If standard output cannot be written, or its pipe is closed.
pub fn write_pretty(event: &str) -> Result<()> {
    let mut out = stdout().lock();
    out.write_all(event.as_bytes())?;
    out.flush()
}

/// Returns standard output for lines of JSON, with escapes if it is a terminal.
pub fn json_lines() -> Box<dyn Write> {
    let out = io::BufWriter::with_capacity(1 << 16, stdout().lock());
    if stdout().is_terminal() { Box::new(JsonLines { out, line: Vec::new() }) } else { Box::new(out) }
}

struct JsonLines<W> {
    out: W,
    /// The line that has not ended yet.
    line: Vec<u8>,
}

impl<W: Write> Write for JsonLines<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = memchr::memrchr(b'\n', &self.line) {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.out.write_all(visible_lines(&String::from_utf8_lossy(&lines)).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\x1b[2J\u{9b}31m\u{7f}\r\u{202e}b\nforged: line";

    #[test]
    fn words_of_others_are_escaped_and_begin_no_line() {
        assert_eq!(words(HOSTILE), "a\\u001b[2J\\u009b31m\\u007f\\u000d\\u202eb\n  forged: line");
        assert_eq!(words("one\n  two"), "one\n  two");
    }

    #[test]
    fn a_row_is_one_line() {
        let mut table = Table::new(&["A", "B"]);
        table.add_row([HOSTILE, "c"]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\\u202eb\\u000aforged: line") && text.trim_end().ends_with('c'), "{text}");
        table.add_row(["x".repeat(900_000), String::new()]);
        assert!(table.to_string().len() < 4 * MAX_CELL, "{}", table.to_string().len());
    }

    #[test]
    fn only_colours_pass() {
        let text = "\x1b[31mred\x1b[0m \x1b[1;32mbold\x1b[m \x1b]0;title\x07\x1b[2J\x1b\nnext";
        let expected = "\x1b[31mred\x1b[0m \x1b[1;32mbold\x1b[m \\u001b]0;title\\u0007\\u001b[2J\\u001b\nnext";
        assert_eq!(visible_in_colour(text), expected);
    }

    #[test]
    fn json_is_escaped_line_by_line() {
        let mut out = Vec::new();
        let mut lines = JsonLines { out: &mut out, line: Vec::new() };
        for byte in "{\"a\":\"\u{7f}ä\u{202e}\"}\n".bytes() {
            lines.write_all(&[byte]).unwrap();
        }
        lines.flush().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"\\u007fä\\u202e\"}\n");
    }
}
