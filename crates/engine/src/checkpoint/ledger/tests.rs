use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;
use s1_forwarder_record::Stream;

use super::hour_sums::{MAX_SUMS, NEWEST_SUMS};
use super::*;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, MemoryStore, StateError};

const HOUR: Duration = Duration::from_hours(1);
/// All hours.
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

fn lane() -> CheckpointKey {
    "acme/activities/siem".parse().unwrap()
}

fn encode(ledger: &Ledger) -> Vec<u8> {
    postcard::to_stdvec(&(ledger, ledger.delivered())).unwrap()
}

fn decode(bytes: &[u8]) -> postcard::Result<Ledger> {
    let (mut ledger, delivered): (Ledger, _) = postcard::from_bytes(bytes)?;
    ledger.set_delivered(delivered);
    Ok(ledger)
}

/// Stores the ledger as a lane does. Returns the bytes of the checkpoint.
async fn save(ledger: &mut Ledger, store: &MemoryStore) -> usize {
    let journal = JournalChange { appends: ledger.take_appends(now()), released: ledger.released().to_vec() };
    let checkpoint = encode(ledger);
    let bytes = checkpoint.len();
    let removed = store.commit(&lane(), CheckpointUpdate { checkpoint, journal }).await.unwrap();
    ledger.forget_released(&removed);
    bytes
}

#[tokio::test]
async fn everything_counted_is_found_again_in_checkpoint_and_journal() {
    let store = MemoryStore::with_journals();
    let mut ledger = Ledger::begin(ago(24 * 60), String::new(), true);
    let mut largest = 0;
    let mut of_delivered = 0;
    let mut number = 0;
    // Sixty days with three records per hour, plus one late record for an hour that is already in the journal.
    for hours in (0..24 * 60).rev() {
        for created in [ago(hours), ago(hours), ago(hours), ago((hours + 500).min(24 * 60))] {
            ledger.count(created, identity(number));
            if number.is_multiple_of(2) {
                ledger.deliver(created, identity(number));
            }
            ledger.remember(created, number, now());
            number += 1;
        }
        largest = largest.max(save(&mut ledger, &store).await);
        of_delivered = of_delivered.max(postcard::to_stdvec(&ledger.delivered()).unwrap().len());
        ledger = decode(&encode(&ledger)).unwrap();
    }
    assert!(largest < 10_000, "{largest} bytes go into a checkpoint");
    let totals = ledger.totals(&store, &lane(), ALL).await.unwrap();
    let mut sum = Sum::default();
    totals.sums.values().for_each(|of_hour| sum.merge(of_hour));
    let mut expected = Sum::default();
    (0..number).for_each(|number| expected.add(identity(number)));
    assert_eq!(sum, expected);
    let mut delivered = Sum::default();
    totals.delivered.values().for_each(|of_hour| delivered.merge(of_hour));
    let mut expected = Sum::default();
    (0..number).step_by(2).for_each(|number| expected.add(identity(number)));
    assert_eq!(delivered, expected);
    assert!(of_delivered < 3 * 1024, "{of_delivered} bytes of a checkpoint say what was delivered");
    let hour = Hour::of(ago(24 * 30)).unwrap();
    assert_eq!(totals.sums[&hour].count, 4, "three on time and one late");
    let kept: HashSet<u64> = totals.identities.values().flatten().copied().collect();
    assert_eq!(kept.len(), 49 * 3, "the identities of two days and of the current hour");
    assert_eq!(ledger.kept_from(now()), Hour::of(ago(48)));
}

#[tokio::test]
async fn a_journal_newer_than_its_checkpoint_is_overwritten() {
    let store = MemoryStore::with_journals();
    let mut ledger = Ledger::begin(ago(10), String::new(), true);
    let fill = |ledger: &mut Ledger, numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| ledger.remember(ago(1), number, now()));
    };
    fill(&mut ledger, 0..300);
    save(&mut ledger, &store).await;
    let stored = encode(&ledger);
    fill(&mut ledger, 300..900);
    // The process crashes before the next checkpoint and continues from the previous one.
    let journal = JournalChange { appends: ledger.take_appends(now()), released: Vec::new() };
    store.commit(&lane(), CheckpointUpdate { checkpoint: stored.clone(), journal }).await.unwrap();
    let mut ledger = decode(&stored).unwrap();
    let totals = ledger.totals(&store, &lane(), ALL).await.unwrap();
    let kept: HashSet<u64> = totals.identities.values().flatten().copied().collect();
    assert_eq!(kept, (0..300).collect(), "bytes after the end of the journal do not count");
    fill(&mut ledger, 1000..1300);
    save(&mut ledger, &store).await;
    let totals = ledger.totals(&store, &lane(), ALL).await.unwrap();
    let kept: HashSet<u64> = totals.identities.values().flatten().copied().collect();
    assert_eq!(kept, (0..300).chain(1000..1300).collect());
}

#[tokio::test]
async fn old_segments_are_released_and_a_lost_one_is_reported() {
    let store = MemoryStore::with_journals();
    let mut ledger = Ledger::begin(ago(40), String::new(), true);
    (0..300_000).for_each(|number| ledger.remember(ago(40), number << 30, now()));
    save(&mut ledger, &store).await;
    (0..300).for_each(|number| ledger.remember(ago(1), number, now()));
    save(&mut ledger, &store).await;
    let segments = || -> Vec<u64> { store.journals().unwrap().keys().map(|(_, number)| *number).collect() };
    assert_eq!(segments(), [0, 1]);
    let later = now().plus(HOUR * 20);
    assert!(ledger.take_appends(later).is_empty());
    assert_eq!(ledger.released(), [0]);

    store.journals().unwrap().get_mut(&(lane(), 1)).unwrap().pop();
    let truncated = ledger.totals(&store, &lane(), ALL).await;
    assert!(matches!(truncated, Err(StateError::Journal { segment: 1, .. })));
    store.journals().unwrap().remove(&(lane(), 1)).unwrap();
    let lost = ledger.totals(&store, &lane(), ALL).await;
    assert!(matches!(lost, Err(StateError::Journal { segment: 1, .. })));
}

/// A lane has a ledger, and so does each of its repairs.
#[tokio::test]
async fn the_totals_of_two_ledgers_add_up() {
    let store = MemoryStore::with_journals();
    let mut both = LedgerTotals::default();
    for numbers in [0..2, 2..5] {
        let mut ledger = Ledger::begin(ago(10), String::new(), true);
        for number in numbers {
            ledger.count(ago(1), identity(number));
            ledger.remember(ago(1), number, now());
        }
        both.merge(ledger.totals(&store, &lane(), ALL).await.unwrap());
    }
    let hour = Hour::of(ago(1)).unwrap();
    let mut sum = Sum::default();
    (0..5).for_each(|number| sum.add(identity(number)));
    assert_eq!((both.sums[&hour], both.identities[&hour].len()), (sum, 5));
}

/// A missing record is detected even if another record is in its place.
#[test]
fn a_sum_identifies_its_records() {
    let sum_of = |numbers: &[u64]| {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(identity(*number)));
        sum
    };
    assert_eq!(sum_of(&[1, 2, 3]), sum_of(&[3, 1, 2]));
    for other in [[1, 2, 4], [1, 2, 2], [4, 5, 6]] {
        assert_ne!(sum_of(&[1, 2, 3]), sum_of(&other));
    }
    assert_eq!(sum_of(&[7]).xor, identity(7).bytes());
    assert_eq!(sum_of(&[7, 8, 7, 8]).xor, [0; 16]);
}

#[test]
fn hours_begin_on_the_hour() {
    let at = |micros| Timestamp::from_micros(micros);
    let hour = Hour(3);
    let micros = 3 * 3_600_000_000;
    assert_eq!((hour.start(), hour.plus(1).start()), (at(micros), at(micros + 3_600_000_000)));
    assert_eq!([micros - 1, micros, micros + 1].map(|micros| Hour::of(at(micros)).unwrap().0), [2, 3, 3]);
    assert_eq!([micros - 1, micros, micros + 1].map(|micros| Hour::from(at(micros)).0), [3, 3, 4]);
    assert_eq!((Hour::of(at(-1)), Hour::from(at(-4_000_000_000))), (None, Hour(0)));
}

#[test]
fn a_segment_grows_to_its_size_before_the_next_begins() {
    let mut journal = Journal::default();
    let mut next = 7;
    let mut append = |bytes| {
        let append = journal.append(Hour(3), vec![0; bytes], &mut next);
        (append.segment, append.offset)
    };
    assert_eq!([append(10), append(20), append((1 << 20) - 30), append(5)], [(7, 0), (7, 10), (7, 30), (8, 0)]);
}

/// A busy lane has hundreds of megabytes of identities, and the worker's regular checks need none of them.
#[tokio::test]
async fn sums_are_read_without_identities() {
    let store = MemoryStore::with_journals();
    let mut ledger = Ledger::begin(ago(40), String::new(), true);
    for number in 0..300 {
        ledger.count(ago(3), identity(number));
        ledger.remember(ago(3), number, now());
    }
    save(&mut ledger, &store).await;
    let segment = ledger.identities.segments().next().unwrap().number;
    store.journals().unwrap().remove(&(lane(), segment)).unwrap();
    assert!(matches!(ledger.totals(&store, &lane(), ALL).await, Err(StateError::Journal { .. })));
    let sums = ledger.sums(&store, &lane(), ALL).await.unwrap().sums;
    assert_eq!(sums.values().map(|sum| sum.count).sum::<u64>(), 300);
    assert!(ledger.totals(&store, &lane(), Hour(0)..Hour(0)).await.is_ok(), "no hour has an identity");
}

/// One sum, or one identity, above the limit moves sums or identities to the journal.
#[test]
fn the_checkpoint_keeps_a_limited_number_of_sums_and_identities() {
    let mut ledger = Ledger::begin(ago(24 * 60), String::new(), true);
    for hours in (0..MAX_SUMS as u32).rev() {
        ledger.count(ago(hours), identity(u64::from(hours)));
    }
    assert!(ledger.take_appends(now()).is_empty());
    assert_eq!(ledger.sums.recent.len(), MAX_SUMS);
    ledger.count(ago(MAX_SUMS as u32), identity(MAX_SUMS as u64));
    assert_eq!(ledger.take_appends(now()).len(), 1);
    assert_eq!(ledger.sums.recent.len(), NEWEST_SUMS);
    assert_eq!(
        ledger.sums.older.segments().map(|segment| segment.newest).collect::<Vec<_>>(),
        [Hour::of(ago(NEWEST_SUMS as u32)).unwrap()]
    );

    for number in 0..MAX_RECENT as u64 {
        ledger.remember(now(), number, now());
    }
    assert!(ledger.take_appends(now()).is_empty());
    ledger.remember(now(), MAX_RECENT as u64, now());
    assert_eq!(ledger.take_appends(now()).len(), 1);
    assert!(ledger.recent.is_empty());
}

/// If a segment were released too early, a repair would deliver its records again.
#[test]
fn a_segment_stays_for_as_long_as_an_hour_in_it_is_kept() {
    let mut ledger = Ledger::begin(ago(100), String::new(), true);
    (0..300).for_each(|number| ledger.remember(ago(48), number, now()));
    assert_eq!(ledger.take_appends(now()).len(), 1);
    assert!(!ledger.identities.is_complete_with(&Default::default()), "its journal is elsewhere");
    ledger.take_appends(now());
    assert_eq!(ledger.released(), [0; 0], "its only hour is the first that is kept");
    ledger.take_appends(now().plus(HOUR));
    assert_eq!(ledger.released(), [0]);
}

/// A busy lane may have too many identities for two days. The ledger does not claim to keep the released ones.
#[test]
fn the_oldest_identities_are_released_if_there_are_too_many() {
    let mut ledger = Ledger::begin(ago(40), String::new(), true);
    let first = Hour::of(ago(30)).unwrap();
    let second = Hour::of(ago(20)).unwrap();
    for number in 0..=MAX_SEGMENTS {
        let newest = if number == 0 { first } else { second };
        ledger.identities.append(newest, vec![0; 1 << 20], &mut ledger.next_segment);
        ledger.take_appends(now());
        let released: &[u64] = if number < MAX_SEGMENTS { &[] } else { &[0] };
        assert_eq!(ledger.released(), released);
    }
    assert_eq!(ledger.kept_from(now()), Some(first.plus(1)));
}

/// If the store keeps no journals, each write of a lane carries its whole ledger: after 90 days little more than after
/// three. The hours of a day that ended three days ago are one count.
#[tokio::test]
async fn without_journals_only_sums_are_kept_and_old_ones_by_the_day() {
    for (busy, max_bytes) in [(1, 4_000), (3_600_000, 4_500)] {
        let mut ledger = Ledger::begin(ago(24 * 100), String::new(), false);
        for hours in (0..24 * 95).rev() {
            let created = ago(hours);
            ledger.sums.recent.entry(Hour::of(created).unwrap()).or_default().merge(&Sum { count: busy, xor: [7; 16] });
            ledger.remember(created, u64::from(hours), now());
            // The lane writes after each hour of its 95 days.
            assert!(ledger.take_appends(created).is_empty());
            assert!(ledger.sums.recent.len() <= 72 + 24 + 1 && ledger.days.len() <= 91, "{hours} hours ago");
            ledger = decode(&encode(&ledger)).unwrap();
        }
        assert!(ledger.recent.is_empty());
        assert!(encode(&ledger).len() < max_bytes, "{} bytes", encode(&ledger).len());
        let first_day = Hour::of(ago(24 * 90)).unwrap().day();
        assert_eq!(
            (ledger.days.keys().next(), ledger.days.get(&first_day.plus(24))),
            (Some(&first_day), Some(&(24 * busy)))
        );
        assert_eq!(ledger.days_until(), Hour::of(ago(72)).unwrap().day());
        assert_eq!(ledger.sums.recent.keys().next(), Some(&ledger.days_until()));
        // A record of long ago is counted with its day.
        ledger.count(first_day.plus(30).start(), identity(1));
        ledger.take_appends(now());
        let store = MemoryStore::default();
        let totals = ledger.totals(&store, &lane(), ALL).await.unwrap();
        assert_eq!(totals.days[&first_day.plus(24)], 24 * busy + 1);
        let counted = totals.days.values().sum::<u64>() + totals.sums.values().map(|sum| sum.count).sum::<u64>();
        assert_eq!(counted, (24 * 90 + u64::from(Hour::of(ago(24 * 90)).unwrap().0 - first_day.0) + 1) * busy + 1);
    }
}

#[test]
fn a_restarted_ledger_releases_its_journal() {
    let mut ledger = Ledger::begin(ago(10), "accountIds=1".to_owned(), true);
    (0..300).for_each(|number| ledger.remember(ago(1), number, now()));
    ledger.take_appends(now());
    ledger.count(ago(1), identity(1));
    ledger.restart(ago(0), String::new(), true);
    assert_eq!((ledger.released(), ledger.since(), ledger.sums.recent.len()), (&[0][..], ago(0), 0));
    assert!(ledger.take_appends(now()).is_empty());
    (0..300).for_each(|number| ledger.remember(ago(0), number, now()));
    let appends = ledger.take_appends(now());
    assert_eq!(
        appends.iter().map(|append| append.segment).collect::<Vec<_>>(),
        [1],
        "a released segment is not used again"
    );
}

proptest! {
    #[test]
    fn an_encoded_ledger_is_decoded(records in prop::collection::vec((0..100_u32, any::<u64>()), 0..400), journals: bool) {
        let mut ledger = Ledger::begin(ago(100), "accountIds=1".to_owned(), journals);
        for (hours, number) in records {
            ledger.count(ago(hours), identity(number));
            ledger.deliver(ago(hours), identity(number));
            ledger.remember(ago(hours), number, now());
        }
        ledger.take_appends(now());
        let bytes = encode(&ledger);
        prop_assert_eq!(decode(&bytes), Ok(ledger));
        for length in 0..bytes.len().min(50) {
            prop_assert!(decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}
