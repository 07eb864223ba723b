//! A closed window of time that is pulled once, as by `backfill`.

use s1_forwarder_record::Timestamp;

/// A closed window [from, to) that is pulled once, next to the lane's polls.
///
/// The console compares times at about 10 ms, so it is asked for slightly more than the window. Records outside are
/// dropped by their own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Beginning of the window, included.
    pub from: Timestamp,
    /// End of the window, not included.
    pub to: Timestamp,
    /// The time that decides whether a record is in the window.
    pub time: TimeField,
}

/// The one of a record's times by which it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    /// The time that the stream is ordered by: the window has what a lane would have seen change in it.
    Order,
    /// The time of creation: a record stays in its window however it changes later.
    Creation,
}

impl Window {
    /// Returns whether a record of this time is in the window. A record without a time counts as inside.
    pub fn holds(&self, time: Option<Timestamp>) -> bool {
        time.is_none_or(|time| self.from <= time && time < self.to)
    }
}
