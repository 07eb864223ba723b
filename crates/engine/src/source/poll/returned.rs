//! The records that a poll has returned, so that it returns none of them twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::source::position::{KeysBySecond, MANY_FINDINGS};
use crate::source::{Pass, PassKeys, PullSettings, RecordKey};

/// Records that a poll has returned. The poll returns no version twice. It returns one version of a record that
/// changes, since batches may be settled in any order.
#[derive(Debug)]
pub(super) enum Returned {
    /// Keys by the second of the record's time, if each version counts as a record.
    Versions(KeysBySecond),
    /// The version of each record, and the second of the record's time.
    Records(HashMap<u64, (u64, i64)>),
    Findings(ReturnedFindings),
}

/// The version of each finding, for as many findings as the position of a window remembers, however many the poll
/// reads.
#[derive(Debug, Default)]
pub(super) struct ReturnedFindings {
    versions: HashMap<u64, u64>,
    /// The largest id of the list.
    largest: u64,
    /// Value of `largest` when the list was begun again. Ids up to it were shown before, if the list is in the order of
    /// ids.
    shown_until: u64,
    is_unordered: bool,
}

/// Earlier return of a record by the same poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    ThisVersion,
    OtherVersion,
}

impl Returned {
    pub fn nothing(pull: &PullSettings, pass: &Pass) -> Self {
        if !pull.is_ordered() {
            Self::Findings(ReturnedFindings::default())
        } else if pass.keys == PassKeys::Latest || pull.drops_unchanged() {
            Self::Records(HashMap::new())
        } else {
            Self::Versions(KeysBySecond::default())
        }
    }

    /// Adds a record of this second that is to be returned, unless the poll has returned one of its versions. Returns
    /// what was returned before.
    pub fn add(&mut self, record_key: &RecordKey, second: i64) -> Before {
        let RecordKey { id, version, .. } = *record_key;
        match self {
            Self::Versions(seconds) => {
                let is_new = seconds.remember(second, version, None);
                if is_new { Before::Nothing } else { Before::ThisVersion }
            }
            Self::Records(versions) => match versions.entry(id) {
                Entry::Occupied(returned) => Before::version(returned.get().0, version),
                Entry::Vacant(vacant) => {
                    vacant.insert((version, second));
                    Before::Nothing
                }
            },
            Self::Findings(findings) => findings.add(id, version),
        }
    }

    /// Forgets the records of seconds before `second`: no pager can meet them again.
    pub fn forget_before(&mut self, second: i64) {
        match self {
            Self::Versions(seconds) => seconds.forget_before(second),
            Self::Records(versions) => versions.retain(|_, (_, at)| *at >= second),
            Self::Findings(_) => {}
        }
    }

    /// Begins the next list of the poll, which has its own order of ids.
    pub fn next_list(&mut self) {
        if let Self::Findings(findings) = self {
            findings.largest = 0;
        }
    }

    /// Notes that the list is read from its beginning.
    pub fn begin_list(&mut self) {
        if let Self::Findings(findings) = self {
            findings.shown_until = findings.largest;
        }
    }

    /// Returns the seconds from `from` to before `to`, with the number of records of each, if each version counts as a
    /// record.
    pub fn counts_between(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, usize)> {
        let seconds = if let Self::Versions(seconds) = self { Some(seconds.counts_between(from, to)) } else { None };
        seconds.into_iter().flatten()
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Versions(seconds) => seconds.key_count(),
            Self::Records(versions) => versions.len(),
            Self::Findings(findings) => findings.versions.len(),
        }
    }
}

impl ReturnedFindings {
    /// Adds a finding. Findings are listed in the order of their ids, so the largest id stands for the findings for
    /// which there is no room.
    fn add(&mut self, id: u64, version: u64) -> Before {
        if let Some(returned) = self.versions.get(&id) {
            return Before::version(*returned, version);
        }
        let is_full = self.versions.len() >= MANY_FINDINGS;
        if is_full && !self.is_unordered && id <= self.shown_until {
            return Before::ThisVersion;
        }
        self.is_unordered |= id < self.largest;
        self.largest = self.largest.max(id);
        if !is_full {
            self.versions.insert(id, version);
        }
        Before::Nothing
    }
}

impl Before {
    fn version(returned: u64, shown: u64) -> Self {
        if returned == shown { Self::ThisVersion } else { Self::OtherVersion }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_record::{Stream, Timestamp};

    fn add(returned: &mut Returned, id: u64, version: u64, second: i64) -> Before {
        let time = Timestamp::from_micros(second * 1_000_000);
        returned.add(&RecordKey { id, version, content: None, time, created: Some(time) }, second)
    }

    fn nothing(stream: Stream) -> Returned {
        let pull = PullSettings::of(stream);
        Returned::nothing(&pull, &pull.passes()[0])
    }

    /// The largest id of the list stands for the findings without room.
    #[test]
    fn a_list_that_begins_again_shows_nothing_new_up_to_where_it_was() {
        let mut returned = nothing(Stream::Vulnerabilities);
        let add = |returned: &mut Returned, id, version| add(returned, id, version, 0);
        let first = 1_000;
        let without_room = first + MANY_FINDINGS as u64;
        // The console may show one finding twice.
        for id in (first..=without_room).chain([without_room]) {
            assert_eq!(add(&mut returned, id, 1), Before::Nothing);
        }
        assert_eq!(returned.len(), MANY_FINDINGS);
        returned.begin_list();
        let shown = [(first, 1), (first, 2), (without_room, 1), (without_room + 1, 1)];
        let expected = [Before::ThisVersion, Before::OtherVersion, Before::ThisVersion, Before::Nothing];
        assert_eq!(shown.map(|(id, version)| add(&mut returned, id, version)), expected);

        // A list of another scope, whose ids begin at the smallest again.
        returned.next_list();
        returned.begin_list();
        assert_eq!(add(&mut returned, 7, 1), Before::Nothing);
        returned.begin_list();
        assert_eq!([7, 8].map(|id| add(&mut returned, id, 1)), [Before::ThisVersion, Before::Nothing]);

        // In no order the largest id says nothing.
        returned.next_list();
        returned.begin_list();
        assert_eq!([9, 6].map(|id| add(&mut returned, id, 1)), [Before::Nothing; 2]);
        returned.begin_list();
        assert_eq!(add(&mut returned, 9, 1), Before::Nothing);
    }

    #[test]
    fn a_poll_returns_one_version_of_what_changes_and_each_version_of_the_rest() {
        for (stream, other) in [(Stream::Threats, Before::Nothing), (Stream::Alerts, Before::OtherVersion)] {
            let mut returned = nothing(stream);
            let shown = [5, 5, 6].map(|version| add(&mut returned, 1, version, 10));
            assert_eq!(shown, [Before::Nothing, Before::ThisVersion, other], "{stream}");
        }
        // A change of an agent moves its time, and yet the two are versions of one agent.
        let mut returned = nothing(Stream::Agents);
        assert_eq!(add(&mut returned, 1, 5, 10), Before::Nothing);
        assert_eq!(add(&mut returned, 1, 6, 11), Before::OtherVersion);
    }

    #[test]
    fn records_of_earlier_seconds_are_forgotten() {
        for stream in [Stream::Activities, Stream::Alerts] {
            let mut returned = nothing(stream);
            for (id, second) in [(1, 10), (2, 11)] {
                add(&mut returned, id, id, second);
            }
            returned.forget_before(11);
            assert_eq!(returned.len(), 1, "{stream}");
            let shown = [(1, 10), (2, 11)].map(|(id, second)| add(&mut returned, id, id, second));
            assert_eq!(shown, [Before::Nothing, Before::ThisVersion], "{stream}");
        }
    }
}
