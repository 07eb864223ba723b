use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, RefusedAll, SecretUnreadable, Transient, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Attempt, Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, context, once, push, sink, sink_in};
use crate::support::deliver::deliver;
use crate::support::double::{FaultRule, Received, Reply};
use crate::support::oauth::TokenEndpoint;
use crate::support::receiver::{Format, Receiver, Rules, Signed};
use crate::support::spelling::{Spelling, shown_secret};

fn keys(receiver: &Receiver, more: Value) -> Value {
    let mut keys = json!({ "type": "http", "url": receiver.input() });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

async fn send(receiver: &Receiver, more: Value) -> Attempt {
    sink(keys(receiver, more)).send(&batch(0..10)).await
}

#[tokio::test]
async fn every_framing_and_compression_arrives_whole() {
    for format in ["ndjson", "json_array"] {
        for compression in ["none", "gzip", "zstd"] {
            for envelope in [false, true] {
                let receiver = Receiver::start(Rules::default()).await;
                let more = json!({ "format": format, "compression": compression, "envelope": envelope });
                let attempt = sink(keys(&receiver, more.clone())).send(&batch(0..2_000)).await;
                assert_eq!((attempt.outcome, attempt.status.label()), (Outcome::Delivered, "200"), "{more}");
                let seen = &receiver.requests()[0];
                assert_eq!(attempt.bytes as usize, seen.wire_bytes, "{more}");
                if envelope {
                    assert!(receiver.ledger().counts().len() == 2_000, "{more}");
                } else {
                    assert_eq!(receiver.ledger().counts(), once(0..2_000), "{more}");
                }
                if compression != "none" {
                    assert!(seen.wire_bytes * 2 < seen.body.len(), "{more}");
                }
            }
        }
    }
}

/// A receiver that reports the events of a batch that it did not take. Halving finds them.
#[tokio::test]
async fn a_success_that_is_not_accepted_is_halved_until_the_refused_event_is_alone() {
    let read = |request: &Received| {
        let text = std::str::from_utf8(&request.bytes).unwrap();
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if text.contains("poison") {
            (Vec::new(), Err((200, r#"{"failed":1,"errors":["bad"]}"#)))
        } else {
            (events, Ok(()))
        }
    };
    let format = Some(Format { read, success: (200, r#"{"failed":0,"errors":[]}"#) });
    let mut sent = batch(0..20);
    push(&mut sent, "bad", "poison");
    for more in
        [json!({ "zero": "/failed" }), json!({ "empty": "/errors" }), json!({ "statuses": [200], "zero": "/failed" })]
    {
        let receiver = Receiver::start(Rules { format, ..Rules::default() }).await;
        let delivered = deliver(sink(keys(&receiver, json!({ "accept": more }))), &sent).await;
        assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 20, 1));
        let letter = &delivered.dead_letters[0];
        assert_eq!((&letter["record_id"], &letter["status"]), (&json!("bad"), &json!("200")));
        assert_eq!(receiver.ledger().counts(), once(0..20));
    }
    // Without `accept` it is a warning, and with a wrong pointer the lane stops.
    let receiver = Receiver::start(Rules { format, ..Rules::default() }).await;
    let attempt = sink(keys(&receiver, json!({}))).send(&sent).await;
    assert!(
        matches!(&attempt.outcome, Outcome::DeliveredWithWarnings(warnings) if warnings[0].text.contains("`failed` is not 0")),
        "{attempt:?}"
    );
    let delivered = deliver(sink(keys(&receiver, json!({ "accept": { "zero": "/lost" } }))), &sent).await;
    assert!(
        matches!(&delivered.result, Err(Failure { kind: RefusedAll, reason, .. }) if reason.contains("no `/lost`")),
        "{delivered:?}"
    );
    assert!(delivered.dead_letters.is_empty());
}

#[tokio::test]
async fn requests_say_where_they_come_from() {
    let receiver = Receiver::start(Rules::default()).await;
    let lane = sink_in(keys(&receiver, json!({ "headers": { "X-Source": "s1" } })), &context(Stream::Threats));
    lane.send(&batch(0..2)).await;
    lane.send(&batch(0..2)).await;
    lane.send(&batch(0..3)).await;
    let seen = receiver.requests();
    assert_eq!(seen[0].header("x-s1-forwarder-pipeline"), "acme");
    assert_eq!(seen[0].header("x-s1-forwarder-stream"), "threats");
    assert_eq!(seen[0].header("x-source"), "s1");
    let keys: Vec<&str> = seen.iter().map(|seen| seen.header("idempotency-key")).collect();
    assert!(keys[0].len() > 30 && keys[0] == keys[1] && keys[1] != keys[2], "{keys:?}");
}

#[tokio::test]
async fn each_kind_of_credentials_is_accepted() {
    let basic = format!("Basic {}", BASE64_STANDARD.encode("user:pass word"));
    let authorization = |value: &str| Rules { authorization: [value.to_owned()].into(), ..Rules::default() };
    let signature = |signed| Rules { signature: Some((signed, b"secret")), ..Rules::default() };
    for (rules, more) in [
        (authorization(&basic), json!({ "auth": { "type": "basic", "user": "user", "password": "pass word" } })),
        (authorization("Bearer t0ken"), json!({ "auth": { "type": "bearer", "token": "t0ken" } })),
        (authorization("Splunk t0ken"), json!({ "headers": { "Authorization": "Splunk t0ken" } })),
        (
            Rules { header: Some(("x-key", "k".to_owned())), ..Rules::default() },
            json!({ "headers": { "X-Key": "k" }, "auth": { "type": "none" } }),
        ),
        (signature(Signed::StandardWebhooks), json!({ "auth": { "type": "hmac", "secret": "secret" } })),
        (signature(Signed::StandardWebhooks), json!({ "auth": { "type": "hmac", "secret": "whsec_c2VjcmV0" } })),
        (
            signature(Signed::GithubOverPlain),
            json!({ "auth": { "type": "hmac", "secret": "secret", "form": "github" } }),
        ),
        (
            signature(Signed::GithubOverWire),
            json!({ "auth": { "type": "hmac", "secret": "secret", "form": "github", "sign": "compressed" } }),
        ),
    ] {
        let receiver = Receiver::start(rules).await;
        assert_eq!(send(&receiver, more.clone()).await.outcome, Outcome::Delivered, "{more}");
        assert_eq!(receiver.ledger().counts(), once(0..10));
        let wrong =
            serde_json::from_str(&more.to_string().replace("t0ken", "other").replace("secret\":\"", "secret\":\"x"));
        let wrong: Value = wrong.unwrap();
        if wrong != more {
            let attempt = send(&receiver, wrong).await;
            assert_eq!(attempt.outcome.failure_kind(), Some(Unauthorized), "{attempt:?}");
        }
    }
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let receiver =
        Receiver::start(Rules { authorization: ["Bearer first".to_owned()].into(), ..Rules::default() }).await;
    let lane = sink(keys(&receiver, json!({ "auth": { "type": "bearer", "token": { "file": token } } })));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);

    receiver.contract(|rules| rules.authorization = ["Bearer second".to_owned()].into());
    let attempt = lane.send(&batch(1..2)).await;
    assert!(attempt.outcome.failure_kind() == Some(Unauthorized), "the file has not changed yet: {attempt:?}");
    assert_eq!(receiver.requests().len(), 2, "the same credentials are not tried twice");

    std::fs::write(&token, "second\n").unwrap();
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.requests().len(), 4);
    assert_eq!(receiver.ledger().counts(), once(0..2));

    std::fs::remove_file(&token).unwrap();
    assert_eq!(lane.send(&batch(2..3)).await.outcome, Outcome::Delivered, "what was read stays");
}

#[tokio::test]
async fn a_missing_secret_pauses_the_lane() {
    let receiver = Receiver::start(Rules::default()).await;
    let attempt = send(&receiver, json!({ "auth": { "type": "bearer", "token": { "file": "/nowhere/token" } } })).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: SecretUnreadable, reason, .. }) if reason.contains("/nowhere/token")),
        "{attempt:?}"
    );
    assert_eq!((attempt.status.label(), receiver.requests().len()), ("secret", 0));
}

fn oauth(endpoint: &TokenEndpoint, secret: Value) -> Value {
    json!({ "auth": {
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "client", "client_secret": secret, "scope": "logs write",
        "params": { "audience": "siem" },
    } })
}

fn bearers(tokens: &[&str]) -> BTreeSet<String> {
    tokens.iter().map(|token| format!("Bearer {token}")).collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_sinks_of_a_client() {
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver = Receiver::start(Rules { authorization: bearers(&["token-1"]), ..Rules::default() }).await;
    let context = context(Stream::Activities);
    let sinks: Vec<_> =
        (0..20).map(|_| sink_in(keys(&receiver, oauth(&endpoint, json!("s3cret"))), &context)).collect();
    let batches: Vec<_> = (0..20).map(|first| batch(first * 10..first * 10 + 10)).collect();
    let sent = sinks.iter().zip(&batches).map(|(sink, batch)| sink.send(batch));
    for attempt in futures_util::future::join_all(sent).await {
        assert_eq!(attempt.outcome, Outcome::Delivered);
    }
    assert_eq!((endpoint.issued(), receiver.ledger().counts()), (1, once(0..200)));
    let form = &endpoint.forms()[0];
    assert_eq!((form["scope"].as_str(), form["audience"].as_str()), ("logs write", "siem"));
}

#[tokio::test]
async fn a_refused_token_is_given_up_once() {
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver = Receiver::start(Rules { authorization: bearers(&["token-1"]), ..Rules::default() }).await;
    let lane = sink(keys(&receiver, oauth(&endpoint, json!("s3cret"))));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    receiver.contract(|rules| rules.authorization = bearers(&["token-2"]));
    let one = batch(1..2);
    let two = batch(2..3);
    let (one, two) = tokio::join!(lane.send(&one), lane.send(&two));
    assert_eq!((one.outcome, two.outcome), (Outcome::Delivered, Outcome::Delivered));
    assert_eq!(endpoint.issued(), 2, "both gave up the same token");

    receiver.contract(|rules| rules.authorization = bearers(&["none"]));
    let attempt = lane.send(&batch(3..4)).await;
    assert_eq!(attempt.outcome.failure_kind(), Some(Unauthorized), "{attempt:?}");
    assert_eq!(endpoint.issued(), 3, "one new token a try");
}

/// Other lanes may use the same token with success.
#[tokio::test]
async fn a_token_without_a_permission_is_kept() {
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver = Receiver::start(Rules { authorization: bearers(&["token-1"]), ..Rules::default() }).await;
    let lane = sink(keys(&receiver, oauth(&endpoint, json!("s3cret"))));
    receiver.script(vec![FaultRule::answer(403, "no such role"); 3]);
    for _ in 0..3 {
        let attempt = lane.send(&batch(0..1)).await;
        assert_eq!(attempt.outcome.failure_kind(), Some(Unauthorized), "{attempt:?}");
    }
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    assert_eq!(endpoint.issued(), 1);
}

#[tokio::test]
async fn a_rotated_client_secret_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "old").unwrap();
    // Tokens that are never fresh: each request fetches its own.
    let endpoint = TokenEndpoint::start("old", 0).await;
    let receiver = Receiver::start(Rules { authorization: bearers(&["token-1", "token-2"]), ..Rules::default() }).await;
    let lane = sink(keys(&receiver, oauth(&endpoint, json!({ "file": secret }))));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    endpoint.rotate("new");
    let attempt = lane.send(&batch(1..2)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) if reason.contains("AADSTS7000215")),
        "{attempt:?}"
    );
    std::fs::write(&secret, "new").unwrap();
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.ledger().counts(), once(0..2));
}

#[tokio::test]
async fn the_answers_of_a_token_endpoint_have_their_classes() {
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver = Receiver::start(Rules::default()).await;
    let lane = sink(keys(&receiver, oauth(&endpoint, json!("s3cret"))));
    endpoint.script(429, vec![("retry-after", "17".to_owned())], "slow down");
    endpoint.script(503, vec![], "<html>");
    endpoint.script(400, vec![], r#"{"error":"invalid_scope"}"#);
    endpoint.script(200, vec![], "<html>a login page</html>");
    endpoint.script(404, vec![], "");
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let attempt = lane.send(&batch(0..1)).await;
        assert_eq!(attempt.status.label(), "token");
        outcomes.push(attempt.outcome);
    }
    let seventeen = Some(Duration::from_secs(17));
    assert!(
        matches!(&outcomes[0], Outcome::Failed(Failure { kind: Transient, retry_after, .. }) if *retry_after == seventeen),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[1], Outcome::Failed(Failure { kind: Transient, retry_after: None, .. })),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[2], Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) if reason.contains("invalid_scope")),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[3], Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("access_token")),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[4], Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("token endpoint")),
        "{outcomes:?}"
    );
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_signature_is_made_again_for_each_try_under_the_same_id() {
    let receiver =
        Receiver::start(Rules { signature: Some((Signed::StandardWebhooks, b"secret")), ..Rules::default() }).await;
    let lane = sink(keys(&receiver, json!({ "auth": { "type": "hmac", "secret": "secret" } })));
    receiver.script([FaultRule::answer(503, "")]);
    assert_eq!(lane.send(&batch(0..3)).await.outcome.failure_kind(), Some(Transient));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
    let seen = receiver.requests();
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    assert_ne!(seen[0].header("webhook-timestamp"), seen[1].header("webhook-timestamp"));
    assert_ne!(seen[0].header("webhook-signature"), seen[1].header("webhook-signature"));
}

#[tokio::test]
async fn each_fault_has_its_class() {
    let answer = |status, headers: &[(&'static str, &str)], body| {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        FaultRule::Answer(Reply { headers, ..Reply::new(status, body) })
    };
    for (fault, status, expected) in [
        (answer(429, &[("retry-after", "30")], ""), "429", "Transient 30"),
        (answer(503, &[("retry-after", "Fri, 20 Nov 2099 06:30:00 GMT")], ""), "503", "Transient 600"),
        (answer(502, &[("content-type", "text/html")], "<html><h1>Bad Gateway</h1></html>"), "502", "Transient"),
        (answer(408, &[], ""), "408", "Transient"),
        (answer(400, &[], "field x"), "400", "Refused"),
        (answer(422, &[], ""), "422", "Refused"),
        (answer(403, &[], ""), "403", "Unauthorized"),
        (answer(404, &[], ""), "404", "Misconfigured"),
        (answer(302, &[("location", "https://login.example/?token=canary")], ""), "302", "Misconfigured"),
        (FaultRule::EarlyTooLarge, "413", "TooLarge"),
        (FaultRule::AcceptAndAnswer(Reply::new(200, r#"{"error":"no"}"#)), "200", "Delivered"),
        (FaultRule::AcceptAndAnswer(Reply::new(204, "")), "204", "Delivered"),
        (FaultRule::AcceptAndReset, "connection", "Transient"),
        (FaultRule::Reset, "connection", "Transient"),
        (FaultRule::AcceptAndBreakOff, "connection", "Transient"),
        (FaultRule::AcceptAndHang, "timeout", "Transient"),
    ] {
        let receiver = Receiver::start(Rules::default()).await;
        receiver.script([fault.clone()]);
        let attempt = send(&receiver, json!({ "timeout": "300ms" })).await;
        let class = match &attempt.outcome {
            Outcome::Failed(Failure { kind: Transient, retry_after: Some(after), .. }) => {
                format!("Transient {}", after.as_secs())
            }
            outcome => outcome.name(),
        };
        assert_eq!((attempt.status.label(), class.as_str()), (status, expected), "{fault:?} → {attempt:?}");
        assert!(!format!("{attempt:?}").contains("canary"));
    }
}

#[tokio::test]
async fn nobody_listening_is_for_now() {
    let lane = sink(json!({ "type": "http", "url": "http://127.0.0.1:1/canary" }));
    let attempt = lane.send(&batch(0..1)).await;
    assert_eq!(attempt.outcome.failure_kind(), Some(Transient), "{attempt:?}");
    assert_eq!(attempt.status.label(), "connect");
    assert!(matches!(lane.probe().await, ProbeResult::Failed(_)));
    assert!(!format!("{attempt:?}").contains("canary"), "{attempt:?}");
}

/// A server that closes the connection on large bodies gets smaller ones; one event alone is never given up for that.
#[tokio::test]
async fn connections_lost_again_and_again_split_the_batch() {
    let receiver = Receiver::start(Rules::default()).await;
    let lane = sink(keys(&receiver, json!({})));
    receiver.script(vec![FaultRule::Reset; 4]);
    assert_eq!(lane.send(&batch(0..10)).await.outcome.failure_kind(), Some(Transient));
    assert_eq!(lane.send(&batch(0..10)).await.outcome.failure_kind(), Some(Transient));
    assert!(matches!(lane.send(&batch(0..10)).await.outcome, Outcome::TooLarge(_)));
    assert_eq!(lane.send(&batch(0..1)).await.outcome.failure_kind(), Some(Transient));
    assert_eq!(lane.send(&batch(0..10)).await.outcome, Outcome::Delivered);
}

/// A destination that stores a batch and answers too late would get all of it again and again.
#[tokio::test]
async fn batches_that_time_out_are_sent_in_halves() {
    for (fault, copies) in [(FaultRule::AcceptAndHang, 3), (FaultRule::answer(504, ""), 1)] {
        let receiver = Receiver::start(Rules::default()).await;
        let lane = sink(keys(&receiver, json!({ "timeout": "1s" })));
        receiver.script(vec![fault; 2]);
        assert_eq!(deliver(lane.clone(), &batch(0..200)).await.result, Ok(()));
        let counts = receiver.ledger().counts();
        assert!(counts.len() == 200 && counts.values().all(|count| *count == copies), "{counts:?}");
        // The next batches have the size that was accepted.
        assert_eq!(deliver(lane, &batch(200..400)).await.result, Ok(()));
        let events: Vec<usize> = receiver.requests().iter().map(|request| request.body.lines().count()).collect();
        assert_eq!(events, [200, 200, 100, 100, 100, 100]);
    }
}

/// A proxy that asks for a client certificate answers so; its refusal is not one of the events.
#[tokio::test]
async fn a_page_with_the_status_400_stops_the_lane_and_keeps_the_events() {
    let receiver = Receiver::start(Rules::default()).await;
    receiver.script([FaultRule::answer(400, "<html><title>400 The SSL certificate error</title></html>")]);
    let delivered = deliver(sink(keys(&receiver, json!({}))), &batch(0..3)).await;
    assert!(
        matches!(&delivered.result, Err(Failure { kind: Misconfigured, reason, .. }) if reason.contains("page")),
        "{delivered:?}"
    );
    assert_eq!(delivered.dead_letters.len(), 0);
}

/// More in a row than a wrong setting needs to show; the others are tried all the same.
#[tokio::test]
async fn bad_events_at_the_beginning_of_a_batch_cost_themselves_alone() {
    let receiver = Receiver::start(Rules { event_bytes: Some(1_000), ..Rules::default() }).await;
    let mut sent = Batch::new(Stream::Activities);
    (0..15).for_each(|id| push(&mut sent, &format!("bad-{id}"), &"x".repeat(2_000)));
    (0..100).for_each(|id| push(&mut sent, &id.to_string(), "good"));
    let delivered = deliver(sink(keys(&receiver, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters.len()), (Ok(()), 100, 15));
    assert_eq!(receiver.ledger().counts(), once(0..100));
}

/// With all that the spellings escape, and that no header forbids.
const SECRET: &str = "c4nary~Q\"e\\f/g &h<i>+j%41'k==";

#[tokio::test]
async fn secrets_that_a_server_repeats_are_not_passed_on() {
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver = Receiver::start(Rules::default()).await;
    let proxy = receiver.input().replace("http://", "http://user:c4nary%7EQ%22e%5Cf%2Fg%20%26h@");
    for more in [
        // No token has a blank.
        json!({ "auth": { "type": "bearer", "token": SECRET.replace(' ', "") } }),
        json!({ "auth": { "type": "basic", "user": "user", "password": format!("{SECRET}ö") } }),
        json!({ "headers": { "X-Key": SECRET } }),
        json!({ "proxy": proxy.trim_end_matches("/in"), "url": "http://siem.example/in" }),
        oauth(&endpoint, json!("s3cret")),
    ] {
        for spelling in Spelling::ALL {
            receiver.script(vec![FaultRule::EchoCredentials(403, spelling); 2]);
            let reported = format!("{:?}", send(&receiver, more.clone()).await);
            assert!(reported.contains("***"), "{spelling:?}: {reported}");
            for secret in ["c4nary", "token-"] {
                assert_eq!(shown_secret(&reported, secret), None, "{spelling:?}: {more}");
            }
        }
    }
}

/// Any header may be what a destination wants as a credential.
#[tokio::test]
async fn a_part_of_a_header_that_a_server_repeats_is_not_passed_on() {
    let receiver = Receiver::start(Rules::default()).await;
    for name in ["Authorization", "X-Key"] {
        receiver.script([FaultRule::answer(403, "no token c4naryPART")]);
        let more = json!({ "headers": { name: "Custom c4naryPART; v=2" } });
        let reported = format!("{:?}", send(&receiver, more).await);
        assert!(reported.contains("no token ***") && !reported.contains("c4nary"), "{name}: {reported}");
    }
}

/// A token endpoint may repeat the form that it got.
#[tokio::test]
async fn secrets_that_a_token_endpoint_repeats_are_not_passed_on() {
    let receiver = Receiver::start(Rules::default()).await;
    for spelling in Spelling::ALL {
        let endpoint = TokenEndpoint::start("another", 3_600).await;
        let sent = format!("client_id=client&client_secret={}", spelling.write(SECRET));
        endpoint.script(401, Vec::new(), format!("got grant_type=client_credentials&{sent}&scope=x"));
        let reported = format!("{:?}", send(&receiver, oauth(&endpoint, json!(SECRET))).await);
        assert!(reported.contains("got ") && reported.contains("***"), "{spelling:?}: {reported}");
        assert_eq!(shown_secret(&reported, "c4nary"), None, "{spelling:?}");
    }
}

#[tokio::test]
async fn a_probe_distinguishes_credentials_from_addresses() {
    let receiver = Receiver::start(Rules { authorization: bearers(&["good"]), ..Rules::default() }).await;
    let lane = |token: &str| sink(keys(&receiver, json!({ "auth": { "type": "bearer", "token": token } })));
    assert!(matches!(lane("good").probe().await, ProbeResult::Reached(_)));
    assert!(matches!(lane("bad").probe().await, ProbeResult::Failed(reason) if reason.contains("credentials")));
    assert!(receiver.ledger().counts().is_empty(), "nothing is delivered");
}

#[tokio::test]
async fn a_receiver_that_knows_no_options_is_reached() {
    let receiver = Receiver::start(Rules::default()).await;
    let lane = sink(keys(&receiver, json!({})));
    for status in [200, 404, 405, 501] {
        receiver.script([FaultRule::answer(status, "")]);
        let found = lane.probe().await;
        assert!(matches!(found, ProbeResult::Reached(_)), "{status}: {found:?}");
    }
    receiver.script([FaultRule::answer(503, "")]);
    assert!(matches!(lane.probe().await, ProbeResult::Failed(_)));
    receiver.script([FaultRule::answer(200, "<!doctype html><title>Log in</title>")]);
    let found = lane.probe().await;
    assert!(matches!(&found, ProbeResult::Reached(text) if text.contains("a page of HTML")), "{found:?}");
}

fn reason(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::TooLarge(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// What framing and escapes make of a batch is known before anything is sent.
#[tokio::test]
async fn a_body_larger_than_the_limit_is_not_sent() {
    let receiver = Receiver::start(Rules::default()).await;
    let more = json!({ "envelope": true, "batch": { "bytes": "10KB" } });
    let lane = sink(keys(&receiver, more));
    let limits = lane.limits();
    let one = batch(100..101).body_bytes();
    assert!(limits.framing > 100, "the envelope counts: {limits:?}");
    let fits = u32::try_from(10_000 / (one + limits.framing)).unwrap();
    assert_eq!(lane.send(&batch(100..100 + fits)).await.outcome, Outcome::Delivered);
    assert!(receiver.requests()[0].body.len() <= 10_000 && receiver.requests()[0].body.len() > 9_000);

    let attempt = lane.send(&batch(100..100 + fits + 2)).await;
    assert_eq!((attempt.status.label(), attempt.bytes, receiver.requests().len()), ("too_large", 0, 1));
    assert!(reason(&attempt).contains("at most 10000"), "{attempt:?}");

    let mut large = Batch::new(Stream::Activities);
    push(&mut large, "1", &"x".repeat(20_000));
    assert_eq!(lane.send(&large).await.outcome, Outcome::Delivered, "`batch` says nothing of an event alone");
}
