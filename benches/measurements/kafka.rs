//! Into Kafka, compared with what librdkafka alone needs for the same messages. The brokers are librdkafka's own
//! doubles, in a process of their own.

use std::io::{BufRead, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::kernel::micros;
use super::world::{Console, HISTORY, Place, Process, pipeline_to};
use super::{Row, Size};

const GOAL: &str = "console → ECS → Kafka: CPU compared with librdkafka producing the same messages";

#[cfg(not(feature = "kafka"))]
mod doubles {
    pub fn brokers() {}
    pub fn produce(_: &str, _: usize) {}
}

#[cfg(feature = "kafka")]
mod doubles {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    use s1_forwarder::record::{Stream, facts};

    use crate::common;

    /// Prints where the brokers are, and runs until its input ends.
    pub fn brokers() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("events", 6, 1).unwrap();
        println!("{}", cluster.bootstrap_servers());
        let _ = std::io::stdin().read_line(&mut String::new());
    }

    /// Produces mapped activities as the worker's sink does, and prints the CPU time in microseconds and the bytes.
    pub fn produce(brokers: &str, count: usize) {
        let mut transformer = common::transformer(Stream::Activities);
        let events: Vec<(String, String, Vec<u8>)> = common::records(Stream::Activities, count)
            .iter()
            .map(|record| {
                let facts = facts(Stream::Activities, record);
                let mut event = Vec::new();
                transformer.map(record, &mut event).unwrap();
                let identity = facts.identity("console.example", record).to_string();
                (format!("console.example/activities/{}", facts.id), identity, event)
            })
            .collect();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("compression.type", "zstd").set("acks", "all");
        config.set("linger.ms", "50").set("queue.buffering.max.messages", "1000000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        let before = crate::measurements::kernel::so_far(std::process::id());
        for (key, identity, event) in &events {
            let headers = [
                ("id", identity.as_str()),
                ("pipeline", "acme"),
                ("stream", "activities"),
                ("host", "console.example"),
                ("schema", "ecs-9.4.0"),
                ("content-type", "application/json"),
            ];
            let headers = headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }));
            let mut record = BaseRecord::to("events").key(key).payload(event).headers(headers);
            while let Err((_, refused)) = producer.send(record) {
                record = refused;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        producer.flush(Duration::from_mins(1)).unwrap();
        let used = crate::measurements::kernel::so_far(std::process::id()).cpu() - before.cpu();
        println!("{}", used.as_micros());
    }
}
pub use doubles::{brokers, produce};

pub fn next_to_librdkafka(size: Size) -> Vec<Row> {
    if !cfg!(feature = "kafka") {
        return vec![Row::report(GOAL, "not measured: built without Kafka".to_owned(), json!({}))];
    }
    let events = size.of(200_000);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut cluster = Process::spawn(command.arg("brokers").stdin(Stdio::piped()).stdout(Stdio::piped()));
    let brokers = cluster.stdout().lines().next().unwrap().unwrap();
    let console = Console::start(events, &[]);
    let place = Place::new();
    let sink = format!("type: kafka\n    brokers: [\"{brokers}\"]\n    topic: events\n    compression: zstd");
    place.pipeline("acme", &pipeline_to(&console.host(0), "", HISTORY, &sink));
    let ours = place.run_once(&[]);

    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut producer = Process::spawn(command.args(["producer", &brokers, &events.to_string()]).stdout(Stdio::piped()));
    let mut said = String::new();
    producer.stdout().read_to_string(&mut said).unwrap();
    let theirs = Duration::from_micros(said.trim().parse().unwrap());
    let each = |time| micros(time, events);
    let ratio = ours.cpu().as_secs_f64() / theirs.as_secs_f64();
    let measured =
        format!("{ratio:.2} ({:.1} µs and {:.1} µs an event, user and system)", each(ours.cpu()), each(theirs));
    let figures = json!({ "events": events, "ours_us": each(ours.cpu()), "librdkafka_us": each(theirs) });
    vec![Row::report(GOAL, measured, figures)]
}
