//! The description of how a stream is pulled. Each stream has one.

use std::time::Duration;

use super::StreamOptions;
use crate::source::protocols::Protocol;
use crate::source::{Pass, PullSettings, Since};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(86_400);

/// How a stream is pulled. `interval`, `since` and `overlap` are the defaults of its settings.
#[derive(Debug)]
pub struct PullDescription {
    pub interval: Duration,
    pub since: Since,
    pub overlap: Duration,
    pub protocol: &'static dyn Protocol,
    /// A window is always one by creation: the order of the stream does not show all records.
    pub windows_by_creation: bool,
    /// What only this stream has, with its defaults.
    pub own: fn() -> StreamOptions,
    /// The passes over the stream, the one that brings what is new first. It is given: it may be the only one.
    pub passes: fn(&PullSettings, Pass) -> Vec<Pass>,
}

/// The passes of a stream that needs no second one.
pub fn only_main(_: &PullSettings, main: Pass) -> Vec<Pass> {
    vec![main]
}
