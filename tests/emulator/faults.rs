//! Section 5 of the contract, and what section 8 wants to be switchable.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, RetryAfter, Scope, Server, Setup};

use tokio::time::Instant;

use super::client::{Client, Got, NOW, SECOND, distinct, ids_of};

const LIST: &str = "/threats?limit=10&sortBy=updatedAt&sortOrder=asc";

/// Every answer suffers it.
fn always(fault: Fault) -> Faults {
    Faults { max_consecutive: u32::MAX, ..Faults::default() }.with(fault, 1.0)
}

#[tokio::test]
async fn failures_look_as_they_do_on_a_console() {
    let client = Client::new(&Setup { threats: 30, ..Setup::new(NOW) }).await;
    for (fault, status, content_type, part) in [
        (Fault::Unauthorized, 401, "application/json", "4010010"),
        (Fault::Forbidden, 403, "application/json", "4030010"),
        (Fault::NotFound, 404, "application/json", "4040010"),
        (Fault::TooManyRequests(RetryAfter::Absent), 429, "text/html", "<title>429 Too Many Requests</title>"),
        (Fault::InternalError, 500, "application/json", "5000010"),
        (Fault::NotSupported, 501, "application/json", "5010010"),
        (Fault::BadGateway, 502, "text/plain", "Bad Gateway"),
        (Fault::Unavailable, 503, "text/html", "<html>"),
        (Fault::GatewayTimeout, 504, "text/html", "504 Gateway Timeout"),
        (Fault::ErrorsOnly, 200, "application/json", "Server could not process"),
        (Fault::HarmlessErrors, 200, "application/json", r#""errors":[{}]"#),
        (Fault::NullData, 200, "application/json", r#""data":null"#),
        (Fault::HtmlPage, 200, "text/html", "<html>"),
    ] {
        client.console.set_faults(always(fault));
        let got = client.get(LIST).await;
        assert_eq!((got.status, got.header("content-type")), (status, content_type), "{fault:?}");
        assert!(got.text.contains(part), "{fault:?}: {}", got.text);
        assert_eq!(got.header("retry-after"), "", "{fault:?}");
    }
    client.console.set_faults(always(Fault::HarmlessErrors));
    assert_eq!(ids_of(&client.get(LIST).await.json()).len(), 10);
    client.console.set_faults(always(Fault::TooManyRequests(RetryAfter::Seconds(7))));
    assert_eq!(client.get(LIST).await.header("retry-after"), "7");
    client.console.set_faults(always(Fault::TooManyRequests(RetryAfter::Date(90))));
    assert_eq!(client.get(LIST).await.header("retry-after"), "Thu, 01 Jan 2026 00:01:30 GMT");
    client.console.set_faults(Faults::default());
    assert_eq!(client.get(LIST).await.status, 200);
    client.stop().await;
}

#[tokio::test]
async fn bodies_break_and_dawdle_and_connections_drop() {
    let client = Client::new(&Setup { threats: 300, ..Setup::new(NOW) }).await;
    let whole = client.get("/threats?limit=300").await.text;
    client.console.set_faults(always(Fault::Truncated));
    let response = client.request("/threats?limit=300", &format!("ApiToken {}", Setup::TOKEN)).send().await.unwrap();
    assert_eq!(response.content_length(), Some(whole.len() as u64), "the whole body was announced");
    assert!(response.bytes().await.is_err());
    client.console.set_faults(always(Fault::Dropped));
    assert!(client.try_get_as(LIST, Setup::TOKEN).await.is_err());
    client.console.set_faults(always(Fault::SlowAnswer(Duration::from_millis(150))));
    let started_at = Instant::now();
    client.get(LIST).await;
    assert!(started_at.elapsed() >= Duration::from_millis(150));
    client.console.set_faults(always(Fault::SlowBody(Duration::from_millis(150))));
    let started_at = Instant::now();
    assert_eq!(client.get("/threats?limit=300").await.text, whole);
    assert!(started_at.elapsed() >= Duration::from_millis(120));
    client.stop().await;
}

#[tokio::test]
async fn cursors_are_refused_repeated_and_pages_come_short() {
    let client = Client::new(&Setup { threats: 55, ..Setup::new(NOW) }).await;
    let first = client.page(LIST).await;
    let cursor = first["pagination"]["nextCursor"].as_str().unwrap().to_owned();
    let next = format!("{LIST}&cursor={cursor}");
    client.console.set_faults(always(Fault::RefusedCursor));
    assert_eq!(client.get(LIST).await.status, 200, "only requests with a cursor are refused");
    assert_eq!(client.refusal(&next).await, "Invalid cursor value received");
    client.console.set_faults(always(Fault::LostCursor));
    assert_eq!((client.get(LIST).await.status, client.get(&next).await.status), (200, 404));
    client.console.set_faults(always(Fault::RepeatedCursor));
    assert_eq!(client.page(&next).await["pagination"]["nextCursor"], cursor);
    client.console.set_faults(always(Fault::EarlyEnd));
    assert_eq!(client.page(LIST).await["pagination"]["nextCursor"], cursor, "only requests with a cursor end the list");
    let end = client.page(&next).await;
    assert!(end["data"].as_array().unwrap().len() < 10 && end["pagination"]["nextCursor"].is_null(), "{end}");
    client.console.set_faults(always(Fault::ShortPage));
    let (ids, pages) = client.walk(LIST).await;
    assert_eq!((ids.len(), distinct(&ids)), (55, 55));
    assert!(pages > 6, "{pages} short pages");
    client.stop().await;
}

#[tokio::test]
async fn faults_end_so_that_a_client_that_tries_again_gets_through() {
    let client = Client::new(&Setup { threats: 5, activities: 5, ..Setup::new(NOW) }).await;
    client.console.set_faults(Faults { max_consecutive: 2, ..Faults::default() }.with(Fault::InternalError, 1.0));
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(client.get(LIST).await.status);
    }
    assert_eq!(statuses, [500, 500, 200, 500, 500, 200]);
    client.console.set_faults(Faults::default().next_times(1, Fault::BadGateway));
    assert_eq!((client.get(LIST).await.status, client.get(LIST).await.status), (502, 200));
    let only =
        Faults { max_consecutive: u32::MAX, ..Faults::default() }.with_on(Kind::Activities, Fault::InternalError, 1.0);
    client.console.set_faults(Faults { forbidden: vec![Kind::Alerts], missing: vec![Kind::Groups], ..only });
    for (path, status) in [("/threats", 200), ("/activities", 500), ("/cloud-detection/alerts", 403), ("/groups", 404)]
    {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    client.stop().await;
}

#[tokio::test]
async fn the_rate_limit_holds_per_token_and_second() {
    let client = Client::new(&Setup { threats: 5, ..Setup::new(NOW) }).await;
    client.console.set_faults(Faults { rate_limit: Some(2), ..Faults::default() });
    let statuses = [client.get(LIST).await.status, client.get(LIST).await.status, client.get(LIST).await.status];
    assert_eq!(statuses, [200, 200, 429]);
    client.set_clock(NOW + SECOND);
    assert_eq!(client.get(LIST).await.status, 200);
    client.stop().await;
}

#[tokio::test]
async fn records_arrive_late_and_change_while_pages_are_read() {
    let client = Client::new(&Setup { activities: 30, threats: 30, agents: 5, ..Setup::new(NOW) }).await;
    let late = Duration::from_mins(4);
    client.console.set_faults(always(Fault::LateArrival(late)));
    let before: BTreeSet<_> = client.console.ids(Kind::Activities).into_iter().collect();
    client.get("/activities").await;
    let after = client.console.visible_versions(Kind::Activities, &Scope::Global);
    let new: Vec<_> = after.iter().filter(|version| !before.contains(&version.id)).collect();
    assert!(new.iter().all(|version| version.created > NOW - 241 * SECOND && version.created < NOW), "{new:?}");
    assert_eq!(client.console.count(Kind::Activities), 31);
    client.console.set_faults(always(Fault::ChangedWhilePaged));
    let before: BTreeSet<_> = client.console.visible_versions(Kind::Threats, &Scope::Global).into_iter().collect();
    client.get("/threats").await;
    let after: BTreeSet<_> = client.console.visible_versions(Kind::Threats, &Scope::Global).into_iter().collect();
    assert_eq!(after.difference(&before).count(), 1);
    assert_eq!(client.console.replaced_versions(Kind::Threats).len(), 1);
    client.stop().await;
}

#[tokio::test]
async fn one_nodes_clock_is_wrong_and_large_records_are_served() {
    let setup =
        Setup { oversized: vec![(Kind::Threats, 300_000), (Kind::Agents, 12_000_000)], agents: 3, ..Setup::new(NOW) };
    let client = Client::new(&setup).await;
    client.console.set_faults(always(Fault::WrongDate(3600)));
    assert_eq!(client.get(LIST).await.header("date"), "Thu, 01 Jan 2026 01:00:00 GMT");
    client.console.set_faults(Faults::default());
    let page = client.page("/threats").await;
    assert!(page["data"][0]["threatInfo"]["maliciousProcessArguments"].as_str().unwrap().len() >= 300_000);
    assert!(client.get("/agents?isDecommissioned=True,False").await.text.len() > 12_000_000);
    client.stop().await;
}

#[tokio::test]
async fn gzip_comes_when_asked_for() {
    let client = Client::new(&Setup { threats: 100, ..Setup::new(NOW) }).await;
    let plain = client.get("/threats?limit=100").await;
    assert_eq!(plain.header("content-encoding"), "");
    let asked = || {
        let request = client.request("/threats?limit=100", &format!("ApiToken {}", Setup::TOKEN));
        request.header("Accept-Encoding", "br, gzip;q=0.9")
    };
    let packed = asked().send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    let bytes = packed.bytes().await.unwrap();
    flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text);
    client.console.set_quirks(s1_forwarder::emulator::Quirks { gzip: false, ..Default::default() });
    assert_eq!(Got::of(asked()).await.unwrap().header("content-encoding"), "");
    client.stop().await;
}

#[test]
fn every_preset_is_known_by_its_name() {
    for name in Faults::PRESETS {
        Faults::preset(name).unwrap();
    }
    let unknown = Faults::preset("gremlins").unwrap_err().to_string();
    assert!(unknown.contains("gremlins") && unknown.contains("rate-limit"), "{unknown}");
}

#[tokio::test]
async fn a_console_goes_away_and_comes_back() {
    let client = Client::new(&Setup { threats: 5, ..Setup::new(NOW) }).await;
    let console = client.console.clone();
    let address = client.address();
    let http = reqwest::Client::new();
    let status = format!("http://{address}/web/api/v2.1/system/status");
    assert_eq!(http.get(&status).send().await.unwrap().status(), 200);
    client.stop().await;
    assert!(http.get(&status).send().await.is_err());
    let again = Server::start(console, address).await.unwrap();
    assert_eq!(http.get(&status).send().await.unwrap().status(), 200);
    drop(again);
    let deadline = Instant::now() + Duration::from_secs(10);
    while http.get(&status).send().await.is_ok() {
        assert!(Instant::now() < deadline, "a dropped server goes on listening");
        tokio::task::yield_now().await;
    }
}
