//! `state export|import` from a directory into a topic and back.

use crate::support::kafka::Broker;
use crate::support::transfer::{done, goes_on, half_way};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_a_kafka_topic_and_back() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else {
        return;
    };
    let harness = half_way().await;
    let topic = format!("kafka://{}/moved-{:x}", broker.address(), fastrand::u32(..));
    done(&harness, &["state", "export", "export"]).await;
    done(&harness, &["state", "import", "export", "--state", &topic]).await;
    let again = harness.command(&["state", "import", "export", "--state", &topic]).await;
    assert!(again.code == Some(1) && again.stderr.contains("already"), "{}", again.stderr);
    goes_on(&harness, &topic).await;
    let listed = done(&harness, &["state", "show", "acme/activities/siem"]).await.stdout;
    let moved = done(&harness, &["state", "show", "acme/activities/siem", "--state", &topic]).await.stdout;
    let ledger_line = |text: &str| text.lines().find(|line| line.starts_with("ledger:")).unwrap().to_owned();
    assert_eq!(ledger_line(&listed), ledger_line(&moved), "the ledger went along");

    done(&harness, &["state", "export", "export", "--state", &topic]).await;
    done(&harness, &["state", "import", "export", "--state", "file:back"]).await;
    goes_on(&harness, "file:back").await;
}
