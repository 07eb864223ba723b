//! The pipeline files of docs/guides/, each run as it is between an emulated console and a double of its destination.
//! Only addresses are replaced.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use s1_forwarder::console::Endpoint;
use s1_forwarder::emulator::{Kind, Scope, Setup, Token};
use s1_forwarder::record::Stream;
use serde_json::Value;

use crate::support::double::Double;
use crate::support::harness::Harness;
use crate::support::receiver::{Receiver, Rules, Signed};
use crate::support::sekoia::Sekoia;
use crate::support::splunk_hec::{Collector, Hec};

/// A guide by the name of its page and its file.
struct Guide {
    name: &'static str,
    /// Where the file sends events to.
    address: &'static str,
    /// The secret of the destination, in the directory of secrets.
    secret: &'static str,
    /// The streams of the file, and the kinds of records that these read.
    reads: &'static [(Stream, Kind)],
}

const SEKOIA: Guide = Guide {
    name: "sekoia",
    address: "https://intake.sekoia.io",
    secret: "sekoia.key",
    reads: &[(Stream::Threats, Kind::Threats), (Stream::Activities, Kind::Activities)],
};
const UNIZO: Guide = Guide {
    name: "unizo",
    address: "https://app.example",
    secret: "application.hmac",
    reads: &[(Stream::Agents, Kind::Agents), (Stream::Threats, Kind::Threats)],
};
const NOPSEC: Guide = Guide {
    name: "nopsec",
    address: "/var/lib/s1-forwarder/export",
    secret: "none",
    reads: &[(Stream::Agents, Kind::Agents), (Stream::Vulnerabilities, Kind::Vulnerabilities)],
};
const NETWRIX: Guide = Guide {
    name: "netwrix-privilege-secure",
    address: "https://splunk.example:8088",
    secret: "hec.token",
    reads: &[(Stream::Activities, Kind::Activities), (Stream::Agents, Kind::Agents)],
};
const THREATDEFENCE: Guide = Guide {
    name: "threatdefence",
    address: "https://siem.example",
    secret: "siem.token",
    reads: &[(Stream::Threats, Kind::Threats), (Stream::Activities, Kind::Activities), (Stream::Alerts, Kind::Alerts)],
};
const ALL: [Guide; 5] = [SEKOIA, UNIZO, NOPSEC, NETWRIX, THREATDEFENCE];

/// A console with some of everything, the guide's file with the addresses of this test, and the secrets that it names.
async fn harness(guide: &Guide, to: &str, secret: &str) -> Harness {
    let harness = Harness::new(|setup| {
        setup.activities = 300;
        setup.threats = 60;
        setup.agents = 40;
        setup.alerts = 50;
        setup.unified_alerts = 20;
        setup.vulnerabilities = 120;
        // Within every `since` of the files.
        setup.span = Duration::from_hours(6);
    })
    .await;
    harness.console().set_token(role(guide, None));
    let file = harness.shipped(guide.name, &[(guide.address, to)]);
    assert!(!file.contains("https://"), "an address of {} is not replaced", guide.name);
    harness.write(&format!("pipelines/{}.yaml", guide.name), &file);
    // An editor ends the last line.
    harness.write(&format!("pipelines/secrets/{}", guide.secret), &format!("{secret}\n"));
    harness
}

/// A token whose role can read what the guide names and nothing else, or not even `without`.
fn role(guide: &Guide, without: Option<Kind>) -> Token {
    let reads = |kind: Kind| guide.reads.iter().any(|(_, read)| *read == kind) && without != Some(kind);
    Kind::ALL.into_iter().filter(|kind| !reads(*kind)).fold(Token::new(Setup::TOKEN), Token::without)
}

/// The steps of each guide: `check`, which finds nothing to complain of and delivers nothing, and a run.
async fn follow(harness: &Harness) {
    let exit = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stderr.lines().all(|line| line.contains("unencrypted")), "{}", exit.stderr);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.lines().skip(1).all(|row| row.trim_end().ends_with("complete")), "{}", exit.stdout);
}

/// How many records of a kind the console shows.
fn shown(harness: &Harness, kind: Kind, scope: &Scope) -> usize {
    harness.console().visible_versions(kind, scope).len()
}

/// How many different events of a data set there are.
fn count(events: &[Value], dataset: &str) -> usize {
    let of = events.iter().filter(|event| event["event"]["dataset"] == format!("sentinel_one.{dataset}"));
    of.map(|event| event["sentinel_one"]["identity"].as_str().unwrap()).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_sekoia_fills_an_intake() {
    let intake = Double::start(Sekoia::default()).await;
    let key = intake.contract(|intake| intake.key.clone());
    let harness = harness(&SEKOIA, &intake.url(), &key).await;
    follow(&harness).await;
    let records: Vec<Value> = intake
        .contract(|intake| intake.events.clone())
        .into_iter()
        .map(|(record, _)| serde_json::from_str(&record).unwrap())
        .collect();
    let (threats, activities): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.get("threatInfo").is_some());
    assert_eq!(threats.len(), shown(&harness, Kind::Threats, &Scope::Global));
    assert_eq!(activities.len(), shown(&harness, Kind::Activities, &Scope::Global));
    assert!(activities.iter().all(|record| record["activityType"].is_number()), "the console's own records");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_unizo_posts_signed_events_to_an_application() {
    let rules = Rules { signature: Some((Signed::StandardWebhooks, b"key of the application")), ..Rules::default() };
    let application = Receiver::start(rules).await;
    let harness = harness(&UNIZO, &application.url(), "key of the application").await;
    follow(&harness).await;
    let events = application.events();
    assert_eq!(count(&events, "threat"), shown(&harness, Kind::Threats, &Scope::Global));
    assert_eq!(count(&events, "agent"), shown(&harness, Kind::Agents, &Scope::Global));
    let agents: Vec<_> = events.iter().filter(|event| event["event"]["dataset"] == "sentinel_one.agent").collect();
    assert!(agents.iter().all(|event| event["host"]["id"].is_string()), "{}", agents[0]);
    let requests = application.requests();
    assert!(requests.iter().filter(|seen| seen.method == "POST").all(|seen| seen.body.starts_with('[')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_nopsec_writes_assets_and_findings_as_files() {
    let directory = tempfile::tempdir().unwrap();
    let harness = harness(&NOPSEC, directory.path().to_str().unwrap(), "").await;
    follow(&harness).await;
    let read = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let assets = read("acme-agents.ndjson");
    let (end, assets) = assets.split_last().unwrap();
    assert_eq!(end["event"]["action"], "snapshot-complete");
    assert_eq!(end["sentinel_one"]["snapshot"]["records"], assets.len());
    assert_eq!(count(assets, "agent"), shown(&harness, Kind::Agents, &Scope::Global));
    let findings = read("acme-vulnerabilities.ndjson");
    assert_eq!(count(&findings, "vulnerability"), shown(&harness, Kind::Vulnerabilities, &Scope::Global));
    // A finding is joined to its asset by the agent's id.
    let known: BTreeSet<_> = assets.iter().map(|event| event["host"]["id"].as_str().unwrap()).collect();
    let joined = findings.iter().filter(|event| known.contains(event["host"]["id"].as_str().unwrap())).count();
    assert!(joined > findings.len() / 2, "{joined} of {} findings have an asset", findings.len());
    assert!(findings.iter().all(|event| event["vulnerability"]["id"].is_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_netwrix_brings_the_activities_of_one_account_to_splunk() {
    let splunk = Collector::start(Hec::default()).await;
    let harness = harness(&NETWRIX, &splunk.url(), "t0ken").await;
    follow(&harness).await;
    let account: u64 = 225_494_730_938_493_804;
    let ours = Scope::Accounts(vec![account]);
    let events: Vec<Value> = splunk.events().into_iter().map(|event| event["event"].clone()).collect();
    assert_eq!(count(&events, "activity"), shown(&harness, Kind::Activities, &ours));
    assert_eq!(count(&events, "agent"), shown(&harness, Kind::Agents, &ours));
    assert!(count(&events, "activity") < shown(&harness, Kind::Activities, &Scope::Global), "there is another account");
    // An activity of the whole tenant names no account.
    let account_of = |event: &Value| event["organization"]["id"].as_str().map(str::to_owned);
    let accounts: BTreeSet<_> = events.iter().filter_map(account_of).collect();
    assert_eq!(accounts, [account.to_string()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_to_threatdefence_copies_its_logs_to_a_siem() {
    let rules = Rules { authorization: ["Bearer of-the-siem".to_owned()].into(), ..Rules::default() };
    let siem = Receiver::start(rules).await;
    let harness = harness(&THREATDEFENCE, &siem.url(), "of-the-siem").await;
    follow(&harness).await;
    let events = siem.events();
    for (dataset, kind) in [("threat", Kind::Threats), ("activity", Kind::Activities), ("alert", Kind::Alerts)] {
        assert_eq!(count(&events, dataset), shown(&harness, kind, &Scope::Global), "{dataset}");
    }
    assert!(events.iter().all(|event| event["labels"]["customer"] == "acme"));
}

/// Each permission of a guide is needed: without it, `check` fails and names it as the guide on access does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_named_as_the_guide_to_access_names_it() {
    let access = fs::read_to_string("docs/guides/console-access.md").unwrap();
    for guide in &ALL {
        let nowhere = if guide.address.starts_with('/') { "/nonexistent" } else { "http://127.0.0.1:1" };
        let harness = harness(guide, nowhere, "secret").await;
        for (stream, kind) in guide.reads {
            harness.console().set_token(role(guide, Some(*kind)));
            let exit = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
            assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
            let permission = Endpoint::permission(*stream);
            let report: Value = serde_json::from_str(&exit.stdout).unwrap();
            let findings = report["pipelines"][0]["findings"].as_array().unwrap();
            let subject = format!("stream {stream}");
            let finding = findings.iter().find(|finding| finding["subject"] == subject).unwrap();
            assert_eq!(finding["check"], "failed", "{finding}");
            assert!(finding["detail"].as_str().unwrap().contains(permission), "{finding}");
            // The table of the guide has page and permission in two columns.
            let (page, _) = permission.split_once(" → ").unwrap();
            let row = access.lines().find(|line| line.contains(&format!("`{stream}`")) && line.contains("| "));
            assert!(row.is_some_and(|row| row.contains(page)), "{page} is not in the row of {stream}: {row:?}");
        }
    }
}

/// Every guide is in the index with its file, and the file is the one that its page links.
#[test]
fn each_guide_is_in_the_index() {
    let index = fs::read_to_string("docs/guides/README.md").unwrap();
    for entry in fs::read_dir("docs/guides").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "{name} is not in the index");
    }
    for guide in &ALL {
        let page = fs::read_to_string(format!("docs/guides/{}.md", guide.name)).unwrap();
        let file = format!("../../pipelines/{}.yaml", guide.name);
        assert!(page.contains(&file) && index.contains(&file), "{} does not link its file", guide.name);
    }
}
