use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::state::{FileStore, LaneId, Store};

const HOUR: Duration = Duration::from_secs(3600);
/// Every hour that there is.
const ALL: Range<Hour> = Hour(0)..Hour(u32::MAX);

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn ago(hours: u32) -> Timestamp {
    now().minus(HOUR * hours)
}

fn identity(number: u64) -> Identity {
    Identity::of("host", Stream::Activities, &number.to_string(), "")
}

fn lane() -> LaneId {
    "acme/activities/siem".parse().unwrap()
}

/// As a lane does it: the journal first, then the checkpoint, then what is not needed any more.
async fn save(ledger: &mut Ledger, store: &FileStore) -> usize {
    for append in ledger.spill(now()) {
        store.write_journal(&lane(), &append).await.unwrap();
    }
    let bytes = ledger.encode();
    let released = ledger.released().to_vec();
    store.drop_journal(&lane(), &released).await.unwrap();
    ledger.forget_released(&released);
    bytes.len()
}

#[tokio::test]
async fn everything_counted_is_found_again_in_checkpoint_and_journal() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut ledger = Ledger::begin(ago(24 * 60), String::new(), true);
    let mut largest = 0;
    let mut number = 0;
    // From sixty days ago on, three records an hour, and one more that comes late for an hour long in the journal.
    for hours in (0..24 * 60).rev() {
        for created in [ago(hours), ago(hours), ago(hours), ago((hours + 500).min(24 * 60))] {
            ledger.count(created, identity(number));
            ledger.remember(created, identity(number), now());
            number += 1;
        }
        largest = largest.max(save(&mut ledger, &store).await);
        ledger = Ledger::decode(&ledger.encode()).unwrap();
    }
    assert!(largest < 10_000, "{largest} bytes go into a checkpoint");
    let books = ledger.books(&store, &lane(), ALL).await.unwrap();
    let mut sum = Sum::default();
    books.sums.values().for_each(|of_hour| sum.merge(of_hour));
    let mut expected = Sum::default();
    (0..number).for_each(|number| expected.add(identity(number)));
    assert_eq!(sum, expected);
    let hour = Hour::of(ago(24 * 30)).unwrap();
    assert_eq!(books.sums[&hour].count, 4, "three in time and one late");
    let kept: HashSet<Identity> = books.identities.values().flatten().copied().collect();
    assert_eq!(kept.len(), 49 * 3, "the identities of two days and the hour under way");
    assert_eq!(ledger.kept_from(now()), Hour::of(ago(48)));
}

#[tokio::test]
async fn a_journal_that_ran_ahead_of_its_checkpoint_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut ledger = Ledger::begin(ago(10), String::new(), true);
    let fill = |ledger: &mut Ledger, numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| ledger.remember(ago(1), identity(number), now()));
    };
    fill(&mut ledger, 0..300);
    save(&mut ledger, &store).await;
    let stored = ledger.encode();
    fill(&mut ledger, 300..900);
    for append in ledger.spill(now()) {
        store.write_journal(&lane(), &append).await.unwrap();
    }
    // The process dies before the checkpoint, and goes on from the one before.
    let mut ledger = Ledger::decode(&stored).unwrap();
    let books = ledger.books(&store, &lane(), ALL).await.unwrap();
    let kept: HashSet<Identity> = books.identities.values().flatten().copied().collect();
    assert_eq!(kept, (0..300).map(identity).collect(), "what lies behind its end does not count");
    fill(&mut ledger, 1000..1300);
    save(&mut ledger, &store).await;
    let books = ledger.books(&store, &lane(), ALL).await.unwrap();
    let kept: HashSet<Identity> = books.identities.values().flatten().copied().collect();
    assert_eq!(kept, (0..300).chain(1000..1300).map(identity).collect());
}

#[tokio::test]
async fn old_segments_leave_and_a_lost_one_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut ledger = Ledger::begin(ago(40), String::new(), true);
    (0..60_000).for_each(|number| ledger.remember(ago(40), identity(number), now()));
    save(&mut ledger, &store).await;
    (0..300).for_each(|number| ledger.remember(ago(1), identity(number), now()));
    save(&mut ledger, &store).await;
    let journal = directory.path().join("lanes/acme/activities/siem.journal");
    assert!(journal.join("0").exists() && journal.join("1").exists());
    let later = now().plus(HOUR * 20);
    assert!(ledger.spill(later).is_empty());
    assert_eq!(ledger.released(), [0]);

    let segment = std::fs::File::options().write(true).open(journal.join("1")).unwrap();
    segment.set_len(segment.metadata().unwrap().len() - 1).unwrap();
    let cut = ledger.books(&store, &lane(), ALL).await;
    assert!(matches!(cut, Err(crate::state::StateError::Journal { segment: 1, .. })));
    std::fs::remove_file(journal.join("1")).unwrap();
    let lost = ledger.books(&store, &lane(), ALL).await;
    assert!(matches!(lost, Err(crate::state::StateError::Journal { segment: 1, .. })));
}

/// A lane's ledger and those of the repairs beside it.
#[tokio::test]
async fn the_books_of_two_ledgers_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let mut both = Books::default();
    for numbers in [0..2, 2..5] {
        let mut ledger = Ledger::begin(ago(10), String::new(), true);
        for number in numbers {
            ledger.count(ago(1), identity(number));
            ledger.remember(ago(1), identity(number), now());
        }
        both.merge(ledger.books(&store, &lane(), ALL).await.unwrap());
    }
    let (hour, mut sum) = (Hour::of(ago(1)).unwrap(), Sum::default());
    (0..5).for_each(|number| sum.add(identity(number)));
    assert_eq!((both.sums[&hour], both.identities[&hour].len()), (sum, 5));
}

/// One record missing and another too many are no less of a difference than one missing.
#[test]
fn a_sum_says_which_records_it_is_of() {
    let of = |numbers: &[u64]| {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(identity(*number)));
        sum
    };
    assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
    for other in [[1, 2, 4], [1, 2, 2], [4, 5, 6]] {
        assert_ne!(of(&[1, 2, 3]), of(&other));
    }
    assert_eq!(of(&[7]).xor, identity(7).bytes());
    assert_eq!(of(&[7, 8, 7, 8]).xor, [0; 16]);
}

#[test]
fn hours_are_those_of_the_clock() {
    let at = |micros| Timestamp::from_micros(micros);
    let (hour, micros) = (Hour(3), 3 * 3_600_000_000);
    assert_eq!((hour.start(), hour.end()), (at(micros), at(micros + 3_600_000_000)));
    assert_eq!([micros - 1, micros, micros + 1].map(|micros| Hour::of(at(micros)).unwrap().0), [2, 3, 3]);
    assert_eq!([micros - 1, micros, micros + 1].map(|micros| Hour::from(at(micros)).0), [3, 3, 4]);
    assert_eq!((Hour::of(at(-1)), Hour::from(at(-4_000_000_000))), (None, Hour(0)));
}

#[test]
fn a_segment_grows_to_its_size_before_the_next_begins() {
    let (mut journal, mut next) = (Journal::default(), 7);
    let mut append = |bytes| {
        let append = journal.append(Hour(3), vec![0; bytes], &mut next);
        (append.segment, append.offset)
    };
    assert_eq!([append(10), append(20), append((1 << 20) - 30), append(5)], [(7, 0), (7, 10), (7, 30), (8, 0)]);
}

/// A repair would deliver again what has left too early.
#[test]
fn a_segment_stays_for_as_long_as_an_hour_in_it_is_kept() {
    let mut ledger = Ledger::begin(ago(100), String::new(), true);
    (0..300).for_each(|number| ledger.remember(ago(48), identity(number), now()));
    assert_eq!(ledger.spill(now()).len(), 1);
    assert!(!ledger.is_complete_with(&Default::default()), "its journal is elsewhere");
    ledger.spill(now());
    assert_eq!(ledger.released(), [0; 0], "its only hour is the first that is kept");
    ledger.spill(now().plus(HOUR));
    assert_eq!(ledger.released(), [0]);
}

/// A lane so busy that two days of identities are too many: what is let go of is said not to be kept.
#[test]
fn the_oldest_identities_leave_where_they_are_too_many() {
    let mut ledger = Ledger::begin(ago(40), String::new(), true);
    let (first, second) = (Hour::of(ago(30)).unwrap(), Hour::of(ago(20)).unwrap());
    for number in 0..=MOST_SEGMENTS {
        let newest = if number == 0 { first } else { second };
        ledger.identities.append(newest, vec![0; 1 << 20], &mut ledger.next_segment);
        ledger.spill(now());
        let gone: &[u64] = if number < MOST_SEGMENTS { &[] } else { &[0] };
        assert_eq!(ledger.released(), gone);
    }
    assert_eq!(ledger.kept_from(now()), Some(first.plus(1)));
}

#[test]
fn without_journals_only_sums_are_kept() {
    let mut ledger = Ledger::begin(ago(24 * 100), String::new(), false);
    for hours in 0..24 * 95 {
        ledger.count(ago(hours), identity(u64::from(hours)));
        ledger.remember(ago(hours), identity(u64::from(hours)), now());
    }
    assert!(ledger.spill(now()).is_empty());
    assert_eq!((ledger.sums.len(), ledger.recent.len()), (24 * 90 + 1, 0));
    assert!(ledger.encode().len() < 64 << 10);
}

#[test]
fn a_ledger_that_begins_anew_releases_its_journal() {
    let mut ledger = Ledger::begin(ago(10), "accountIds=1".to_owned(), true);
    (0..300).for_each(|number| ledger.remember(ago(1), identity(number), now()));
    ledger.spill(now());
    ledger.count(ago(1), identity(1));
    ledger.begin_anew(ago(0), String::new(), true);
    assert_eq!((ledger.released(), ledger.since(), ledger.sums.len()), (&[0][..], ago(0), 0));
    assert!(ledger.spill(now()).is_empty());
    (0..300).for_each(|number| ledger.remember(ago(0), identity(number), now()));
    let appends = ledger.spill(now());
    assert_eq!(appends.iter().map(|append| append.segment).collect::<Vec<_>>(), [1], "not one that is to be removed");
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(records in prop::collection::vec((0..100_u32, any::<u64>()), 0..400), journals: bool) {
        let mut ledger = Ledger::begin(ago(100), "accountIds=1".to_owned(), journals);
        for (hours, number) in records {
            ledger.count(ago(hours), identity(number));
            ledger.remember(ago(hours), identity(number), now());
        }
        ledger.spill(now());
        let bytes = ledger.encode();
        prop_assert_eq!(Ledger::decode(&bytes), Ok(ledger));
        for cut in 0..bytes.len().min(50) {
            prop_assert_eq!(Ledger::decode(&bytes[..cut]), Err(LedgerError::Damaged));
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Ledger::decode(&bytes);
    }
}

#[test]
fn a_newer_layout_is_refused() {
    let mut bytes = Ledger::begin(now(), String::new(), true).encode();
    bytes[0] = 2;
    assert_eq!(Ledger::decode(&bytes), Err(LedgerError::Newer(2)));
}
