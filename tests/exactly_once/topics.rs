//! Topics that brokers made by themselves, or that someone made without compaction, before the program did.

use serde_json::json;

use super::reader::{Bus, CHECKPOINTS};
use crate::support::harness::Harness;
use crate::support::process::Exit;

async fn harness() -> Harness {
    Harness::new(|setup| (setup.activities, setup.threats) = (100, 20)).await
}

fn assert_done(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_topic_is_compacted_and_keeps_its_other_settings() {
    let Some(bus) = Bus::start().await else { return };
    let harness = harness().await;
    bus.put(&harness, "acme", json!({}));
    // As brokers make it for a client that asks, and as an operator makes it.
    let settings = [("cleanup.policy", "compact,delete"), ("retention.ms", "1000"), ("min.insync.replicas", "1")];
    bus.broker.create_topic(CHECKPOINTS, 2, &settings).await;
    bus.broker.create_topic("lanes", 1, &[]).await;
    bus.broker.create_topic("dead_letters", 1, &[]).await;
    let check = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert!(check.stdout.contains("is empty and will be set to cleanup.policy=compact"), "{}", check.stdout);
    assert_eq!(
        bus.broker.topic_setting(CHECKPOINTS, "cleanup.policy").await,
        "compact,delete",
        "check changes nothing"
    );

    let place = |topic: &str| format!("kafka://{}/{topic}", bus.broker.address());
    let state = place("lanes");
    let dead_letters = place("dead_letters");
    for _ in 0..2 {
        assert_done(&harness.once(&["--state", &state, "--dead-letters", &dead_letters]).await);
    }
    for topic in [CHECKPOINTS, "lanes"] {
        assert_eq!(bus.broker.topic_setting(topic, "cleanup.policy").await, "compact", "{topic}");
    }
    assert_eq!(bus.broker.topic_setting(CHECKPOINTS, "retention.ms").await, "1000");
    assert!(bus.arrived().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_only_ask_make_no_topic() {
    let Some(bus) = Bus::without_topics().await else { return };
    let harness = harness().await;
    bus.put(&harness, "acme", json!({}));
    let place = |topic: &str| format!("kafka://{}/{topic}", bus.broker.address());
    let state = place("lanes");
    let dead_letters = place("dead_letters");
    let flags: [&[&str]; 3] = [
        &["check", "--pipelines", "pipelines"],
        &["state", "list", "--state", &state],
        &["dead-letters", "list", "--dead-letters", &dead_letters],
    ];
    for _ in 0..2 {
        for arguments in flags {
            harness.command(arguments).await;
        }
    }
    let made: Vec<_> = bus.broker.topics().into_keys().filter(|topic| !topic.starts_with("__")).collect();
    assert_eq!(made, [] as [&str; 0]);
    assert_done(&harness.once(&["--state", &state, "--dead-letters", &dead_letters]).await);
    for topic in [CHECKPOINTS, "lanes"] {
        assert_eq!(bus.broker.topic_setting(topic, "cleanup.policy").await, "compact", "{topic}");
    }
}
