//! `--dead-letters kafka://BROKERS/TOPIC`, against a real Apache Kafka: kept before the checkpoint moves, shown, sent
//! again, taken out; and what becomes of lanes whose dead letters cannot be kept.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use crate::support::double::FaultRule;
use crate::support::harness::Harness;
use crate::support::kafka::Broker;
use crate::support::process::{Exit, Process, program, until};

/// A harness whose dead letters are in a topic of its own.
struct DeadLetterTopic {
    harness: Harness,
    broker: Arc<Broker>,
    topic: String,
}

impl DeadLetterTopic {
    /// None where there is no Kafka. With records of which `poison` are larger than the receiver takes.
    async fn new(broker: Option<Arc<Broker>>, poison: usize) -> Option<Self> {
        let broker = broker?;
        let harness = Harness::new(|setup| setup.activities = 300).await;
        for minutes in 0..poison as i64 {
            harness.console().generate_oversized(
                Kind::Activities,
                system_clock() - (minutes + 10) * 60_000_000,
                150_000,
            );
        }
        harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
        harness.put_changed("acme", json!({}));
        Some(Self { harness, broker, topic: format!("dead_letters-{:08x}", fastrand::u32(..)) })
    }

    async fn shared(poison: usize) -> Option<Self> {
        Self::new(tokio::task::spawn_blocking(Broker::shared).await.unwrap(), poison).await
    }

    fn store(&self) -> String {
        self.store_within(30_000)
    }

    /// Dead letters that are not accepted within `timeout` milliseconds are not kept.
    fn store_within(&self, timeout: u32) -> String {
        format!("kafka://{}/{}?message.timeout.ms={timeout}", self.broker.address(), self.topic)
    }

    async fn command(&self, arguments: &[&str]) -> Exit {
        self.harness.command(&[&["dead-letters"], arguments, &["--dead-letters", &self.store()]].concat()).await
    }

    async fn listed(&self, filter: &[&str]) -> Vec<Value> {
        let exit = self.command(&[&["list", "--format", "json"], filter].concat()).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every activity has arrived once or is a letter, none is both.
    async fn assert_nothing_lost(&self) {
        let counts = self.harness.sink.ledger().counts();
        assert!(counts.values().all(|count| *count == 1), "something came twice");
        let arrived: BTreeSet<String> = counts.into_keys().collect();
        let dead_letters = self.listed(&[]).await;
        let dead_letters: BTreeSet<_> =
            dead_letters.iter().map(|letter| letter["identity"].as_str().unwrap().to_owned()).collect();
        assert!(arrived.is_disjoint(&dead_letters));
        assert_eq!(&arrived | &dead_letters, self.harness.owed(Kind::Activities));
    }
}

const REPLAY: [&str; 3] = ["replay", "--pipelines", "pipelines"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_in_a_topic_are_listed_replayed_and_purged_next_to_a_worker() {
    let Some(dead_letters) = DeadLetterTopic::shared(4).await else { return };
    let harness = &dead_letters.harness;
    // Larger than a message may be.
    harness.console().generate_oversized(Kind::Activities, system_clock() - 3_600_000_000, 1_400_000);
    assert_eq!(dead_letters.command(&["list"]).await.stdout, "no dead letters\n", "there is no topic yet");
    let mut worker = harness.worker_with(&["--dead-letters", &dead_letters.store()]);
    let good = harness.owed(Kind::Activities).len() - 5;
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 5 && lane["delivered"] == good).await;
    assert!(dead_letters.broker.read(&dead_letters.topic).len() > 5, "the large one is cut");
    assert_eq!(dead_letters.broker.topic_setting(&dead_letters.topic, "cleanup.policy").await, "compact");
    assert!(!harness.path("state/dead-letters").exists());
    dead_letters.assert_nothing_lost().await;
    for (flag, value, found) in [
        ("--pipeline", "acme", 5),
        ("--stream", "threats", 0),
        ("--until", "2020-01-01T00:00:00Z", 0),
        ("--status", "400", 5),
        ("--reason", "too long", 5),
        ("--limit", "2", 2),
    ] {
        assert_eq!(dead_letters.listed(&[flag, value]).await.len(), found, "{flag} {value}");
    }

    // Refused again: kept again, none lost, none twice.
    let exit = dead_letters.command(&[&REPLAY[..], &["--limit", "2"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "0 delivered, 2 refused again\n"), "{}", exit.stderr);
    dead_letters.assert_nothing_lost().await;

    harness.sink.contract(|rules| rules.event_bytes = None);
    let exit = dead_letters.command(&[&REPLAY[..], &["--limit", "3"]].concat()).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "3 delivered, 0 refused again\n"), "{}", exit.stderr);
    assert_eq!(dead_letters.listed(&[]).await.len(), 2);
    dead_letters.assert_nothing_lost().await;
    let exit = dead_letters.command(&["purge", "--limit", "1"]).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "1 dead letters removed\n"), "{}", exit.stderr);
    let exit = dead_letters.command(&REPLAY).await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "1 delivered, 0 refused again\n"), "{}", exit.stderr);
    assert!(dead_letters.listed(&[]).await.is_empty());

    // The worker goes on keeping dead letters in the same place.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 6).await;
    assert_eq!(dead_letters.listed(&[]).await.len(), 1);
    assert_eq!(dead_letters.command(&["purge", "--all"]).await.stdout, "1 dead letters removed\n");
    assert_eq!(dead_letters.command(&["list"]).await.stdout, "no dead letters\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_in_a_second_topic_next_to_the_state() {
    let Some(dead_letters) = DeadLetterTopic::shared(2).await else { return };
    let DeadLetterTopic { harness, broker, topic } = &dead_letters;
    let state = format!("kafka://{}/{topic}?client.id=s1", broker.address());
    let once = harness.once(&["--state", &state]).await;
    assert_eq!(once.code, Some(0), "{}{}", once.stdout, once.stderr);
    assert!(once.stdout.contains(" 2 (2 new)  complete"), "{}", once.stdout);
    let list = ["dead-letters", "list", "--format", "json", "--state", &state];
    let listed = harness.command(&list).await;
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 2), "{}", listed.stderr);
    assert_eq!(broker.topic_setting(&format!("{topic}-dead-letters"), "cleanup.policy").await, "compact");

    // A worker knows them after its start, and hears of a command that removes one.
    let mut worker = harness.worker_with(&["--state", &state]);
    let stored = |count: u64| move |lane: &Value| lane["dead_letters_stored"] == count && lane["dead_letters"] == 0;
    worker.lane("acme/activities/siem", stored(2)).await;
    let purge = ["dead-letters", "purge", "--limit", "1", "--state", &state];
    assert_eq!(harness.command(&purge).await.stdout, "1 dead letters removed\n");
    worker.lane("acme/activities/siem", stored(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_letter_and_checkpoint_loses_none() {
    let Some(dead_letters) = DeadLetterTopic::shared(0).await else { return };
    let harness = &dead_letters.harness;
    let flags = ["--dead-letters", &dead_letters.store()];
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&flags).await.code, Some(0));
    let mut worker = harness.worker_with(&flags);
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    // What its first poll changed is in the checkpoint by then; no other can be written any more.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let lane = harness.path("state/lanes/acme/activities");
    let aside = harness.path("aside");
    fs::rename(&lane, &aside).unwrap();
    fs::write(&lane, "in the way").unwrap();
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    until("the letter is kept", async || (dead_letters.listed(&[]).await.len() == 1).then_some(())).await;
    worker.kill().await;
    fs::remove_file(&lane).unwrap();
    fs::rename(&aside, &lane).unwrap();

    assert_eq!(harness.once(&flags).await.code, Some(0));
    dead_letters.assert_nothing_lost().await;
    // What it was kept twice for was the kill: both have one identity.
    assert_eq!(dead_letters.listed(&[]).await.len(), 2);
}

/// Brokers keep the lock: a second command is refused while one takes dead letters out, and for a while after one was
/// killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_at_a_time_takes_dead_letters_out_of_a_topic() {
    let Some(dead_letters) = DeadLetterTopic::shared(3).await else { return };
    let harness = &dead_letters.harness;
    let store = dead_letters.store();
    assert_eq!(harness.once(&["--dead-letters", &store]).await.code, Some(0));
    assert_eq!(dead_letters.listed(&[]).await.len(), 3);
    harness.sink.contract(|rules| rules.event_bytes = None);
    let away = || {
        let answer = FaultRule::answer(503, "");
        harness.sink.misbehave(1, vec![(1.0, answer)]);
    };
    let start = async || {
        let before = harness.sink.requests().len();
        let arguments = [&["dead-letters"], &REPLAY[..], &["--dead-letters", &store]].concat();
        let replay = Process::spawn(program(harness.root(), &arguments));
        until("dead letters are sent", async || (harness.sink.requests().len() > before).then_some(())).await;
        replay
    };

    away();
    let killed = start().await;
    killed.kill().await;
    let refused = "another command removes dead letters from it";
    let exit = dead_letters.command(&REPLAY).await;
    assert!(exit.code == Some(1) && exit.stderr.contains(refused), "{}{}", exit.stdout, exit.stderr);
    until("the one that was killed is forgotten", async || {
        let exit = dead_letters.command(&["purge", "--reason", "no such reason"]).await;
        (exit.code == Some(0)).then_some(())
    })
    .await;

    let first = start().await;
    for arguments in [&REPLAY[..], &["purge", "--all"]] {
        let exit = dead_letters.command(arguments).await;
        assert!(exit.code == Some(1) && exit.stderr.contains(refused), "{}{}", exit.stdout, exit.stderr);
    }
    assert_eq!(dead_letters.listed(&[]).await.len(), 3, "a command that only reads needs no lock");
    harness.sink.misbehave(1, Vec::new());
    let exit = first.exit().await;
    assert_eq!((exit.code, exit.stdout.as_str()), (Some(0), "3 delivered, 0 refused again\n"), "{}", exit.stderr);
    assert_eq!(dead_letters.command(&REPLAY).await.stdout, "0 delivered, 0 refused again\n", "it has let go");
    dead_letters.assert_nothing_lost().await;

    let typo = format!("{store}&sasl.pasword=s3cret");
    let exit = harness.command(&["dead-letters", "list", "--dead-letters", &typo]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("option `sasl.pasword`"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("s3cret"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_takes_no_letter_stops_the_lane_until_it_does() {
    let broker = tokio::task::spawn_blocking(|| Broker::start().map(Arc::new)).await.unwrap();
    let Some(dead_letters) = DeadLetterTopic::new(broker, 1).await else { return };
    let harness = &dead_letters.harness;

    // What forgets, and what is full, is refused: the lane stops and says so.
    dead_letters.broker.create_topic("forgetful", 1, &[("cleanup.policy", "delete")]).await;
    dead_letters.broker.write("forgetful", "key").await;
    let forgetful = format!("kafka://{}/forgetful", dead_letters.broker.address());
    for (flags, reported) in [
        (&["--dead-letters", forgetful.as_str()][..], "would forget dead letters; set it to compact"),
        (
            &["--dead-letters", &dead_letters.store(), "--dead-letters-max", "100KB"],
            "have reached 50000 bytes, their share of 100000",
        ),
    ] {
        let mut worker = harness.worker_with(flags);
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
        assert!(lane["error"].as_str().unwrap().contains(reported), "{lane}");
        worker.signal("TERM").await;
        assert_eq!(worker.exit().await.code, Some(0));
    }

    let mut worker = harness.worker_with(&["--dead-letters", &dead_letters.store_within(3_000)]);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1 && lane["up"] == true).await;
    let broker = dead_letters.broker.clone();
    tokio::task::spawn_blocking(move || broker.stop()).await.unwrap();
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "stopped").await;
    assert!(lane["error"].as_str().unwrap().contains("cannot store dead letters in kafka://"), "{lane}");
    assert_eq!(lane["dead_letters"], 1, "{lane}");
    worker.logged(&["lane is failing", "cannot store dead letters in kafka://"]).await;
    let broker = dead_letters.broker.clone();
    tokio::task::spawn_blocking(move || broker.run()).await.unwrap();
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 2 && lane["up"] == true).await;
    dead_letters.assert_nothing_lost().await;
}
