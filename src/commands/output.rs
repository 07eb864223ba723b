//! Standard output and standard error. Their reader may end before the command does (`| head`), which is no error: the
//! command finishes its work, and its exit code is about that. `println!` would panic, so the crate forbids it.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Result, Write, stderr, stdout};

/// Prints a line on standard output. A closed pipe is not an error.
pub fn print_line(text: impl Display) -> Result<()> {
    match print_line_or_fail(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// The same for commands that are useless when nobody reads: a closed pipe is an error.
pub fn print_line_or_fail(text: impl Display) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// The reader of what the command prints has ended.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Prints a line for people on standard error.
pub fn note(text: impl Display) {
    // There is nowhere to report a failure.
    let _ = writeln!(stderr().lock(), "{text}");
}
