//! The description of how a stream is pulled. Each stream has one.

use std::time::Duration;

use super::StreamOptions;
use crate::source::protocols::Protocol;
use crate::source::{Pass, PullSettings, Since};

pub const MINUTE: Duration = Duration::from_mins(1);
pub const DAY: Duration = Duration::from_hours(24);

/// How a stream is pulled. `interval`, `since` and `overlap` are the defaults of its settings.
#[derive(Debug)]
pub struct PullDescription {
    pub interval: Duration,
    pub since: Since,
    pub overlap: Duration,
    pub protocol: &'static dyn Protocol,
    /// Whether a window is always one by creation: the order of the stream does not show all records.
    pub windows_by_creation: bool,
    /// Returns the settings that only this stream has, with their defaults.
    pub own: fn() -> StreamOptions,
    /// Returns the passes over the stream. The given main pass, which reads new records, is the first. It may be the
    /// only one.
    pub passes: fn(&PullSettings, Pass) -> Vec<Pass>,
}

/// Returns the passes of a stream that needs only the main pass.
pub fn only_main(_: &PullSettings, main: Pass) -> Vec<Pass> {
    vec![main]
}
