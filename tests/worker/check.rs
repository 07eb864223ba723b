//! `check` with its connections: what it finds out, what it answers, and that it delivers nothing.

use std::collections::BTreeMap;

use s1_forwarder::emulator::{Kind, Setup, Token, system_clock};
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
