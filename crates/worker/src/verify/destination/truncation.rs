//! Recognizes lists of identities that were truncated: they lack events in a way in which no event is lost.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder_engine::checkpoint::ledger::Hour;

use super::report::HourRow;

/// Limits of results are multiples of this.
const ROUND: u64 = 10;
/// Number of hours with an equal number of events that cannot be chance.
const FULL_HOURS: usize = 3;

/// Returns whether the absent events are adjacent in the order of the identities, as in a sorted list that was
/// truncated or lost a page. Identities are hashes, so events that were really lost are scattered. `copies` has the
/// number of copies of each event, in this order.
pub fn is_cut(copies: &[u32]) -> bool {
    let runs =
        || copies.chunk_by(|one, other| (*one == 0) == (*other == 0)).filter(|run| run[0] == 0).map(<[u32]>::len);
    let all = copies.len() as f64;
    let absent: usize = runs().sum();
    let at_end = runs_at_ends(copies);
    // How many such runs there would be by chance.
    let expected = |places: f64, run: usize| places * (absent as f64 / all).powf(run as f64);
    let is_whole = at_end == absent && absent > 0 && expected(2.0, at_end) < 0.01;
    is_whole || expected(2.0, at_end) < 1e-4 || runs().any(|run| expected(all, run) < 1e-4)
}

/// The longer one of the runs of absent events at both ends.
fn runs_at_ends(copies: &[u32]) -> usize {
    let is_absent = |copies: &&u32| **copies == 0;
    copies.iter().take_while(is_absent).count().max(copies.iter().rev().take_while(is_absent).count())
}

/// Finds a list with one question an hour, each answer truncated at the same number: the hours that lack events have
/// that many, and no hour has more. Returns the number of these hours, and the number of events in each.
pub fn full_hours(hours: &BTreeMap<Hour, HourRow>, lacking: &BTreeSet<Hour>) -> Option<(usize, u64)> {
    let lines = |row: &HourRow| row.present + row.duplicates;
    let most = hours.values().map(lines).max().filter(|most| *most >= ROUND)?;
    let full = lacking.iter().filter(|hour| hours.get(hour).is_some_and(|row| lines(row) == most)).count();
    let are_all = full == lacking.len() && (full > 1 || full == 1 && most.is_multiple_of(ROUND));
    (full >= FULL_HOURS || are_all).then_some((full, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost events are scattered among the hashes. Events that a truncated sorted list lacks are not.
    #[test]
    fn a_list_that_was_sorted_and_cut_is_recognized() {
        let with_absent = |absent: &[usize]| {
            let mut copies = vec![1; 1_433];
            absent.iter().for_each(|at| copies[*at] = 0);
            is_cut(&copies)
        };
        let range = |from: usize, to: usize| (from..to).collect::<Vec<_>>();
        for (cut, expected) in [
            (range(1_432, 1_433), true),
            (range(0, 48), true),
            (range(700, 796), true),
            ([range(1_401, 1_433), vec![3, 500, 900]].concat(), true),
            (vec![], false),
            (vec![700], false),
            (vec![3, 500, 900], false),
            ((0..477).map(|third| third * 3 + 1).collect(), false),
            (range(0, 1_433), false),
        ] {
            assert_eq!(with_absent(&cut), expected, "{cut:?}");
        }
    }

    #[test]
    fn hours_that_end_at_the_same_number_may_have_been_cut() {
        // Events of each hour, and the hours that lack some.
        for (events, lacking, expected) in [
            (&[50, 12, 50, 7][..], &[0, 2][..], Some((2, 50))),
            (&[53, 12, 53, 53], &[0, 2], Some((2, 53))),
            (&[50, 12, 40], &[0], Some((1, 50))),
            (&[53, 53, 40], &[0], None),
            (&[51, 12, 50], &[0, 2], None),
            (&[50, 12, 51], &[0], None),
            // Another hour really lacks one.
            (&[53, 12, 53, 53], &[0, 1, 2], None),
            (&[53, 12, 53, 53], &[0, 1, 2, 3], Some((3, 53))),
            // An hour of a quiet lane.
            (&[3, 3, 3, 3], &[0, 1, 2], None),
            (&[20, 20], &[], None),
            (&[], &[], None),
        ] {
            let row = |(hour, events): (u32, &u64)| {
                (Hour(hour), HourRow { present: events - 1, duplicates: 1, ..HourRow::default() })
            };
            let hours = (0..).zip(events).map(row).collect();
            assert_eq!(
                full_hours(&hours, &lacking.iter().copied().map(Hour).collect()),
                expected,
                "{events:?} {lacking:?}"
            );
        }
    }
}
