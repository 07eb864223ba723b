//! Every command that prints, with an output that is no longer read: `| head`.

use std::process::Stdio;

use serde_json::json;

use crate::support::harness::Harness;
use crate::support::process::program;

/// Runs a command whose output is a closed pipe, and its standard error too if `both`. Returns code and errors.
async fn run(harness: &Harness, arguments: &[&str], both: bool) -> (Option<i32>, String) {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let mut command = program(harness.root(), arguments);
    command.stdout(closed());
    if both {
        command.stderr(closed());
    }
    if arguments[0] == "map" {
        command.stdin(std::fs::File::open(harness.path("records.json")).unwrap());
    }
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_output_ends_no_command_in_a_panic() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (30, 5)).await;
    harness.put_changed("acme", json!({ "streams": { "threats": { "interval": "1s", "since": "30d" } } }));
    // One event of each request is refused, so there are dead letters.
    harness.sink.contract(|rules| rules.event_bytes = Some(10));
    harness.write("records.json", "{\"id\":\"1\",\"activityType\":27}\n");
    let mut worker = harness.worker_with(&["--accept-refusals", "acme/activities/siem"]);
    let url = worker.url().await;
    worker.lane("acme/threats/siem", |lane| lane["state"] != "starting").await;
    for arguments in [&["status", "--url", &url][..], &["status", "--all", "--format", "json", "--url", &url]] {
        let (code, errors) = run(&harness, arguments, false).await;
        assert!(code == Some(0) && errors.is_empty(), "{arguments:?}: {code:?} {errors}");
    }
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));

    let file = "pipelines/acme.yaml";
    let run_once = ["run", "--once", "--pipelines", "pipelines", "--accept-refusals", "acme/threats/siem"];
    let window = ["--from", "2d", "--to", "now", "--requests-per-second", "1000"];
    let backfill = ["backfill", file, "--stream", "threats", "--once-timeout", "1s"];
    let backfill = [&backfill[..], &window].concat();
    let verify = [&["verify", file][..], &window].concat();
    let init =
        ["init", "new.yaml", "--offline", "--console", "https://c.example", "--token-file", "t", "--sink", "file"];
    for (arguments, codes) in [
        (&["--help"][..], &[0][..]),
        (&["run", "--help"], &[0]),
        (&["--version"], &[0]),
        (&["schema"], &[0]),
        (&["schema", "--kubernetes"], &[0]),
        (&["completions", "bash"], &[0]),
        (&init, &[0]),
        (&["check", "pipelines"], &[0]),
        (&["check", "pipelines", "--offline", "--settings", "--format", "json"], &[0]),
        (&["check", "nothing"], &[2]),
        (&["map", "--schema", "ecs", "--stream", "activities"], &[0]),
        (&["preview", file], &[0]),
        (&["activity-types", file], &[0]),
        (&run_once, &[0, 1]),
        (&["dead-letters", "list"], &[0]),
        (&["dead-letters", "list", "--format", "json"], &[0]),
        (&["dead-letters", "replay", file, "--once-timeout", "1s"], &[0, 1]),
        (&["dead-letters", "purge", "--all"], &[0]),
        (&backfill, &[0, 1]),
        (&verify, &[0, 1]),
        (&["report", "--from", "2d", "--to", "now"], &[0]),
        (&["report", "--from", "2d", "--to", "now", "--format", "html"], &[0]),
        (&["state", "list"], &[0]),
        (&["state", "show", "acme/activities/siem"], &[0]),
        (&["state", "set", "acme/activities/siem", "--to", "2026-01-01"], &[0]),
        (&["state", "rename", "acme", "other"], &[0]),
        // A truncated export is not one.
        (&["state", "export"], &[1]),
        (&["state", "export", "exported"], &[0]),
        (&["state", "delete", "other"], &[0]),
        // What replays have delivered is stored next to the checkpoints, and stays.
        (&["state", "import", "--replace", "exported"], &[0]),
        (&["emulate", "--listen", "127.0.0.1:0", "--activities", "10"], &[0]),
        (&["demo", "--for", "1s"], &[0]),
    ] {
        let (code, errors) = run(&harness, arguments, false).await;
        let code = code.unwrap();
        let is_quiet = !errors.contains("panicked");
        assert!(codes.contains(&code) && is_quiet, "{arguments:?}: {code}\n{errors}");
    }
    // With `2>&1 | head` the texts about errors are not read either.
    for arguments in [
        &["check", "nothing"][..],
        &["nonsense"],
        &["run", "--once", "--log-level", "debug", "pipelines"],
        &["state", "list", "--state", "file:nothing"],
        &["map", "--schema", "ecs", "--stream", "activities", "--report"],
        &["preview", "nothing"],
    ] {
        let (code, _) = run(&harness, arguments, true).await;
        assert!(code.is_some_and(|code| code <= 2), "{arguments:?}: {code:?}");
    }
}

/// No process will ever read the events, so the run does not wait for that until its timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_events_nobody_reads_ends_with_a_failure() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"] = json!([{ "name": "siem", "type": "stdout" }]);
    harness.put("acme", &pipeline);
    let (code, errors) =
        run(&harness, &["run", "--once", "--pipelines", "pipelines", "--once-timeout", "1d"], false).await;
    assert!(code == Some(1) && errors.contains("no process reads standard output any more"), "{code:?} {errors}");
}
