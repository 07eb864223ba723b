//! `check` with its connections: what it finds out, what it answers, and that it delivers nothing.

use std::collections::BTreeMap;

use s1_forwarder::emulator::{self, Kind, Setup, Token, system_clock};
use serde_json::{Value, json};

use crate::support::harness::Harness;

/// Exit code, and the result of each finding with its detail.
async fn check(harness: &Harness) -> (Option<i32>, BTreeMap<String, (String, String)>) {
    let exit = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
    assert_eq!(report["ok"], json!(exit.code == Some(0)));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["pipelines"][0]["findings"].as_array().unwrap().iter();
    let findings =
        findings.map(|finding| (text(&finding["subject"]), (text(&finding["check"]), text(&finding["detail"]))));
    (exit.code, findings.collect())
}

fn results(findings: &BTreeMap<String, (String, String)>) -> Vec<(&str, &str)> {
    findings.iter().map(|(subject, (result, _))| (subject.as_str(), result.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_good_and_what_is_not_is_distinguished() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    harness.write("secret", "good");
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": {}, "threats": {} } }));
    pipeline["sinks"][0]["auth"] = json!({ "type": "bearer", "token": { "file": harness.path("secret") } });
    harness.put("acme", &pipeline);
    harness.sink.contract(|rules| rules.authorization = ["Bearer good".to_owned()].into());
    let token = || Token::new(Setup::TOKEN);

    // All is well; an HTTP receiver tells nothing of credentials until something is posted.
    harness.console().set_token(token().expiring(system_clock() + 100 * 86_400_000_000));
    let (code, findings) = check(&harness).await;
    let all_well = [
        ("clock", "verified"),
        ("console", "verified"),
        ("owner", "verified"),
        ("rate limit", "verified"),
        ("scope", "verified"),
        ("sink siem", "reached"),
        ("stream activities", "verified"),
        ("stream threats", "verified"),
        ("token", "verified"),
    ];
    assert_eq!((code, results(&findings)), (Some(0), all_well.to_vec()), "{findings:#?}");
    assert!(findings["token"].1.contains("99 days"), "{findings:#?}");
    assert!(findings["scope"].1.starts_with("tenant"), "{findings:#?}");
    let table = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(table.code, Some(0));
    assert!(table.stdout.contains("reached, credentials not testable"), "{}", table.stdout);
    assert!(table.stdout.contains("1 valid; all connections work"), "{}", table.stdout);

    // A stream that the role may not read.
    harness.console().set_token(token().without(Kind::Threats));
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["stream threats"].0.as_str()), (Some(1), "failed"));
    let detail = &findings["stream threats"].1;
    assert!(detail.contains("403") && detail.contains("\"Endpoint Threats → View\": give it to"), "{findings:#?}");
    assert_eq!(findings["stream activities"].0, "verified");

    // A token that expired, and one that soon will.
    harness.console().set_token(token().expiring(system_clock() - 1));
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["token"].0.as_str()), (Some(1), "failed"), "{findings:#?}");
    assert!(findings["token"].1.contains("expired at"), "{findings:#?}");
    assert_eq!(findings["stream activities"].0, "skipped");
    assert_eq!(findings["sink siem"].0, "reached", "sinks are tested all the same");
    harness.console().set_token(token().expiring(system_clock() + 3 * 86_400_000_000));
    let table = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert!(table.stdout.contains("warning") && table.stdout.contains("it expires soon"), "{}", table.stdout);

    // A sink with other credentials, and one that is not there.
    harness.write("secret", "wrong");
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["sink siem"].0.as_str()), (Some(1), "failed"));
    assert!(findings["sink siem"].1.contains("credentials refused"), "{findings:#?}");
    pipeline["sinks"][0]["url"] = json!("http://127.0.0.1:1/in");
    harness.put("acme", &pipeline);
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["sink siem"].0.as_str()), (Some(1), "failed"));

    // An invalid file next to it is 2, and the connections of the valid one are tested all the same.
    harness.write("pipelines/globex.yaml", "nonsense\n");
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["console"].0.as_str()), (Some(2), "verified"));

    assert!(harness.sink.ledger().counts().is_empty(), "nothing is delivered");
    assert!(harness.sink.requests().iter().all(|seen| seen.method == "OPTIONS"), "nothing is posted");
    assert!(!harness.path("state").exists(), "no state is touched");
}

/// The token is to be corrected too: otherwise the next check, with the console back, finds one more problem.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_cannot_be_read_is_named_while_the_console_is_down() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let console = json!({ "url": "http://127.0.0.1:1", "token": { "file": harness.path("tok") } });
    harness.put_changed("acme", json!({ "console": console }));
    for (contents, problem) in [(None, "No such file"), (Some(" \n"), "empty"), (Some("Bearer abc"), "Bearer")] {
        if let Some(contents) = contents {
            harness.write("tok", contents);
        }
        let (code, findings) = check(&harness).await;
        assert_eq!((code, findings["console"].0.as_str(), findings["token"].0.as_str()), (Some(1), "failed", "failed"));
        let detail = &findings["token"].1;
        assert!(detail.contains("tok") && detail.contains(problem), "{detail}");
        assert_eq!(findings["owner"].0, "skipped");
    }
    harness.write("tok", "good");
    let (_, findings) = check(&harness).await;
    assert_eq!((findings["console"].0.as_str(), findings["token"].0.as_str()), ("failed", "skipped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_counted_and_the_scope_is_compared_with_what_the_token_sees() {
    let harness = Harness::new(|setup| {
        (setup.agents, setup.activities, setup.threats, setup.alerts) = (40, 20, 20, 0);
    })
    .await;
    let console = |changes: Value| {
        let streams = json!({ "activities": null, "threats": {}, "alerts": {}, "groups": {} });
        harness.put_changed("acme", json!({ "streams": streams, "console": changes }));
    };
    console(json!({}));
    let (code, findings) = check(&harness).await;
    assert_eq!(code, Some(0), "an empty stream is no failure: {findings:#?}");
    assert_eq!(findings["stream threats"].1, "can be read; 20 records in all that the token sees");
    assert_eq!(findings["scope"].1, "tenant: all accounts of this console");
    let table = harness.command(&["check", "--pipelines", "pipelines"]).await.stdout;
    let row = table.lines().find(|line| line.contains("stream alerts")).unwrap();
    assert!(row.contains("warning") && row.contains("has no record in all that the token sees"), "{table}");

    let threat = harness.console().record(Kind::Threats, harness.console().ids(Kind::Threats)[0]).unwrap();
    let threat: Value = serde_json::from_slice(&threat).unwrap();
    let id = |key: &str| threat["agentRealtimeInfo"][key].as_str().unwrap().parse::<u64>().unwrap();
    let account = id("accountId");
    let site = id("siteId");
    let group = id("groupId");
    console(json!({ "accounts": [account], "sites": [site], "groups": [group] }));
    let (code, findings) = check(&harness).await;
    assert_eq!(code, Some(0), "{findings:#?}");
    for (name, kind, id) in [("accounts", Kind::Accounts, account), ("sites", Kind::Sites, site)] {
        let record: Value = serde_json::from_slice(&harness.console().record(kind, id).unwrap()).unwrap();
        let seen = format!("the token sees {}", record["name"].as_str().unwrap());
        assert_eq!(findings[name], ("verified".to_owned(), seen), "{findings:#?}");
    }
    assert_eq!(findings["groups"].0, "verified");
    assert!(findings["stream threats"].1.ends_with("in this scope"), "{findings:#?}");
    console(json!({ "sites": [site] }));
    let seen = harness.console().visible_versions(Kind::Threats, &emulator::Scope::Sites(vec![site])).len();
    let (_, findings) = check(&harness).await;
    assert!((1..20).contains(&seen), "the scope narrows nothing");
    assert_eq!(findings["stream threats"].1, format!("can be read; {seen} records in this scope"));

    // The console answers with empty lists, and every other finding is good.
    let wrong = 999_999_999_999_999_999_u64;
    let gone = 999_999_999_999_999_998_u64;
    console(json!({ "accounts": [account, wrong], "groups": [gone] }));
    let (code, findings) = check(&harness).await;
    assert_eq!(code, Some(1), "{findings:#?}");
    for (name, id) in [("accounts", wrong), ("groups", gone)] {
        let (result, detail) = &findings[name];
        assert!(result == "failed" && detail.contains(&format!("does not see {id}: ")), "{name}: {detail}");
        assert!(!detail.contains(&account.to_string()), "{detail}");
    }
    assert_eq!(findings["stream threats"].0, "verified");

    // A token of one site may not list accounts: nothing is said of them.
    harness.console().set_token(Token::new(Setup::TOKEN).scoped(emulator::Scope::Sites(vec![site])));
    console(json!({ "accounts": [account], "sites": [site] }));
    let (code, findings) = check(&harness).await;
    assert_eq!((code, findings["accounts"].0.as_str(), findings["sites"].0.as_str()), (Some(0), "reached", "verified"));
    assert!(
        findings["accounts"].1.starts_with("not known whether the token sees them: its role may not list accounts")
    );
    assert!(findings["scope"].1.starts_with("site: ") && findings["scope"].1.ends_with(" as Viewer"), "{findings:#?}");
}

/// Who sends events of the forwarder to a SIEM with content of its own learns of it, once for each sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_the_content_of_a_siem_would_read() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": {}, "threats": {}, "alerts": {} } }));
    let url = pipeline["sinks"][0]["url"].clone();
    pipeline["sinks"] = json!([
        { "name": "plain", "type": "splunk_hec", "url": url, "token": "t" },
        { "name": "own", "type": "splunk_hec", "url": url, "token": "t", "content": "integration",
          "streams": ["threats"] },
        { "name": "default", "type": "sekoia", "url": url, "intake_key": "k" },
        { "name": "none", "type": "http", "url": url },
    ]);
    harness.put("acme", &pipeline);
    let (_, findings) = check(&harness).await;
    let hinted: Vec<&str> = findings
        .iter()
        .filter(|(_, (_, detail))| detail.contains("would feed the content made for Splunk's app, if it is installed"))
        .map(|(subject, _)| subject.as_str())
        .collect();
    assert_eq!(hinted, ["sink plain"], "{findings:#?}");
    assert!(findings["sink plain"].1.ends_with(": threats, activities"), "the app knows no alerts: {findings:#?}");
    assert!(findings.values().filter(|(_, detail)| detail.contains("would feed")).count() == 1, "{findings:#?}");
}

/// Nothing shows whether an event without an identity is still there: what to set is said before it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_sinks_whose_events_have_no_identity() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let mut pipeline = harness.pipeline(json!({}));
    let url = pipeline["sinks"][0]["url"].clone();
    let path = |name: &str| harness.path(name).to_str().unwrap().to_owned();
    pipeline["sinks"] = json!([
        { "name": "bare", "type": "http", "url": url },
        { "name": "enveloped", "type": "http", "url": url, "envelope": true },
        { "name": "mapped", "type": "file", "path": path("mapped"), "schema": "ecs" },
        { "name": "lines", "type": "file", "path": path("lines") },
    ]);
    pipeline["transform"] = json!({ "schema": "raw" });
    harness.put("acme", &pipeline);
    let (code, findings) = check(&harness).await;
    let named: Vec<&str> = findings
        .iter()
        .filter(|(_, (_, detail))| detail.contains("have no identity there") && detail.contains("`envelope: true`"))
        .map(|(subject, _)| subject.as_str())
        .collect();
    assert_eq!((code, named), (Some(0), vec!["sink bare", "sink lines"]), "{findings:#?}");
}

/// Tests see the event of 1.9.0, and `preview` prints what the sink gets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tests_of_a_file_see_the_newest_ocsf() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let record = json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z" });
    let mut pipeline = harness.pipeline(json!({
        "transform": { "schema": "ocsf", "ocsf_version": "1.3.0" },
        "tests": [{ "name": "newest", "stream": "activities", "record": record, "expect": { "metadata.version": "1.9.0" } }],
    }));
    pipeline["sinks"][0]["name"] = json!("older");
    let mut newest = pipeline["sinks"][0].clone();
    (newest["name"], newest["ocsf_version"]) = (json!("newest"), json!("1.9.0"));
    pipeline["sinks"].as_array_mut().unwrap().push(newest);
    harness.put("acme", &pipeline);
    let exit = harness.command(&["check", "--offline", "--pipelines", "pipelines"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for (sink, version) in [("older", "1.3.0"), ("newest", "1.9.0")] {
        let options = ["preview", "pipelines/acme.yaml", "--stream", "activities", "--limit", "1", "--sink", sink];
        let exit = harness.command(&options).await;
        let event = exit.stdout.lines().next().unwrap_or_default();
        let event: Value = serde_json::from_str(event).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
        assert_eq!(event["metadata"]["version"], version, "{event:#}");
    }
}
