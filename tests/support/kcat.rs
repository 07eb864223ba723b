//! kcat: a Kafka consumer that shares no code with this program's reading.

use std::process::Command;

use super::cache::or_skip;

/// Longer than its own five seconds, which a busy broker may need.
const PATIENCE_SECONDS: &str = "60";

/// Returns `None` if kcat is missing; in CI that is a failure.
pub fn there() -> Option<()> {
    let found = Command::new("kcat").arg("-V").output();
    or_skip("kcat", found.map(drop).map_err(|error| error.to_string()))
}

/// All that was committed to a topic, in a format of kcat's. Nothing where there is no topic.
pub fn committed(brokers: &str, topic: &str, format: &str) -> String {
    let mut command = Command::new("kcat");
    command.args(["-b", brokers, "-t", topic, "-C", "-e", "-q", "-o", "beginning", "-m", PATIENCE_SECONDS]);
    // The broker answers at the end of a partition at once, not after half a second.
    command.args(["-X", "isolation.level=read_committed", "-X", "fetch.wait.max.ms=10"]);
    let output = command.args(["-f", format]).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    if problem.contains("Unknown topic or partition") {
        return String::new();
    }
    assert!(output.status.success(), "{problem}");
    String::from_utf8(output.stdout).unwrap()
}
