//! The origin of records, and the dialect of their lines.

use s1_forwarder_record::Stream;

/// `payload:` of `content: integration`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::syslog) enum Dialect {
    Cef,
    Cef2,
}

/// The origin of a lane's records.
#[derive(Debug, Clone, Copy)]
pub(in crate::syslog) struct Origin<'a> {
    pub dialect: Dialect,
    pub stream: Stream,
    /// The console's host.
    pub console: &'a str,
    /// The console's build, if it is known.
    pub build: Option<&'a str>,
}
