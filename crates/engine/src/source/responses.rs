//! Reads the console's answers.

use s1_forwarder_record::{self as record, Connection, Frame, PageError, Stream, parse_connection, parse_page};
use tracing::warn;

use super::pager::Pager;
use crate::console::advice::IS_IT_THE_CONSOLE;
use crate::console::{ConsoleError, SecretRedactor};

/// Number of times that a page of unified alerts with an error next to its data is asked for again, before it is used
/// as it is.
const PARTIAL_TRIES: usize = 3;

/// Reads a page of any stream. Errors next to the data of unified alerts concern single fields, and are ignored.
///
/// # Errors
/// If the body is no page, or a page with errors.
pub fn read_page<'a>(
    stream: Stream,
    body: &'a [u8],
    redactor: &SecretRedactor,
) -> Result<record::Page<'a>, ConsoleError> {
    match stream.description().frame {
        Frame::List => read_list(body, redactor),
        Frame::Alerts => Ok(read_connection(body, redactor)?.page),
    }
}

/// Reads a page of a list of records, or of other objects.
///
/// # Errors
/// As [`read_page`].
pub fn read_list<'a>(body: &'a [u8], redactor: &SecretRedactor) -> Result<record::Page<'a>, ConsoleError> {
    let page = parse_page(body).map_err(|error| unreadable(&error, redactor))?;
    match page.errors.first() {
        None => Ok(page),
        Some(error) => Err(answered_with(error, redactor)),
    }
}

/// Returns the error for an answer that is no page.
fn unreadable(error: &PageError, redactor: &SecretRedactor) -> ConsoleError {
    match error {
        PageError::Html => redactor.unreadable(&format!("{error}; {IS_IT_THE_CONSOLE}")),
        _ => redactor.unreadable(error),
    }
}

/// Reads a page of unified alerts with the errors next to its data.
fn read_connection<'a>(body: &'a [u8], redactor: &SecretRedactor) -> Result<Connection<'a>, ConsoleError> {
    parse_connection(body, "alerts").map_err(|error| unreadable(&error, redactor))
}

/// Returns the failure for an answer with status 200 that contains an error.
fn answered_with(error: &str, redactor: &SecretRedactor) -> ConsoleError {
    let error = redactor.excerpt(error);
    ConsoleError::transient(format!("the console answered 200 with an error: {error}"))
}

/// Reads the pages of one poll.
#[derive(Debug)]
pub(super) struct PageReader {
    frame: Frame,
    pub redactor: SecretRedactor,
    partial_answers: usize,
}

impl PageReader {
    pub fn new(stream: Stream, redactor: SecretRedactor) -> Self {
        Self { frame: stream.description().frame, redactor, partial_answers: 0 }
    }

    /// Returns a page without errors, or one that still has errors after several tries.
    ///
    /// # Errors
    /// If the body is not a page of the stream, or the console reports errors with it and may answer without them.
    pub fn page<'a>(&mut self, body: &'a [u8], pager: &mut Pager) -> Result<record::Page<'a>, ConsoleError> {
        if self.frame == Frame::List {
            return read_list(body, &self.redactor);
        }
        let Connection { mut page, null_nodes, cursor_missing, errors } = read_connection(body, &self.redactor)?;
        // An error next to data concerns one field of one alert. The error may pass; when it does not, the page is
        // worth more than the field.
        if let Some(error) = errors.first() {
            self.partial_answers += 1;
            if self.partial_answers <= PARTIAL_TRIES {
                return Err(answered_with(error, &self.redactor));
            }
            warn!(error = self.redactor.excerpt(error), "a page lacks a field that the console cannot read");
        }
        self.partial_answers = 0;
        if null_nodes > 0 {
            warn!(alerts = null_nodes, "the console showed alerts that are null: they are skipped");
        }
        if cursor_missing {
            page.next_cursor = Some(pager.lost_cursor().into());
        }
        Ok(page)
    }
}
