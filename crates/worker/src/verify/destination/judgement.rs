//! Decides which of a lane's events are missing, and in which hours nothing is claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Hour, Sum};
use s1_forwarder_record::Timestamp;

use super::super::MAX_EXAMPLES;
use super::owed_reader::Owed;
use super::report::{DestinationReport, HourRow, MissingEvent};
use super::target_reader::HasAll;

/// A repair sends no more than this.
pub const MAX_RETURNED: usize = 100_000;
/// Events are sent in the order of their creation, but for this.
pub const SENT_WITHIN: Duration = Duration::from_hours(1);

/// A record that may be missing.
#[derive(Clone)]
pub struct Candidate {
    pub owed: Owed,
    pub hour: Hour,
}

/// The ledger's sums of an hour.
#[derive(Debug, Clone, Copy)]
pub struct HourSums {
    pub accounted: Sum,
    pub delivered: Sum,
}

/// The hours of a lane, as far as they were compared.
pub struct Judgement {
    pub report: DestinationReport,
    /// Events that were not found. The destination is asked for them once more.
    candidates: Vec<Candidate>,
    /// Numbers of identities in all hours so far.
    pub owed: u64,
    pub present: u64,
    /// Whether the target may lack the first events: they may have been removed because of their age, or sent to
    /// another target.
    pub may_lack_beginning: bool,
    /// Records of the window that changed too late to be compared. `overdue` counts those that a working lane would
    /// have read.
    pub changed: u64,
    pub overdue: u64,
    leading: Leading,
    /// Owed events of such a beginning that are not there.
    absent_before: u64,
    /// What the ledger has of each hour, where it knows which records were delivered.
    pub ledger: BTreeMap<Hour, HourSums>,
    /// The hours before this one were compared with a list of the target, if it gives lists.
    pub listed_until: Hour,
    /// Sums of the records that the settings exclude now, and of the dead letters that were read.
    not_owed: BTreeMap<Hour, Sum>,
    /// Hours of which nothing is claimed, since their events may be absent for another reason.
    left: BTreeSet<Hour>,
    /// Events that a repair has to deliver again. `None` if no repair may do so.
    pub missing: Option<Vec<Candidate>>,
}

/// The beginning of the window that the destination may have removed because of its age. An event that came late is
/// there whatever its age, so the beginning ends where more has come since than is absent.
#[derive(Default)]
struct Leading {
    /// The last event of the beginning.
    until: Option<Timestamp>,
    /// Events that are there after the beginning, less those that are not.
    there: u64,
}

impl Leading {
    /// Takes the next event, by creation.
    fn take(&mut self, is_there: bool, created: Timestamp) {
        if is_there {
            self.there = self.there.saturating_add(1);
            return;
        }
        self.there = self.there.saturating_sub(1);
        if self.there == 0 {
            self.until = Some(created);
        }
    }

    /// The first hour after the beginning. Events that were created shortly after others may have been sent before.
    fn judged_from(&self) -> Option<Hour> {
        Hour::of(self.until?.plus(SENT_WITHIN)).map(|hour| hour.plus(1))
    }
}

impl Judgement {
    pub fn new(report: DestinationReport, is_for_repair: bool) -> Self {
        Self {
            report,
            candidates: Vec::new(),
            owed: 0,
            present: 0,
            may_lack_beginning: false,
            changed: 0,
            overdue: 0,
            leading: Leading::default(),
            absent_before: 0,
            ledger: BTreeMap::new(),
            listed_until: Hour::default(),
            not_owed: BTreeMap::new(),
            left: BTreeSet::new(),
            missing: is_for_repair.then(Vec::new),
        }
    }

    /// Takes the next hour, of which the destination has all events.
    pub fn add_agreed(&mut self, hour: Hour, HasAll { events, duplicates }: HasAll) {
        self.owed += events;
        self.present += events;
        self.leading.there = self.leading.there.saturating_add(events);
        let row = HourRow { owed: events, present: events, duplicates, by_sums: true, ..HourRow::default() };
        self.report.hours.insert(hour, row);
    }

    /// Takes the numbers of the next part of an hour.
    pub fn add_part(&mut self, hour: Hour, part: &HourRow) {
        self.owed += part.owed;
        self.present += part.present;
        let row = self.report.hours.entry(hour).or_default();
        row.owed += part.owed;
        row.present += part.present;
        row.duplicates += part.duplicates;
        row.excluded += part.excluded;
    }

    /// Takes the events of the part that were found, by their creation, and those that were not.
    pub fn add_candidates(&mut self, there: &[Timestamp], absent: Vec<Candidate>) {
        if self.may_lack_beginning {
            let there = there.iter().map(|created| (*created, true));
            let mut by_creation: Vec<(Timestamp, bool)> =
                there.chain(absent.iter().map(|candidate| (candidate.owed.created, false))).collect();
            by_creation.sort_unstable();
            by_creation.into_iter().for_each(|(created, is_there)| self.leading.take(is_there, created));
        }
        self.candidates.extend(absent);
        self.leave_beginning();
    }

    /// Adds records of the hour that are excluded now, or dead letters.
    pub fn add_not_owed(&mut self, hour: Hour, records: &Sum) {
        self.not_owed.entry(hour).or_default().merge(records);
    }

    /// Returns whether every accounted record that is owed now was delivered, so that one that is not there is missing.
    /// The sums have the identities, so that equal numbers of other records do not pass. Also true without such sums.
    fn owes_only_delivered(&self, hour: Hour) -> bool {
        let Some(HourSums { accounted, delivered }) = self.ledger.get(&hour) else { return true };
        let mut settled = *delivered;
        settled.merge(&self.not_owed.get(&hour).copied().unwrap_or_default());
        accounted == delivered || *accounted == settled
    }

    /// Returns whether the ledger says that every accounted record of the hour was delivered.
    pub fn has_delivered_all(&self, hour: Hour) -> bool {
        self.ledger.get(&hour).is_some_and(|HourSums { accounted, delivered }| accounted == delivered)
    }

    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Returns the candidates, by identity. Nothing is claimed if no event was found.
    pub fn take_candidates(&mut self) -> Vec<Candidate> {
        let mut candidates = mem::take(&mut self.candidates);
        if self.present == 0 {
            candidates.clear();
        }
        candidates.sort_unstable_by(|one, other| one.owed.cmp(&other.owed));
        candidates
    }

    /// Ends the search for a beginning that the target lacks: events that are reported as missing stay reported.
    pub fn end_beginning(&mut self) {
        self.leading.there = u64::MAX / 2;
    }

    /// Claims nothing of hours whose events may have been removed because of their age.
    fn leave_beginning(&mut self) {
        let Some(from) = self.leading.judged_from() else { return };
        self.report.hours.retain(|hour, _| *hour >= from);
        let before = self.candidates.len();
        self.candidates.retain(|candidate| candidate.hour >= from);
        let absent = (before - self.candidates.len()) as u64;
        self.absent_before += absent;
        self.report.doubted += absent;
    }

    /// Counts the candidates whose number is not zero, and returns the others.
    pub fn count_found(
        &mut self,
        candidates: Vec<Candidate>,
        counts: &[u32],
        count: impl Fn(&mut HourRow, u32),
    ) -> Vec<Candidate> {
        let mut open = Vec::new();
        for (candidate, found) in candidates.into_iter().zip(counts) {
            match found {
                0 => open.push(candidate),
                found => count(self.report.hours.entry(candidate.hour).or_default(), *found),
            }
        }
        open
    }

    /// Counts the candidates that are missing, or in another place. Returns those that are missing.
    pub fn add_absent(&mut self, found: Vec<(Candidate, Option<String>)>) -> Vec<Candidate> {
        let mut missing = Vec::new();
        for (candidate, place) in found {
            let row = self.report.hours.entry(candidate.hour).or_default();
            if let Some(place) = place {
                row.elsewhere += 1;
                *self.report.elsewhere.entry(place).or_default() += 1;
                continue;
            }
            row.missing += 1;
            if row.examples.len() < MAX_EXAMPLES {
                row.examples.push(MissingEvent::of(&candidate.owed));
            }
            missing.push(candidate);
        }
        if let Some(returned) = &mut self.missing {
            let room = MAX_RETURNED.saturating_sub(returned.len());
            returned.extend(missing.iter().take(room).cloned());
        }
        missing
    }

    /// Drops an hour if its undelivered records are not exactly these: the records that the settings exclude now, and
    /// the dead letters that were read. The others may be the absent events.
    pub fn without_doubtful(
        &mut self,
        mut found: Vec<(Candidate, Option<String>)>,
        is_given: bool,
    ) -> Vec<(Candidate, Option<String>)> {
        let mut lacking: BTreeMap<Hour, u64> = BTreeMap::new();
        for (candidate, _) in found.iter().filter(|(_, place)| place.is_none()) {
            *lacking.entry(candidate.hour).or_default() += 1;
        }
        let unexplained: BTreeSet<Hour> =
            lacking.keys().copied().filter(|hour| !self.owes_only_delivered(*hour)).collect();
        if let Some(first) = unexplained.first() {
            let absent: u64 = unexplained.iter().filter_map(|hour| lacking.get(hour)).sum();
            self.report.doubted += absent;
            self.report.not_judged.push(format!(
                "{} hours, the first from {first}: {absent} events are not there, and the records that the ledger has \
                 as not delivered are others than those that are excluded now and the dead letters that were read: \
                 other settings at that time? purged dead letters? another store? give the worker's --dead-letters",
                unexplained.len()
            ));
        }
        self.left.extend(unexplained);
        if is_given {
            self.leave_end(&lacking);
        }
        found.retain(|(candidate, _)| !self.left.contains(&candidate.hour));
        found
    }

    /// Drops the last hours without an event and the two hours before. The list may have been truncated in one of them,
    /// and an event may be sent an hour late.
    fn leave_end(&mut self, lacking: &BTreeMap<Hour, u64>) {
        let rows = &self.report.hours;
        let is_empty = |(hour, row): &(&Hour, &HourRow)| lacking.get(hour) == Some(&row.owed);
        let empty = rows.iter().rev().filter(|(_, row)| row.owed > 0).take_while(is_empty).last();
        let Some(from) = empty.map(|(first, _)| first.minus(2)) else { return };
        let absent: u64 =
            lacking.range(from..).filter(|(hour, _)| !self.left.contains(hour)).map(|(_, count)| count).sum();
        self.left.extend(rows.range(from..).map(|(hour, _)| *hour));
        self.report.doubted += absent;
        self.report
            .not_judged
            .push(format!("from {from} on: {absent} of the newest owed events are not there: did the list end early?"));
    }

    /// Says how many delivered events were not asked for, of the hours that are not judged by sums: the console or the
    /// settings of now do not name them. It is no doubt if the console may have removed them all, and the hour was not
    /// compared by sums: then an hour in which all of them are there looks the same.
    fn leave_unnamed(&mut self) {
        let lists = self.report.hours.values().any(|row| row.by_sums);
        let mut doubted: BTreeMap<Hour, u64> = BTreeMap::new();
        let mut removed: BTreeMap<Hour, u64> = BTreeMap::new();
        for (hour, row) in self.report.hours.iter().filter(|(hour, row)| !row.by_sums && !self.left.contains(hour)) {
            let Some(HourSums { accounted, delivered }) = self.ledger.get(hour) else { continue };
            // A dead letter of a repair was delivered before.
            let undelivered = accounted.count.saturating_sub(delivered.count);
            let named = row.owed + row.gone + row.dead_letters.saturating_sub(undelivered);
            // A command may have delivered an event again, which counts twice.
            let unnamed = delivered.count.min(accounted.count).saturating_sub(named);
            let shown = row.owed + row.gone + row.excluded + row.dead_letters;
            let is_removal = unnamed <= accounted.count.saturating_sub(shown);
            if unnamed > 0 {
                let was_listed = lists && *hour < self.listed_until;
                let hours = if is_removal && !was_listed { &mut removed } else { &mut doubted };
                hours.insert(*hour, unnamed);
            }
        }
        self.report.doubted += doubted.values().sum::<u64>();
        for (hours, why) in [
            (doubted, "that the console or the settings of now do not name: they may be missing"),
            (
                removed,
                "that the console has removed: they were not compared by sums, so nothing says whether they are there",
            ),
        ] {
            if let Some(first) = hours.keys().next() {
                let (count, unnamed) = (hours.len(), hours.values().sum::<u64>());
                self.report.not_judged.push(format!(
                    "{count} hours, the first from {first}: the ledger has {unnamed} delivered events {why}"
                ));
            }
        }
    }

    /// Says how many records are not compared since they changed later than `until`. It is no doubt if a working lane
    /// may not have delivered them yet.
    pub fn leave_changed(&mut self, until: Timestamp) {
        let Self { changed, overdue, report, .. } = self;
        if *changed == 0 {
            return;
        }
        let mut reason =
            format!("{changed} records changed after {until:.0}, which the lane may not have delivered yet");
        if *overdue > 0 {
            report.doubted += *overdue;
            reason += &format!("; {overdue} of them it should have read by now: does its worker run?");
        }
        report.not_judged.push(reason);
    }

    /// Removes the hours of which nothing is claimed, and says which beginning is not judged. Says that dead letters
    /// look missing if none were read.
    pub fn finish(&mut self, has_dead_letters: bool) {
        self.leave_unnamed();
        self.report.hours.retain(|hour, _| !self.left.contains(hour));
        if self.report.missing() > 0 && !has_dead_letters {
            self.report.not_judged.push("dead letters: without --dead-letters they are missing, too".to_owned());
        }
        let is_unproven = |(hour, row): (&Hour, &HourRow)| row.missing > 0 && !self.ledger.contains_key(hour);
        if self.report.hours.iter().any(is_unproven) {
            self.report.not_judged.push(
                "other settings: the ledger does not know which events were delivered, so what was excluded at that \
                 time is missing, too, and a repair delivers it"
                    .to_owned(),
            );
        }
        let Some(from) = self.leading.judged_from() else { return };
        let absent = self.absent_before;
        self.report.not_judged.push(format!(
            "before {from}: {absent} of the oldest owed events are not there: retention? another index of an alias?"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_came_late_ends_no_beginning() {
        // Each part: present and absent events, in this order.
        for (parts, expected) in [
            (&[(1, 0), (40, 1), (0, 30), (40, 0)][..], 0),
            (&[(0, 40), (0, 40), (40, 0), (38, 2)], 80),
            (&[(30, 10), (38, 2)], 0),
            // Late ones, also as all of a part.
            (&[(0, 40), (1, 39), (0, 40), (1, 0), (0, 40), (40, 0), (38, 2)], 161),
            (&[(1, 0), (0, 40), (2, 38), (0, 0), (40, 0), (39, 1)], 81),
            (&[(1, 0), (0, 1), (40, 0), (39, 1)], 2),
            (&[(0, 0), (0, 0)], 0),
        ] {
            let mut leading = Leading::default();
            let mut count = 0;
            for (present, absent) in parts {
                for is_there in (0..*present).map(|_| true).chain((0..*absent).map(|_| false)) {
                    count += 1;
                    leading.take(is_there, Timestamp::from_micros(count));
                }
            }
            assert_eq!(leading.until.map_or(0, Timestamp::micros), expected, "{parts:?}");
        }
        let at = |minutes: i64| Leading { until: Some(Timestamp::from_micros(minutes * 60_000_000)), there: 0 };
        assert_eq!(
            (at(0).judged_from(), at(59).judged_from(), at(60).judged_from()),
            (Some(Hour(2)), Some(Hour(2)), Some(Hour(3)))
        );
        assert_eq!(Leading::default().judged_from(), None);
    }

    #[test]
    fn only_changes_that_the_lane_should_have_read_are_a_doubt() {
        for (changed, overdue, doubted) in [(0, 0, 0), (3, 0, 0), (3, 2, 2)] {
            let mut judgement = Judgement::new(DestinationReport::of("acme/threats/siem".parse().unwrap()), false);
            (judgement.changed, judgement.overdue) = (changed, overdue);
            judgement.leave_changed(Timestamp::default());
            let DestinationReport { doubted: found, not_judged, .. } = judgement.report;
            assert_eq!((found, not_judged.len()), (doubted, usize::from(changed > 0)), "{not_judged:?}");
        }
    }
}
