use proptest::prelude::*;
use s1_forwarder_engine::checkpoint::CheckpointBackend;
use s1_forwarder_engine::checkpoint::ledger::{Hour, Sum};
use s1_forwarder_state::FileStore;

use super::*;
use crate::verify::ledger_reader::{LedgerKind, LedgerReader};

const NOW: Timestamp = Timestamp::from_micros(1_795_432_000_000_000);

fn hours_ago(hours: u32) -> Timestamp {
    NOW.minus(Duration::from_hours(1) * hours)
}

/// The fate of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Delivered,
    Excluded,
    Refused,
    /// The record is refused, and a replay delivers it.
    Replayed,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop::sample::select(vec![Fate::Delivered, Fate::Excluded, Fate::Refused, Fate::Replayed])
}

async fn store(store: &FileStore, key: &CheckpointKey, checkpoint: &mut LaneCheckpoint) {
    let journal = JournalChange { appends: checkpoint.take_appends(NOW), released: Vec::new() };
    let update = CheckpointUpdate { checkpoint: checkpoint.encode(), journal };
    store.commit(key, update).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each stage accounts for some records, stores, and is killed while it accounts for more of them. It goes on from
    /// the stored checkpoint, and its dead letters are replayed. The ledger may begin again between two stages.
    #[test]
    fn the_sums_are_those_of_what_the_sink_has_acknowledged(
        stages in prop::collection::vec((prop::collection::vec((0..100_u32, fate()), 0..120), any::<bool>()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let area = |name: &str| Arc::new(FileStore::open(&directory.path().join(name)).unwrap());
            let (live, replays, repairs) = (area("live"), area("replays"), area("repairs"));
            let lane: LaneId = "acme/activities/siem".parse().unwrap();
            let key = CheckpointKey::from(lane.clone());
            let since = hours_ago(200);
            let ledger = Ledger::begin(since, String::new(), true);
            let position = SourcePosition::starting_at(since);
            let mut checkpoint =
                LaneCheckpoint::begin("h".into(), "".into(), "".into(), since, position, ledger);
            let mut expected: BTreeMap<Hour, Sum> = BTreeMap::new();
            let mut number = 0_u64;
            for (records, begins_again) in stages {
                if begins_again {
                    // Whatever was delivered before is pulled and delivered again.
                    checkpoint.ledger.restart(since, String::new(), true);
                    expected.clear();
                }
                let killed = checkpoint.clone();
                let mut replayed = Vec::new();
                for is_killed in [true, false] {
                    checkpoint = killed.clone();
                    for (place, (hours, fate)) in records.iter().enumerate() {
                        let created = hours_ago(*hours);
                        let id = (number + place as u64).to_string();
                        let identity = Identity::of("h", Stream::Activities, &id, "");
                        checkpoint.ledger.count(created, identity);
                        if *fate == Fate::Delivered {
                            checkpoint.ledger.deliver(created, identity);
                        }
                        if is_killed {
                            continue;
                        }
                        if *fate == Fate::Replayed {
                            replayed.push(Replayed { lane: lane.clone(), created, identity });
                        }
                        if [Fate::Delivered, Fate::Replayed].contains(fate) {
                            expected.entry(Hour::of(created).unwrap()).or_default().add(identity);
                        }
                    }
                    if is_killed {
                        checkpoint.take_appends(NOW);
                    } else {
                        store(&live, &key, &mut checkpoint).await;
                    }
                }
                number += records.len() as u64;
                let part = StoredPart::Replays { generation: checkpoint.ledger.generation() };
                let replays_key = CheckpointKey { lane: lane.clone(), part };
                let rest = replayed.split_off(replayed.len() / 2);
                for replayed in [replayed, rest] {
                    add_replayed(&*replays, &replays_key, replayed, NOW).await.unwrap();
                }
            }
            let reader =
                LedgerReader { lane, which: LedgerKind::Current, live, repairs, replays: Some(replays) };
            for hour in (0..=100).map(|hours| Hour::of(hours_ago(hours)).unwrap()) {
                let delivered = reader.account(hour..hour.plus(1)).await.unwrap().delivered(hour);
                assert_eq!(delivered, Some(expected.get(&hour).copied().unwrap_or_default()), "{hour}");
            }
            let before = Hour::from(since).minus(1);
            assert_eq!(reader.account(before..before.plus(1)).await.unwrap().delivered(before), None);
        });
    }
}
