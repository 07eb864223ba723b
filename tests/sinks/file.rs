use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient};
use s1_forwarder::record::{Identity, Stream};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, context, settings, sink, sink_in};

#[tokio::test]
async fn events_are_lines_of_the_file_that_the_path_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("{pipeline}/{stream}-{label.customer}.ndjson");
    let file = sink(json!({ "type": "file", "path": path }));
    let batch = batch(0..3);
    for _ in 0..2 {
        let attempt = file.send(&batch).await;
        assert_eq!((attempt.outcome, attempt.status.label()), (Outcome::Delivered, "ok"));
        assert_eq!(attempt.bytes as usize, batch.body_bytes() + 3);
    }
    let written = std::fs::read_to_string(directory.path().join("acme/activities-acme-eu.ndjson")).unwrap();
    let expected: String = batch.events().map(|event| format!("{}\n", str::from_utf8(event.body).unwrap())).collect();
    assert_eq!(written, expected.repeat(2));
}

/// The author of a file chooses its labels, and the operator the directory.
#[test]
fn a_label_does_not_lead_out_of_the_directory() {
    for (path, label) in
        [("/files/{label.up}/state/x", ".."), ("/files/.{label.up}/x", "."), ("/f/{label.up}", "a/../../b")]
    {
        let mut context = context(Stream::Threats);
        context.labels.insert("up".to_owned(), label.to_owned());
        let refused = settings(json!({ "type": "file", "path": path })).build(&context).unwrap_err().to_string();
        assert!(refused.contains("leaves the directory"), "{refused}");
        context.labels.insert("up".to_owned(), "a/b".to_owned());
        assert!(settings(json!({ "type": "file", "path": path })).build(&context).is_ok(), "{path}");
    }
}

#[tokio::test]
async fn an_envelope_says_where_a_record_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("raw.ndjson");
    let file = sink_in(json!({ "type": "file", "path": path, "envelope": true }), &context(Stream::Threats));
    let mut batch = Batch::new(Stream::Threats);
    let identity = Identity::of("h", Stream::Threats, "7", "v");
    for error in [None, Some("no \"id\"".into())] {
        batch.push_with("7", identity, None, |out| {
            out.extend_from_slice(b"{\"n\": 1.0}");
            error
        });
    }
    assert_eq!(file.send(&batch).await.outcome, Outcome::Delivered);
    let written = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    let start =
        format!(r#"{{"id":"{identity}","pipeline":"acme","stream":"threats","labels":{{"customer":"acme-eu"}}"#);
    assert_eq!(lines[0], format!(r#"{start},"record":{{"n": 1.0}}}}"#), "the record's own bytes");
    assert_eq!(serde_json::from_str::<Value>(lines[1]).unwrap()["error"], "no \"id\"");
}

#[tokio::test]
async fn lanes_that_share_a_file_do_not_tear_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.ndjson");
    let lanes = (0..8_u32).map(|lane| {
        let file = sink(json!({ "type": "file", "path": path }));
        tokio::spawn(async move {
            for round in 0..20 {
                let first = lane * 10_000 + round * 100;
                assert_eq!(file.send(&batch(first..first + 100)).await.outcome, Outcome::Delivered);
            }
        })
    });
    futures_util::future::try_join_all(lanes).await.unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    let ids: std::collections::BTreeSet<String> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((written.lines().count(), ids.len()), (16_000, 16_000));
}

#[tokio::test]
async fn a_full_disk_may_pass_and_a_wrong_path_does_not() {
    let full = sink(json!({ "type": "file", "path": "/dev/full" }));
    assert_eq!(full.send(&batch(0..1)).await.outcome.failure_kind(), Some(Transient));

    let directory = tempfile::tempdir().unwrap();
    let wrong = sink(json!({ "type": "file", "path": directory.path() }));
    let Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) = wrong.send(&batch(0..1)).await.outcome else {
        panic!("a directory")
    };
    assert!(reason.contains(&directory.path().display().to_string()), "the path is named: {reason}");
    assert!(matches!(wrong.probe().await, ProbeResult::Failed(_)));

    let fine = sink(json!({ "type": "file", "path": directory.path().join("new/events.ndjson") }));
    assert!(matches!(fine.probe().await, ProbeResult::Verified(_)));
    assert!(!directory.path().join("new").exists(), "a probe makes nothing");
}
