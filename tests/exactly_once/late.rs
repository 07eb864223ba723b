//! A request of a transaction that reaches the broker after the client has repeated it, and while the client's next
//! transaction is open: its events are stored, and its checkpoint is not. Nothing is lost, and nothing comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use s1_forwarder::checkpoint::CheckpointKey;
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::state::{Access, StoreLocation};
use serde_json::json;

use super::reader::{Bus, arrived};
use crate::support::harness::{Harness, setting};
use crate::support::kafka::Broker;
use crate::support::kafka_proxy::{KafkaProxy, Late, Script, Verdict};
use crate::support::kcat;
use crate::support::process::{PATIENCE, Process, until, until_within};

const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];
/// INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED.
const FENCED: [i16; 3] = [47, 49, 90];

/// How the transaction ends, or the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Kill,
    Abort,
    /// Another worker takes the lanes over.
    SecondWorker,
}

/// A customer with topics and a transactional id of its own.
struct Case {
    name: String,
    late: Late,
    ending: Ending,
    harness: Harness,
    script: Arc<Script>,
    broker: Arc<Broker>,
}

impl Case {
    async fn new(proxy: &KafkaProxy, broker: &Arc<Broker>, late: Late, ending: Ending) -> Self {
        let name = format!("{late:?}-{ending:?}").to_lowercase();
        let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (600, 100, 50.0)).await;
        let checkpoints = format!("{name}.checkpoints");
        for topic in Self::topics(&name) {
            broker.create_topic(&topic, 2, &[]).await;
        }
        let changes = json!({ "topic": format!("{name}.{{stream}}"), "checkpoint_topic": checkpoints });
        Bus { broker: broker.clone() }.put(&harness, "acme", changes);
        let script = proxy.script(&name, &checkpoints);
        Self { name, late, ending, harness, script, broker: broker.clone() }
    }

    fn topics(name: &str) -> [String; 2] {
        ["activities", "threats"].map(|stream| format!("{name}.{stream}"))
    }

    fn worker(&self, state: usize) -> Process {
        self.harness.worker_with(&["--instance", &self.name, "--state", &format!("file:state-{state}")])
    }

    /// Returns the answers to the late requests.
    async fn run(&self, rounds: usize) -> Vec<i16> {
        let mut answers = Vec::new();
        let mut worker = self.worker(0);
        for round in 1..=rounds {
            // Transactions are committed as usual.
            let before = self.script.commits();
            until("transactions are committed", async || (self.script.commits() > before + 2).then_some(())).await;
            self.script.arm(self.late);
            if self.late == Late::InitProducerId {
                worker.kill().await;
                worker = self.worker(0);
            }
            answers.push(self.script.late().await);
            worker = self.end(worker, round).await;
        }
        self.harness.console().set_rate(0.0, system_clock());
        self.everything_once().await;
        answers
    }

    async fn end(&self, worker: Process, round: usize) -> Process {
        // A late commit needs no more to show its effect. A late abort does once the transaction is committed.
        let is_open = self.late == Late::Commit;
        if !is_open {
            let before = self.script.commits();
            self.script.judge(Verdict::Forward);
            until("the transaction is committed", async || (self.script.commits() > before).then_some(())).await;
        }
        match self.ending {
            Ending::Kill => {
                worker.kill().await;
                self.script.judge(Verdict::Drop);
                self.worker(0)
            }
            Ending::Abort if is_open => {
                self.script.judge(Verdict::Refuse);
                worker
            }
            Ending::Abort => {
                self.script.refuse_next().await;
                worker
            }
            Ending::SecondWorker => {
                let mut second = self.worker(round);
                for stream in ["activities", "threats"] {
                    second.lane(&format!("acme/{stream}/bus"), |lane| lane["state"] == "running").await;
                }
                self.script.judge(Verdict::Drop);
                worker.kill().await;
                second
            }
        }
    }

    async fn everything_once(&self) {
        let topics = Self::topics(&self.name);
        let arrived = || arrived(&self.broker.address(), &topics.each_ref().map(String::as_str));
        until_within(2 * PATIENCE, "everything is there", async || {
            let arrived = arrived();
            BOTH.iter().flat_map(|kind| self.harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
        })
        .await;
        // A repetition may be committed after the last record.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let arrived = arrived();
        self.harness.assert_all_arrived(&BOTH, &arrived);
        let repeated: BTreeMap<_, _> = arrived.iter().filter(|(_, count)| **count > 1).collect();
        assert!(repeated.is_empty(), "{}: {} of {} came again", self.name, repeated.len(), arrived.len());
        println!("{}: {} records, each once", self.name, arrived.len());
    }
}

/// None where there is no Kafka, or no kcat.
async fn start() -> Option<(KafkaProxy, Arc<Broker>)> {
    kcat::there()?;
    let proxy = KafkaProxy::start().await;
    let broker = tokio::task::block_in_place(|| Broker::start_behind(&proxy))?;
    Some((proxy, Arc::new(broker)))
}

/// Each case runs the same number of rounds.
async fn run(
    (proxy, broker): &(KafkaProxy, Arc<Broker>),
    cases: &[(Late, Ending)],
    rounds: usize,
) -> Vec<(Late, Vec<i16>)> {
    let case = async |(late, ending): &(Late, Ending)| {
        let case = Case::new(proxy, broker, *late, *ending).await;
        (*late, case.run(rounds).await)
    };
    join_all(cases.iter().map(case)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_or_an_abort_that_arrives_late_ends_no_other_transaction() {
    let rounds = setting("S1_FORWARDER_LATE_ROUNDS", 2);
    let endings = [Ending::Kill, Ending::Abort, Ending::SecondWorker];
    let cases: Vec<_> =
        [Late::Commit, Late::Abort].into_iter().flat_map(|late| endings.map(|ending| (late, ending))).collect();
    let Some(started) = start().await else { return };
    for (late, answers) in run(&started, &cases, rounds).await {
        assert!(answers.iter().all(|code| FENCED.contains(code)), "a late {late:?} was answered with {answers:?}");
    }
}

/// librdkafka and the brokers handle these: a sequence number is known, a partition is in the transaction already, or
/// the producer is fenced and its lanes are opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_of_a_transaction_may_arrive_late() {
    let rounds = setting("S1_FORWARDER_LATE_ROUNDS", 2).div_ceil(2);
    let cases = [Late::AddPartitions, Late::Produce, Late::InitProducerId].map(|late| (late, Ending::Kill));
    let Some(started) = start().await else { return };
    tokio::join!(run(&started, &cases, rounds), a_write_outlives_several_ends_of_its_session(&started));
}

/// A producer writes as `--state kafka:` does. The client repeats the last commit of one session and the first one of
/// the next, which end with it while a write waits. No other process has written.
async fn a_write_outlives_several_ends_of_its_session((proxy, broker): &(KafkaProxy, Arc<Broker>)) {
    // To the proxy, each record is an event.
    let script = proxy.script("own-state", "none");
    let location: StoreLocation = format!("kafka://{}/own-state", broker.address()).parse().unwrap();
    let store = location.open("own-state", Access::Write { owner: "test" }, None).await.unwrap();
    let key: CheckpointKey = "acme/threats/siem".parse().unwrap();
    assert_eq!(store.claim(&key).await.unwrap(), None);
    store.commit(&key, vec![1].into()).await.unwrap();
    script.arm(Late::Commit);
    let repeats = async {
        script.held().await;
        // The next session begins seconds later.
        script.arm(Late::Commit);
        script.held().await;
    };
    let writes = async {
        for number in [2, 3] {
            store.commit(&key, vec![number].into()).await.unwrap();
        }
    };
    tokio::join!(writes, repeats);
    assert_eq!(store.load(&key).await.unwrap(), Some(vec![3]));
    store.close().await;
}
