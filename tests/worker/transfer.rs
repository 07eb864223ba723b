//! `state export|import`: a lane that is half done goes on from another store; a damaged file is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::harness::Harness;
use crate::support::transfer::{done, goes_on, half_way};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_another_directory_and_what_is_not_whole_is_refused() {
    let harness = half_way().await;
    let exported = done(&harness, &["state", "export"]).await;
    fs::write(harness.path("export"), &exported.stdout).unwrap();
    let import = |state: &'static str, file: &'static str| {
        let harness = &harness;
        async move { harness.command(&["state", "import", file, "--state", state]).await }
    };

    let damaged = exported.stdout.replacen("file:state", "file:other", 1);
    let lines: Vec<_> = exported.stdout.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n") + "\n";
    let left_out = [&lines[..1], &lines[2..]].concat().join("\n") + "\n";
    let newer = exported.stdout.replacen("\"v\":1", "\"v\":3", 1);
    for (text, reported) in [
        (damaged.as_str(), "is damaged"),
        (&cut, "is truncated"),
        (&left_out, "is damaged"),
        (&newer, "a newer release wrote it (version 3, this release reads up to 2): use that release"),
        ("something else\n", "not a file of `state export`"),
    ] {
        fs::write(harness.path("wrong"), text).unwrap();
        let exit = import("file:other", "wrong").await;
        assert!(exit.code == Some(1) && exit.stderr.contains(reported), "{reported}: {}", exit.stderr);
        assert!(!harness.path("other").exists(), "{reported}: nothing was written, and no store was made");
    }

    let exit = import("file:other", "export").await;
    assert_eq!(exit.stdout, "2 checkpoints imported into file:other\n", "{}", exit.stderr);
    goes_on(&harness, "file:other").await;

    // Existing checkpoints are not lost by mistake, and no command writes next to a worker.
    let exit = import("file:other", "export").await;
    assert!(exit.code == Some(1) && exit.stderr.contains("already, and of 1 more"), "{}", exit.stderr);
    let mut worker = harness.worker_with(&["--state", "file:other"]);
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    let while_running = done(&harness, &["state", "export", "later", "--state", "file:other"]).await;
    assert!(while_running.stderr.contains("a worker uses this state"), "{}", while_running.stderr);
    let exit = harness.command(&["state", "import", "export", "--replace", "--state", "file:other"]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("in use by another process"), "{}", exit.stderr);
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));

    // It names customers: also a file that existed is for its owner alone.
    let mode = || fs::metadata(harness.path("later")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(harness.path("later"), fs::Permissions::from_mode(0o644)).unwrap();
    done(&harness, &["state", "export", "later", "--state", "file:other"]).await;
    assert_eq!(mode(), 0o600);
    let before = done(&harness, &["state", "show", "acme/activities/siem", "--state", "file:other"]).await;
    done(&harness, &["state", "delete", "acme/activities/siem", "--state", "file:other"]).await;
    let replaced = done(&harness, &["state", "import", "later", "--replace", "--state", "file:other"]).await;
    assert_eq!(replaced.stdout.matches(" moved from 2").count(), 1, "the other one was not there: {}", replaced.stdout);
    let after = done(&harness, &["state", "show", "acme/activities/siem", "--state", "file:other"]).await;
    assert_eq!(before.stdout, after.stdout);
    goes_on(&harness, "file:other").await;
}

/// Another user may have put it there: the export would overwrite its target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_writes_into_no_other_file() {
    let harness = Harness::new(|_| {}).await;
    fs::create_dir(harness.path("state")).unwrap();
    harness.write("target", "foreign\n");
    std::os::unix::fs::symlink(harness.path("target"), harness.path("export")).unwrap();
    let exit = harness.command(&["state", "export", "export"]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("a symbolic link is in its place"), "{}", exit.stderr);
    fs::hard_link(harness.path("target"), harness.path("second")).unwrap();
    let exit = harness.command(&["state", "export", "second"]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("several names (hard links)"), "{}", exit.stderr);
    assert_eq!(fs::read_to_string(harness.path("target")).unwrap(), "foreign\n");
}
