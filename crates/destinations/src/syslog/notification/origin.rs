//! Where records are from, and the dialect of their lines.

use s1_forwarder_record::Stream;

/// `payload:` of `content: integration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::syslog) enum Dialect {
    Cef,
    Cef2,
}

/// Where the records of a lane are from.
#[derive(Debug, Clone, Copy)]
pub(in crate::syslog) struct Origin<'a> {
    pub dialect: Dialect,
    pub stream: Stream,
    /// The console's host.
    pub console: &'a str,
    /// The console's build, if it is known.
    pub build: Option<&'a str>,
}
