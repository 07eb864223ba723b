//! `verify` with the ledger in a topic.

use std::collections::BTreeSet;

use s1_forwarder::emulator::Kind;

use crate::support::completeness::{MISSING, hour, number, two_streams};
use crate::support::kafka::Broker;

/// A topic does what files do: what a lane delivered of the last two days is reported by identity, across starts and
/// another store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_are_remembered_in_a_kafka_topic_too() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else {
        return;
    };
    let harness = two_streams().await;
    let state = format!("kafka://{}/ledgers-{:08x}", broker.address(), fastrand::u32(..));
    let flags = ["--state", state.as_str(), "--dead-letters", "file:dead"];
    assert_eq!(harness.once(&flags).await.code, Some(0));
    let journals = async || {
        let exported = harness.command(&["state", "export", "--state", &state]).await;
        assert_eq!(exported.code, Some(0), "{}", exported.stderr);
        exported.stdout.matches("\"kind\":\"journal\"").count()
    };
    assert!(journals().await > 0, "two days hold more than fits into a checkpoint");

    let mut late = harness.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3);
    late.extend(harness.appear_late(Kind::Threats, hour(7) + 60_000_000, 2));
    assert_eq!(harness.once(&flags).await.code, Some(0));
    let before = harness.sink.ledger().counts();
    let exit = harness.verify(&flags).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(number(&exit, "threats", MISSING), 2, "{}", exit.stdout);
    assert!(late.iter().filter(|id| exit.stdout.contains(*id)).count() >= 3, "they are named: {}", exit.stdout);
    assert_eq!(harness.sink.ledger().counts(), before, "verify alone delivers nothing");

    let exit = harness.verify(&[&flags[..], &["--repair"]].concat()).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let counts = harness.sink.ledger().counts();
    let arrived: BTreeSet<String> = counts.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    assert!(arrived.is_subset(&late) && arrived.len() >= 2, "{arrived:?} {late:?}");
    assert!(counts.values().all(|count| *count == 1), "what was delivered was delivered again");
    let exit = harness.verify(&flags).await;
    assert_eq!(exit.code, Some(0), "the repair is remembered: {}{}", exit.stdout, exit.stderr);

    // A renamed lane takes its journal along, a removed one leaves none.
    let kept = journals().await;
    for arguments in [&["rename", "acme", "globex"][..], &["delete", "globex/threats/siem"]] {
        let exit = harness.command(&[&["state"], arguments, &["--state", &state]].concat()).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(journals().await > 0 && journals().await <= kept, "{arguments:?}");
    }
    let exit = harness.command(&["state", "delete", "globex/activities/siem", "--state", &state]).await;
    assert_eq!((exit.code, journals().await), (Some(0), 0), "{}", exit.stderr);
}
