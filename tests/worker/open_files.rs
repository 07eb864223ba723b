//! The limit of open files: each connection is one.

use s1_forwarder::emulator::Setup;
use serde_json::json;
use tokio::process::Command;

use crate::support::harness::Harness;
use crate::support::process::{Process, program};

/// A worker that a shell starts with these limits, as `ulimit` takes them.
fn limited(harness: &Harness, limits: &str) -> Process {
    let worker = program(harness.root(), &["run", "--pipelines", "pipelines", "--listen", "127.0.0.1:0"]);
    let worker = worker.as_std();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(worker.get_program()).args(worker.get_args());
    for (name, _) in worker.get_envs().filter(|(_, value)| value.is_none()) {
        shell.env_remove(name);
    }
    shell.current_dir(harness.root()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    shell.kill_on_drop(true);
    Process::spawn(shell)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_raises_its_limit_of_open_files_and_names_one_that_is_too_low() {
    let harness = Harness::new(|setup: &mut Setup| setup.activities = 3).await;
    for pipeline in 0..30 {
        harness.put_changed(&format!("p{pipeline}"), json!({}));
    }
    let mut raised = limited(&harness, "ulimit -Sn 128; ulimit -Hn 700");
    let line = raised.logged(&["open files", "128", "700"]).await;
    raised.lane("p29/activities/siem", |lane| lane["state"] == "running").await;
    let metrics = raised.metrics().await.0;
    assert!(metrics.contains("process_max_fds 700\n"), "{line}\n{metrics}");
    assert!(!raised.log_text().contains("too low"), "{}", raised.log_text());

    raised.kill().await;

    // 30 sinks, one console, and others.
    let low = limited(&harness, "ulimit -n 230");
    low.logged(&["the limit of open files may be too low", "\"limit\":230", "\"needed\":231"]).await;
    assert!(!low.log_text().contains("as far as this process may"), "nothing was raised: {}", low.log_text());
}
