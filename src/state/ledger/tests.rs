use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::state::{FileStore, LaneId, Store};

const HOUR: Duration = Duration::from_secs(3600);

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
    let all = Hour(0)..Hour(u32::MAX);
    let books = ledger.books(&store, &lane(), all).await.unwrap();
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
    fill(&mut ledger, 1000..1300);
    save(&mut ledger, &store).await;
    let books = ledger.books(&store, &lane(), Hour(0)..Hour(u32::MAX)).await.unwrap();
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

    std::fs::remove_file(journal.join("1")).unwrap();
    let lost = ledger.books(&store, &lane(), Hour(0)..Hour(u32::MAX)).await;
    assert!(matches!(lost, Err(crate::state::StateError::Journal { segment: 1, .. })));
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
