//! Two pipelines that send the same records to the same place.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::harness::{Harness, merge};
use crate::support::process::until;

/// Pairs of pipelines that differ in `changes`, and whether they are duplicates. Each pair has a console of its own.
fn pairs() -> Vec<(&'static str, [Value; 2], bool)> {
    const ONE: &str = "225494730938493804";
    const TWO: &str = "225494730938493805";
    let sites = |ids: &[&str]| json!({ "console": { "sites": ids } });
    let sink = |changes: Value| json!({ "sink": changes });
    let hec = |changes: Value| {
        let mut sink = json!({ "type": "splunk_hec", "url": "https://splunk.example:8088", "token": "t" });
        merge(&mut sink, changes);
        json!({ "sink": sink })
    };
    let none = || json!({});
    vec![
        ("equal", [none(), none()], true),
        ("paused", [none(), json!({ "enabled": false })], false),
        ("other-token", [none(), json!({ "console": { "token": "another" } })], false),
        ("second-token", [none(), json!({ "console": { "token": ["s3cret", "next"] } })], true),
        ("part", [none(), sites(&[ONE])], true),
        ("part-of-other-token", [none(), json!({ "console": { "sites": [ONE], "token": "another" } })], false),
        ("contained", [sites(&[ONE]), sites(&[TWO, ONE])], true),
        ("equal-scope-of-other-token", [sites(&[ONE]), json!({ "console": { "sites": [ONE], "token": "b" } })], true),
        ("overlap", [sites(&[ONE, "225494730938493806"]), sites(&[TWO, ONE])], false),
        ("other-sites", [sites(&[ONE]), sites(&[TWO])], false),
        ("other-level", [sites(&[ONE]), json!({ "console": { "groups": [ONE] } })], false),
        ("narrower", [sites(&[ONE]), json!({ "console": { "sites": [ONE], "groups": [TWO] } })], true),
        ("other-streams", [none(), json!({ "streams": { "threats": null, "agents": {} } })], false),
        ("other-place", [none(), sink(json!({ "url": "https://siem.example/other" }))], false),
        ("same-place-in-other-words", [none(), sink(json!({ "url": "HTTPS://SIEM.example:443/in" }))], true),
        ("other-form", [none(), sink(json!({ "envelope": true, "batch": { "events": 5 }, "name": "b" }))], true),
        ("other-header", [none(), sink(json!({ "headers": { "x-tenant": "b" } }))], false),
        ("label", [none(), json!({ "transform": { "labels": { "customer": "b" } } })], true),
        ("index", [hec(json!({ "index": "a" })), hec(json!({ "index": "b" }))], false),
        ("index-of-pipeline", [hec(json!({ "index": "{pipeline}" })), hec(json!({ "index": "{pipeline}" }))], false),
        (
            "index-of-label",
            ["a", "b"].map(|label| {
                let mut pipeline = hec(json!({ "index": "s1-{label.customer}" }));
                merge(&mut pipeline, json!({ "transform": { "labels": { "customer": label } } }));
                pipeline
            }),
            false,
        ),
        (
            "index-of-console-label",
            ["{site.name}", "{account.name}"].map(|label| {
                let mut pipeline = hec(json!({ "index": "s1-{label.customer}" }));
                merge(&mut pipeline, json!({ "transform": { "labels": { "customer": label } } }));
                pipeline
            }),
            false,
        ),
        ("hec-token", [hec(none()), hec(json!({ "token": "other" }))], false),
        (
            "hec-addresses",
            [
                hec(json!({ "url": null, "urls": ["https://b.example", "https://a.example/services/collector"] })),
                hec(json!({ "url": null, "urls": ["https://a.example", "https://b.example"] })),
            ],
            true,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_show_which_lanes_send_the_same_records_to_the_same_place() {
    let harness = Harness::new(|_| {}).await;
    let mut expected = BTreeMap::new();
    for (name, changes, is_duplicate) in pairs() {
        for (file, changes) in ["a", "b"].into_iter().zip(changes) {
            let mut pipeline = json!({
                "console": { "url": format!("https://{name}.example"), "token": "s3cret" },
                "streams": { "threats": {} },
            });
            let mut sink = json!({ "type": "http", "name": "siem", "url": "https://siem.example/in" });
            let mut changes = changes;
            if let Some(change) = changes.as_object_mut().unwrap().remove("sink") {
                if !change["type"].is_null() {
                    sink = json!({ "name": "siem" });
                }
                merge(&mut sink, change);
            }
            pipeline["sinks"] = json!([sink]);
            merge(&mut pipeline, changes);
            harness.put(&format!("{name}-{file}"), &pipeline);
        }
        expected.insert(name.to_owned(), is_duplicate);
    }
    // Two sinks of one pipeline are meant: here the second one has another schema.
    let mut twice = harness.pipeline(json!({ "console": { "url": "https://one-pipeline.example" } }));
    twice["sinks"] =
        json!(["a", "b"].map(|name| json!({ "type": "http", "name": name, "url": "https://siem.example" })));
    harness.put("one-pipeline-a", &twice);
    expected.insert("one-pipeline".to_owned(), false);

    let exit = harness.command(&["check", "--offline", "--pipelines", "pipelines", "--format", "json"]).await;
    assert_eq!(exit.code, Some(0), "a duplicate is no failure: {}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for pipeline in report["pipelines"].as_array().unwrap() {
        let name = pipeline["name"].as_str().unwrap();
        let (pair, file) = name.rsplit_once('-').unwrap();
        let other = format!("{pair}-{}", if file == "a" { "b" } else { "a" });
        let findings = pipeline["findings"].as_array().unwrap().iter();
        let warnings: Vec<_> = findings.filter(|finding| !finding["warning"].is_null()).collect();
        for finding in &warnings {
            let warning = finding["warning"].as_str().unwrap();
            assert!(warning.starts_with(&format!("duplicate of {other}/threats/")), "{name}: {warning}");
        }
        *found.entry(pair.to_owned()).or_default() |= !warnings.is_empty();
    }
    assert_eq!(found, expected);
}

/// The sinks belong to one pipeline or to several, whatever their consoles: the ids are those of one namespace in one
/// index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_of_different_ocsf_versions_at_one_place_get_a_warning() {
    let harness = Harness::new(|_| {}).await;
    let sink = |name: &str, changes: Value| {
        let mut sink = json!({ "type": "elasticsearch", "name": name, "url": "https://es.example", "schema": "ocsf", "index": "s1" });
        merge(&mut sink, changes);
        sink
    };
    let older = || json!({ "ocsf_version": "1.3.0" });
    let pipelines = [
        ("a", json!([sink("new", json!({})), sink("old", older()), sink("ecs", json!({ "schema": "ecs" }))])),
        (
            "b",
            json!([sink("old", older()), sink("elsewhere", json!({ "ocsf_version": "1.3.0", "index": "s1-older" }))]),
        ),
        ("c", json!([sink("new", json!({}))])),
    ];
    for (name, sinks) in pipelines {
        let mut pipeline = harness.pipeline(json!({ "console": { "url": format!("https://{name}.example") } }));
        pipeline["sinks"] = sinks;
        harness.put(name, &pipeline);
    }
    let exit = harness.command(&["check", "--offline", "--pipelines", "pipelines", "--format", "json"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let mut found = Vec::new();
    for pipeline in report["pipelines"].as_array().unwrap() {
        for finding in pipeline["findings"].as_array().unwrap().iter().filter(|finding| !finding["warning"].is_null()) {
            let warning = finding["warning"].as_str().unwrap();
            assert!(
                warning.starts_with("sink new of a writes to the same place in another `ocsf_version`"),
                "{warning}"
            );
            found.push(format!("{}: {}", pipeline["name"].as_str().unwrap(), finding["subject"].as_str().unwrap()));
        }
    }
    assert_eq!(found, ["a: sink old", "b: sink old"]);
}

/// Many pipelines are compared in a time that grows as that of sorting, and each lane names the first other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_duplicates_names_one_other() {
    let harness = Harness::new(|_| {}).await;
    let site =
        |index: u64| json!({ "console": { "url": "https://c.example", "sites": [200_000_000_000_000_000 + index] } });
    for index in 0..300 {
        harness.put_changed(&format!("p{index:03}"), site(index / 2));
    }
    let exit = harness.command(&["check", "--offline", "--pipelines", "pipelines"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let rows = exit.stdout.lines().filter(|line| line.contains("duplicate of "));
    for (index, row) in rows.enumerate() {
        let other = format!("p{:03}/activities/siem", index ^ 1);
        let row = row.trim_start();
        assert!(row.starts_with(&format!("p{index:03}")) && row.contains(&format!("duplicate of {other}:")), "{row}");
    }
    assert!(exit.stdout.contains("300 valid; 300 lanes are duplicates"), "{}", exit.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_file_is_named_by_the_log_the_pages_and_the_gauge_while_it_is_there() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.write("sink-token", "canary");
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["headers"] = json!({ "x-key": { "file": harness.path("sink-token") } });
    harness.put("acme", &pipeline);
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "running").await;
    assert_eq!(lane["warnings"], json!([]));
    assert_eq!(worker.metrics().await.samples("duplicate_lanes").collect::<Vec<_>>(), [("", 0.0)]);

    let copied = harness.path("pipelines/acme-copy.yaml");
    fs::copy(harness.path("pipelines/acme.yaml"), &copied).unwrap();
    for (lane, other) in [("acme", "acme-copy"), ("acme-copy", "acme")] {
        let text = format!("duplicate of {other}/activities/siem");
        let warned = worker.lane(&format!("{lane}/activities/siem"), |lane| lane["warnings"] == json!([text])).await;
        assert_eq!((&warned["up"], &warned["error"]), (&json!(true), &Value::Null), "{warned}");
        let (_, page) = worker.get(&format!("/pipelines/{lane}")).await;
        assert!(page.contains(&text), "{page}");
    }
    worker.logged(&["WARN", "\"pipeline\":\"acme\"", "\"duplicate_of\":\"acme-copy/"]).await;
    assert_eq!(worker.metrics().await.sum("duplicate_lanes", &[]), 2);
    let (_, page) = worker.get("/").await;
    assert!(page.contains("duplicate of acme/activities/siem"), "{page}");
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url, "--wide"]).await.stdout;
    assert!(status.contains("duplicate of acme-copy/activities/siem"), "{status}");
    assert!(status.contains("2 up, 0 failing, 2 with a warning (--warned shows them)"), "{status}");
    let warned = harness.command(&["status", "--url", &url, "--warned"]).await.stdout;
    let entry = "acme/activities/siem: running\n  duplicate of acme-copy/activities/siem\n";
    assert!(warned.starts_with(entry) && warned.ends_with("2 up, 0 failing, 2 with a warning\n"), "{warned}");
    let one = harness.command(&["status", "--url", &url, "--warned", "acme"]).await.stdout;
    assert!(one.contains(entry) && !one.contains("acme-copy/activities/siem: running"), "{one}");
    let check = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(check.code, Some(0), "{}", check.stdout);
    assert!(check.stdout.contains("2 valid; 2 lanes are duplicates; all connections work"), "{}", check.stdout);

    fs::remove_file(copied).unwrap();
    worker.lane("acme/activities/siem", |lane| lane["warnings"] == json!([])).await;
    assert_eq!(worker.metrics().await.sum("duplicate_lanes", &[]), 0);
    worker.logged(&["INFO", "no duplicates", "\"other\":\"acme-copy\""]).await;
    let reported =
        worker.log().iter().filter(|line| line["level"] == "WARN" && !line["duplicate_of"].is_null()).count();
    assert_eq!(reported, 1, "once for both");
    assert!(!worker.log_text().contains("canary"));
}

/// A tenant must not learn whether another tenant's file says the same: it would confirm a guessed token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_see_no_duplicates_but_their_own() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    for tenant in ["one", "two"] {
        fs::create_dir_all(harness.path("secrets").join(tenant)).unwrap();
        fs::create_dir_all(harness.path("pipelines").join(tenant)).unwrap();
        fs::copy(harness.path("token"), harness.path("secrets").join(tenant).join("token")).unwrap();
    }
    let put = |tenant: &str, name: &str| {
        let token = harness.path("secrets").join(tenant).join("token");
        harness
            .put(&format!("{tenant}/{name}"), &harness.pipeline(json!({ "console": { "token": { "file": token } } })));
    };
    put("one", "a");
    put("two", "b");
    let flags = [
        "--pipelines",
        "pipelines/two",
        "--tenant-files",
        "--secrets-dir",
        "secrets/{directory}",
        "--allow-private-destinations",
    ];
    let mut worker = Harness::worker_with(&harness, &[&["--pipelines", "pipelines/one"][..], &flags[..]].concat());
    // The operator sees it.
    worker.logged(&["WARN", "\"pipeline\":\"a\"", "\"duplicate_of\":\"b/activities/siem\""]).await;
    until("both lanes count", async || (worker.metrics().await.sum("duplicate_lanes", &[]) == 2).then_some(())).await;
    for lane in worker.lanes().await.values() {
        assert_eq!(lane["warnings"], json!([]), "{lane}");
    }
    put("two", "c");
    for (lane, other) in [("b", "c"), ("c", "b")] {
        let text = format!("duplicate of {other}/activities/siem");
        worker.lane(&format!("{lane}/activities/siem"), |lane| lane["warnings"] == json!([text])).await;
    }
    assert_eq!(worker.lanes().await["a/activities/siem"]["warnings"], json!([]));
    assert_eq!(worker.metrics().await.sum("duplicate_lanes", &[]), 3);
}
