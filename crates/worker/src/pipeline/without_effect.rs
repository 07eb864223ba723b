//! Finds settings that do nothing, or not what they seem to.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_destinations::SinkSettings;
use s1_forwarder_engine::source::{Enrichment, PullSettings, SilentAfter};
use s1_forwarder_settings::Period;

use super::Pipeline;
use super::check::follow;
use super::problem::{Problem, Severity};
use super::yaml::Node;

/// A lane that polls more often mostly asks for nothing.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// More batches at a time than any destination takes in parallel.
const MAX_CONCURRENCY: u64 = 64;
/// Options of librdkafka for consumers. A sink produces.
const OF_CONSUMERS: [&str; 10] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.poll.interval.ms",
    "session.timeout.ms",
];

/// Warns of settings that do nothing, or not what they seem to.
pub(super) fn warn(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    for pull in &pipeline.pulls {
        stream(root, pull, &pipeline.sinks, problems);
    }
    let console = root.nearest(&["console"]);
    if let Some(tls) = console.get("tls")
        && is_plain(console)
    {
        problems.push(Problem::at(&tls.place, "console.tls", Severity::Warning, NOT_ENCRYPTED));
    }
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    for (index, (node, settings)) in nodes.iter().zip(&pipeline.sinks).enumerate() {
        let mut found = Vec::new();
        sink(node, settings, &mut found);
        for (key, message) in found {
            let place = &follow(node, &key).place;
            problems.push(Problem::at(place, &format!("sinks[{index}].{key}"), Severity::Warning, message));
        }
    }
    if let Some(node) = root.nearest(&["transform"]).get("remap")
        && node.text().is_some_and(|program| program.trim() == "abort")
    {
        let message = "`abort` alone drops every event, so that nothing is delivered; write the condition before it, as in \
                       `if .event.action == \"agent-heartbeat\" { abort }`";
        problems.push(Problem::at(&node.place, "transform.remap", Severity::Warning, message));
    }
}

fn stream(root: &Node, pull: &PullSettings, sinks: &[Arc<SinkSettings>], problems: &mut Vec<Problem>) {
    let name = pull.stream.name();
    let mut warn = |key: &str, message: String| {
        let place = &root.nearest(&["streams", name, key]).place;
        problems.push(Problem::at(place, &format!("streams.{name}.{key}"), Severity::Warning, message));
    };
    let takes_threats = |sink: &Arc<SinkSettings>| {
        sink.accepts(pull.stream) && sink.type_settings.as_sink_type().sends_console_notifications()
    };
    if pull.addition() == Some(Enrichment::Threats) && !sinks.iter().any(takes_threats) {
        let message = "without effect: only a `syslog` sink with `content: integration` uses the fetched values";
        warn("include", message.to_owned());
    }
    if pull.overlap.is_zero() && root.nearest(&["streams", name]).get("overlap").is_some() {
        let message = "without an overlap, a record that becomes visible after its own time is never delivered; leave the \
                       key out for five minutes";
        warn("overlap", message.to_owned());
    }
    if !pull.interval.is_zero() && pull.interval < MIN_INTERVAL {
        let message = format!(
            "the console is asked about {} times a second, as far as `requests_per_second` allows; a minute is usual",
            1_000 / pull.interval.as_millis().max(1)
        );
        warn("interval", message);
    }
    if let SilentAfter::Period(period) = pull.silent_after
        && !period.0.is_zero()
        && period.0 < pull.interval
    {
        let message = format!(
            "the stream is polled every {}, so that it counts as silent between two polls with records: give a longer \
             period",
            Period(pull.interval)
        );
        warn("silent_after", message);
    }
}

const NOT_ENCRYPTED: &str = "without effect: the address begins with http://, and the connection is not encrypted";
/// Keys of connections, which a sink without one ignores.
const OF_CONNECTIONS: [&str; 3] = ["timeout", "proxy", "tls"];

/// Adds the keys below the sink, each with a message about it.
fn sink(node: &Node, settings: &SinkSettings, found: &mut Vec<(String, String)>) {
    if let Some(Node { value: super::yaml::Value::Unsigned(concurrency), .. }) = node.get("concurrency") {
        let used = settings.concurrency();
        if *concurrency > used as u64 {
            let message = format!("without effect above {used}: so many batches of a lane are under way at a time");
            found.push(("concurrency".to_owned(), message));
        } else if *concurrency > MAX_CONCURRENCY {
            let message = format!(
                "{concurrency} batches would be under way at a time; the memory budget ends that long before, and after a \
                 kill all of them are sent again; destinations gain nothing above {MAX_CONCURRENCY}"
            );
            found.push(("concurrency".to_owned(), message));
        }
    }
    let type_name = node.get("type").and_then(Node::text);
    if let Some("file" | "stdout") = type_name {
        for key in OF_CONNECTIONS.iter().filter(|key| node.get(key).is_some()) {
            found.push(((*key).to_owned(), "without effect: the sink opens no connection".to_owned()));
        }
    }
    if node.get("tls").is_some() && is_plain(node) {
        found.push(("tls".to_owned(), NOT_ENCRYPTED.to_owned()));
    }
    match type_name {
        Some("kafka") => kafka(node, found),
        Some("file") => {
            if let Some(path) = node.get("path").and_then(Node::text)
                && path.contains('%')
            {
                let message = "`%` is not expanded: only {pipeline}, {stream} and {label.NAME} are filled in; \
                               rotate the file by renaming it";
                found.push(("path".to_owned(), message.to_owned()));
            }
        }
        Some("elasticsearch") => {
            let urls = node.get("url").into_iter().chain(node.get("urls").map_or(&[][..], Node::list));
            if urls.filter_map(Node::text).any(|url| url.trim_end_matches('/').ends_with("/_bulk")) {
                let message = "the sink adds `/_bulk` itself: write the address without it";
                found.push(("url".to_owned(), message.to_owned()));
            }
        }
        _ => {}
    }
}

/// Returns whether requests go to addresses without TLS alone.
fn is_plain(node: &Node) -> bool {
    let mut urls = node.get("url").into_iter().chain(node.get("urls").map_or(&[][..], Node::list)).peekable();
    urls.peek().is_some()
        && urls.all(|url| url.text().is_some_and(|url| url.trim().to_ascii_lowercase().starts_with("http://")))
}

fn kafka(node: &Node, found: &mut Vec<(String, String)>) {
    let options = node.get("options").map_or(&[][..], Node::entries);
    let protocol = options.iter().find(|entry| entry.key == "security.protocol").and_then(|entry| entry.node.text());
    let has_sasl = protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().starts_with("sasl"));
    // With these the sink encrypts by itself.
    let sets_protocol = ["auth", "oauth", "tls"].iter().any(|key| node.get(key).is_some());
    let is_encrypted = sets_protocol
        || protocol.is_some_and(|protocol| ["ssl", "sasl_ssl"].contains(&&*protocol.to_ascii_lowercase()));
    for entry in options {
        let key = entry.key.as_str();
        let message = if key.starts_with("sasl.") && !has_sasl && !sets_protocol {
            "without effect: the connection uses SASL only with `security.protocol: SASL_SSL` (or SASL_PLAINTEXT), and \
             connects without authentication now"
        } else if key.starts_with("ssl.") && !is_encrypted {
            "without effect: the connection uses TLS only with `security.protocol: SSL` (or SASL_SSL), and is not encrypted \
             now"
        } else if OF_CONSUMERS.contains(&key) || key.starts_with("fetch.") {
            "without effect: it is for consumers, and a sink only produces"
        } else {
            continue;
        };
        found.push((format!("options.{key}"), message.to_owned()));
    }
}
