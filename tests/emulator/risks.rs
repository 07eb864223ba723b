//! Application findings: the contract of `/application-management/risks`.

use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, Quirks, Scope, Setup, Token, print_time};
use serde_json::Value;

use super::client::{Client, NOW, SECOND, distinct, ids_of};

const PATH: &str = "/application-management/risks";
const DAY: i64 = 86_400 * SECOND;

async fn console() -> Client {
    Client::new(&Setup { vulnerabilities: 300, agents: 50, span: Duration::from_hours(1_440), ..Setup::new(NOW) }).await
}

#[tokio::test]
async fn one_scope_at_a_time_and_all_without_any() {
    let client = console().await;
    let (all, pages) = client.walk(&format!("{PATH}?limit=50&sortBy=id&sortOrder=asc&skipCount=true")).await;
    let expected = client.console.visible_versions(Kind::Vulnerabilities, &Scope::Global);
    assert!(all.len() == expected.len() && distinct(&all) == all.len() && pages > 3);
    assert!(all.is_sorted_by_key(|id| id.parse::<u64>().unwrap()));
    let sites = client.console.ids(Kind::Sites);
    let mut sum = 0;
    for site in &sites {
        let (found, _) = client.walk(&format!("{PATH}?limit=100&siteIds={site}")).await;
        assert_eq!(
            found.len(),
            client.console.visible_versions(Kind::Vulnerabilities, &Scope::Sites(vec![*site])).len()
        );
        sum += found.len();
    }
    assert_eq!(sum, all.len());
    assert!(client.refusal(&format!("{PATH}?siteIds={},{}", sites[0], sites[1])).await.contains("Length must be 1"));
    client.console.set_quirks(Quirks {
        unlicensed_sites: vec![sites[0]],
        risks_require_one_scope: true,
        ..Quirks::default()
    });
    let refused = client.get(&format!("{PATH}?siteIds={}", sites[0])).await;
    assert!(refused.status == 403 && refused.text.contains("is not available for the scope"));
    assert_eq!(client.get(&format!("{PATH}?siteIds={}", sites[1])).await.status, 200);
    client.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![sites[1], sites[2]])));
    assert_eq!(client.get(PATH).await.status, 403);
    client.stop().await;
}

#[tokio::test]
async fn removals_are_shown_when_asked_for_and_updates_are_found_by_a_date_that_is_not_reported() {
    let client = console().await;
    let all = client.walk(&format!("{PATH}?limit=1000&includeRemovals=true")).await.0;
    let open = client.walk(&format!("{PATH}?limit=1000")).await.0;
    assert!(all.len() == 300 && open.len() < 300);
    let id: u64 = open[5].parse().unwrap();
    client.console.update(Kind::Vulnerabilities, id, NOW, |record| record["status"] = "Removed".into());
    let since = print_time(NOW);
    let changed = client.page(&format!("{PATH}?includeRemovals=true&riskUpdatedDate__gte={since}")).await;
    assert_eq!(ids_of(&changed), [open[5].clone()]);
    let record = &changed["data"][0];
    assert!(record["status"] == "Removed" && record["application"].is_string());
    for hidden in ["updatedAt", "riskUpdatedDate", "accountId", "siteId", "groupId"] {
        assert!(record.get(hidden).is_none(), "{hidden}");
    }
    assert!(ids_of(&client.page(&format!("{PATH}?riskUpdatedDate__gte={since}")).await).is_empty());
    let detected = client.page(&format!("{PATH}?limit=1000&detectionDate__gte={}", print_time(NOW - 20 * DAY))).await;
    let expected = client.console.visible_versions(Kind::Vulnerabilities, &Scope::Global);
    let young = expected.iter().filter(|version| version.created >= NOW - 20 * DAY).count();
    assert_eq!(ids_of(&detected).len(), young);
    client.stop().await;
}

#[tokio::test]
async fn age_and_scans_move_without_a_change() {
    let client = console().await;
    let target = format!("{PATH}?limit=10&sortBy=id");
    let before = client.page(&target).await["data"].clone();
    client.set_clock(NOW + DAY);
    let after = client.page(&target).await["data"].clone();
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(before["id"], after["id"]);
        assert_eq!(before["daysDetected"].as_i64().unwrap() + 1, after["daysDetected"].as_i64().unwrap());
        assert_ne!(before["lastScanDate"], after["lastScanDate"]);
        let rest = |record: &Value| {
            let mut record = record.clone();
            record["daysDetected"] = Value::Null;
            record["lastScanDate"] = Value::Null;
            record
        };
        assert_eq!(rest(before), rest(after));
    }
    client.stop().await;
}

#[tokio::test]
async fn large_pages_time_out_and_answers_may_be_slow() {
    let client = console().await;
    client.console.set_quirks(Quirks { risks_timeout_above: Some(250), ..Quirks::default() });
    assert_eq!(client.get(&format!("{PATH}?limit=500")).await.status, 504);
    assert_eq!(client.get(&format!("{PATH}?limit=250")).await.status, 200);
    client.console.set_faults(Faults::default().next_times(1, Fault::SlowAnswer(Duration::from_millis(200))));
    let started_at = tokio::time::Instant::now();
    client.page(PATH).await;
    assert!(started_at.elapsed() >= Duration::from_millis(200));
    client.stop().await;
}

#[tokio::test]
async fn without_the_licence_its_fields_are_not_there() {
    let older = Client::new(&Setup { vulnerabilities: 20, older: true, ..Setup::new(NOW) }).await;
    let newer = console().await;
    for (client, there) in [(&older, false), (&newer, true)] {
        for record in client.page(PATH).await["data"].as_array().unwrap() {
            for field in ["nvdBaseScore", "riskScore", "mitigationStatus", "exploitCodeMaturity"] {
                assert_eq!(record.get(field).is_some(), there, "{field}");
            }
            assert!(record["baseScore"].is_string() && record["id"].as_str().unwrap().len() >= 17);
        }
    }
    for client in [older, newer] {
        client.stop().await;
    }
}

#[tokio::test]
async fn one_site_may_fail_and_lists_of_scopes_may_be_empty_or_null() {
    let client = console().await;
    let sites = client.console.ids(Kind::Sites);
    for (fault, status) in [(Fault::Forbidden, 403), (Fault::NotFound, 404), (Fault::GatewayTimeout, 504)] {
        client.console.set_faults(Faults { sites: vec![(sites[0], fault)], ..Faults::default() });
        assert_eq!(client.get(&format!("{PATH}?siteIds={}", sites[0])).await.status, status);
        assert_eq!(client.get(&format!("{PATH}?siteIds={}", sites[1])).await.status, 200);
    }
    client.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites[..1].to_vec())));
    assert_eq!(client.get("/accounts").await.status, 403);
    client.console.set_quirks(Quirks { accounts_empty_for_sites: true, ..Quirks::default() });
    assert_eq!(client.page("/accounts").await["data"], Value::Array(Vec::new()));
    client.console.set_quirks(Quirks { accounts_empty_for_sites: true, empty_is_null: true, ..Quirks::default() });
    let page = client.page("/accounts").await;
    assert_eq!((&page["data"], page["pagination"]["totalItems"].as_u64()), (&Value::Null, Some(0)));
    client.stop().await;
}
