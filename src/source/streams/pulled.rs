use std::time::Duration;

use crate::source::protocols::Protocol;
use crate::source::{Pass, Pull, Since};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(86_400);

/// How a stream is pulled. `interval`, `since` and `overlap` are the defaults of its settings.
#[derive(Debug)]
pub struct Pulled {
    pub interval: Duration,
    pub since: Since,
    pub overlap: Duration,
    pub protocol: &'static dyn Protocol,
    /// A window is always one by creation: the order of the stream does not show all records.
    pub windows_by_creation: bool,
    /// Keys of a record that do not count when they alone changed, sorted.
    pub volatile: &'static [&'static str],
    /// The passes over the stream, the one that brings what is new first. It is given: it may be the only one.
    pub passes: fn(&Pull, Pass) -> Vec<Pass>,
}
