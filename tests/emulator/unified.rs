//! Unified alerts: the contract of `/unifiedalerts/graphql`.

use std::collections::BTreeSet;

use s1_forwarder::emulator::{Fault, Faults, Kind, Quirks, Scope, Setup, Token};
use serde_json::{Value, json};

use super::client::{Client, Got, NOW, SECOND};

const QUERY: &str =
    "query Q($first: Int, $after: String, $filters: [FilterInput!], $sort: SortInput, $scope: ScopeSelectorInput) {
    alerts(first: $first, after: $after, filters: $filters, sort: $sort, scope: $scope) {
        totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id updatedAt detectedAt FIELDS } } } }";

async fn ask(client: &Client, fields: &str, variables: Value) -> Got {
    let body = json!({ "query": QUERY.replace("FIELDS", fields), "variables": variables });
    let request = client.post("/unifiedalerts/graphql", &body);
    Got::of(request.header("Authorization", format!("ApiToken {}", Setup::TOKEN))).await.unwrap()
}

/// The first error of an answer whose status is 200.
async fn refusal(client: &Client, fields: &str, variables: Value) -> String {
    let got = ask(client, fields, variables).await;
    assert_eq!(got.status, 200);
    assert!(got.json()["data"].is_null(), "{}", got.text);
    got.json()["errors"][0]["message"].as_str().unwrap().to_owned()
}

/// Every node of every page.
async fn walk(client: &Client, mut variables: Value) -> Vec<Value> {
    let mut nodes = Vec::new();
    loop {
        let got = ask(client, "", variables.clone()).await;
        let alerts = got.json()["data"]["alerts"].clone();
        nodes.extend(alerts["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()));
        if alerts["pageInfo"]["hasNextPage"] == false {
            return nodes;
        }
        variables["after"] = alerts["pageInfo"]["endCursor"].clone();
    }
}

fn ids(nodes: &[Value]) -> BTreeSet<&str> {
    nodes.iter().map(|node| node["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_hold_every_alert_once_in_order() {
    let client = Client::new(&Setup { unified_alerts: 400, agents: 40, ..Setup::new(NOW) }).await;
    let all = walk(&client, json!({ "first": 37, "sort": { "by": "detectedAt", "order": "ASC" } })).await;
    assert_eq!((all.len(), ids(&all).len()), (400, 400));
    assert!(all.is_sorted_by_key(|node| node["detectedAt"].as_str().unwrap().to_owned()));
    assert!(all.iter().any(|node| node["updatedAt"].is_null()), "some were never updated");

    let range = |start: Value, end: Value| json!([{ "fieldId": "updatedAt", "dateTimeRange": { "start": start, "startInclusive": true, "end": end } }]);
    let mid = (NOW - 43_200 * SECOND) / 1_000;
    let now = NOW / 1_000;
    let sort = json!({ "by": "updatedAt", "order": "ASC" });
    let dated = walk(&client, json!({ "first": 50, "sort": sort, "filters": range(Value::Null, now.into()) })).await;
    let young = walk(&client, json!({ "first": 50, "sort": sort, "filters": range(mid.into(), now.into()) })).await;
    let old =
        walk(&client, json!({ "first": 50, "sort": sort, "filters": range(Value::Null, (mid - 1).into()) })).await;
    assert!(dated.len() < 400 && !young.is_empty() && !old.is_empty());
    assert_eq!(young.len() + old.len(), dated.len());
    // Both ends are included.
    let one = &young[young.len() / 2]["updatedAt"];
    let millis = one.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let at = walk(&client, json!({ "sort": sort, "filters": range(millis.into(), millis.into()) })).await;
    assert!(!at.is_empty() && at.iter().all(|node| node["updatedAt"] == *one));
    client.stop().await;
}

#[tokio::test]
async fn scopes_part_the_alerts() {
    let client = Client::new(&Setup { unified_alerts: 300, agents: 60, ..Setup::new(NOW) }).await;
    let scoped = |kind: &str, id: u64| json!({ "scope": { "scopeType": kind, "scopeIds": [id.to_string()] } });
    for (kind, of, scope) in [
        ("SITE", Kind::Sites, Scope::Sites as fn(Vec<u64>) -> Scope),
        ("ACCOUNT", Kind::Accounts, Scope::Accounts as fn(Vec<u64>) -> Scope),
    ] {
        let mut sum = 0;
        for id in client.console.ids(of) {
            let found = walk(&client, scoped(kind, id)).await.len();
            assert_eq!(found, client.console.visible_versions(Kind::UnifiedAlerts, &scope(vec![id])).len());
            sum += found;
        }
        assert_eq!(sum, 300);
    }
    assert_eq!(ask(&client, "", scoped("GLOBAL", 1)).await.status, 400);
    let site = client.console.ids(Kind::Sites)[0];
    client.console.set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![site])));
    let seen = walk(&client, json!({})).await.len();
    assert_eq!(seen, client.console.visible_versions(Kind::UnifiedAlerts, &Scope::Sites(vec![site])).len());
    client.stop().await;
}

#[tokio::test]
async fn what_a_release_does_not_know_fails_the_whole_query() {
    let client = Client::new(&Setup { unified_alerts: 3, ..Setup::new(NOW) }).await;
    assert!(
        refusal(&client, "nonsense", json!({})).await.contains("Field 'nonsense' in type 'UnifiedAlert' is undefined")
    );
    assert!(refusal(&client, "assignee", json!({})).await.contains("Subselection required for type 'User'"));
    assert!(refusal(&client, "id { x }", json!({})).await.contains("Subselection not allowed"));
    let newer = "labels assets { primary } detectionTime { assets { cloud { providerDetails { __typename ... on DetectionAws { region } } } } }";
    assert_eq!(ask(&client, newer, json!({})).await.json()["data"]["alerts"]["totalCount"], 3);
    let lack = vec!["UnifiedAlert.labels".to_owned()];
    client.console.set_quirks(Quirks { missing_alert_fields: lack, ..Quirks::default() });
    assert!(refusal(&client, newer, json!({})).await.contains("'labels'"));
    assert_eq!(ask(&client, "assets { primary }", json!({})).await.json()["errors"], Value::Null);

    let older = Client::new(&Setup { unified_alerts: 3, older: true, ..Setup::new(NOW) }).await;
    let errors = ask(&older, newer, json!({})).await.json()["errors"].as_array().unwrap().len();
    assert_eq!(errors, 2, "one for each newer field");
    assert_eq!(ask(&older, "assets { name }", json!({})).await.json()["errors"], Value::Null);
    for client in [client, older] {
        client.stop().await;
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let client = Client::new(&Setup { unified_alerts: 40, ..Setup::new(NOW) }).await;
    let unknown = json!({ "filters": [{ "fieldId": "siteId", "stringEqual": { "value": "1" } }] });
    let expected = "Field siteId does not exist or not supported for FILTER API call";
    assert_eq!(refusal(&client, "", unknown).await, expected);
    let by_detection = || json!({ "filters": [{ "fieldId": "detectedAt", "dateTimeRange": { "start": 0 } }] });
    assert_eq!(ask(&client, "id", by_detection()).await.json()["errors"], Value::Null);
    let missing_alert_filters = vec!["detectedAt".to_owned()];
    client.console.set_quirks(Quirks { missing_alert_filters, ..Quirks::default() });
    assert!(refusal(&client, "id", by_detection()).await.starts_with("Field detectedAt does not exist"));
    client.console.set_quirks(Quirks::default());
    for range in [json!({ "start": "2026-01-01T00:00:00Z" }), json!({ "end": 1.5 })] {
        let filters = json!({ "filters": [{ "fieldId": "updatedAt", "dateTimeRange": range }] });
        assert_eq!(ask(&client, "", filters).await.status, 400);
    }
    let none = json!({ "filters": [{ "fieldId": "status", "stringIn": { "values": ["OPEN"] } }] });
    assert_eq!(ask(&client, "", none).await.json()["data"]["alerts"]["totalCount"], 0, "a wrong word is no error");
    let first = ask(&client, "", json!({ "first": 10 })).await.json();
    let after = first["data"]["alerts"]["pageInfo"]["endCursor"].clone();
    let other = json!({ "first": 10, "after": after, "sort": { "by": "updatedAt", "order": "ASC" } });
    assert!(refusal(&client, "", other).await.contains("cursor"));
    assert_eq!(client.get("/unifiedalerts/graphql").await.status, 404);
    let body = json!({ "query": "{ alerts(first: 1) { totalCount } }" });
    let bearer =
        client.post("/unifiedalerts/graphql", &body).header("Authorization", format!("Bearer {}", Setup::TOKEN));
    assert_eq!(Got::of(bearer).await.unwrap().json()["data"]["alerts"]["totalCount"], 40);
    let mutation = json!({ "query": "mutation { addAlertNote { id } }" });
    let mutation =
        client.post("/unifiedalerts/graphql", &mutation).header("Authorization", format!("ApiToken {}", Setup::TOKEN));
    assert!(Got::of(mutation).await.unwrap().json()["errors"].is_array());
    client.console.set_token(Token::new(Setup::TOKEN).without(Kind::UnifiedAlerts));
    assert_eq!(ask(&client, "", json!({})).await.status, 403);
    assert_eq!(client.get("/threats").await.status, 200, "other streams go on");
    client.stop().await;
}

#[tokio::test]
async fn errors_are_inside_good_answers_and_edges_may_be_null() {
    let client = Client::new(&Setup { unified_alerts: 10, ..Setup::new(NOW) }).await;
    client.console.set_faults(Faults::default().next_times(1, Fault::ErrorsOnly));
    assert!(refusal(&client, "", json!({})).await.contains("Internal"));
    client.console.set_faults(Faults::default().next_times(1, Fault::ErrorsWithData));
    let partial = ask(&client, "", json!({})).await.json();
    assert!(partial["errors"][0]["message"].is_string() && partial["data"]["alerts"]["totalCount"] == 10);
    client.console.set_quirks(Quirks { null_edges: true, ..Quirks::default() });
    let edges = ask(&client, "", json!({})).await.json()["data"]["alerts"]["edges"].clone();
    assert!(edges[10].is_null() && edges[11]["node"].is_null() && edges.as_array().unwrap().len() == 12);
    client.stop().await;
}

#[tokio::test]
async fn alerts_change_and_have_notes_and_a_timeline() {
    let client = Client::new(&Setup { unified_alerts: 60, ..Setup::new(NOW) }).await;
    let id = client.console.ids(Kind::UnifiedAlerts)[7];
    let read = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
    let before = read(client.console.record(Kind::UnifiedAlerts, id).unwrap());
    assert!(client.console.change_randomly(Kind::UnifiedAlerts, id, NOW));
    let after = read(client.console.record(Kind::UnifiedAlerts, id).unwrap());
    assert!(before["id"] == after["id"] && after["updatedAt"] == "2026-01-01T00:00:00.000Z" && before != after);
    let noted = client.console.ids(Kind::UnifiedAlerts).into_iter();
    let mut noted = noted.map(|id| read(client.console.record(Kind::UnifiedAlerts, id).unwrap()));
    let noted = noted.find(|alert| alert["noteExists"] == true).unwrap();
    let query = "query($id: ID!) { alertNotes(alertId: $id) { data { text createdBy { __typename } } } alertTimeline(alertId: $id, first: 5) { edges { node { eventType } } } }";
    let body = json!({ "query": query, "variables": { "id": noted["id"] } });
    let request =
        client.post("/unifiedalerts/graphql", &body).header("Authorization", format!("ApiToken {}", Setup::TOKEN));
    let data = Got::of(request).await.unwrap().json()["data"].clone();
    assert_eq!(data["alertNotes"]["data"][0]["text"], "Looked into it.");
    assert_eq!(data["alertTimeline"]["edges"][0]["node"]["eventType"], "ACTIVITY");
    client.stop().await;
}
