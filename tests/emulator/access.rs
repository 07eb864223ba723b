//! Section 1 of the contract: tokens, scopes, permissions, and the small endpoints.

use s1_forwarder::emulator::{FIRST_USER, Kind, OutOfScope, Quirks, Scope, Setup, Token, print_time};
use serde_json::json;

use super::client::{Client, Got, NOW, SECOND, distinct, ids_of};

const UNAUTHORIZED: &str = r#"{"errors":[{"code":4010010,"detail":null,"title":"Authentication Failed"}]}"#;

#[tokio::test]
async fn the_scheme_compares_without_case_and_bad_tokens_look_alike() {
    let client = Client::new(&Setup { threats: 3, ..Setup::new(NOW) }).await;
    let token = Setup::TOKEN;
    for scheme in ["ApiToken", "APIToken", "apitoken"] {
        let got = Got::of(client.request("/threats", &format!("{scheme} {token}"))).await.unwrap();
        assert_eq!(got.status, 200, "{scheme}");
        assert_eq!(got.header("content-type"), "application/json");
        assert_eq!(got.header("server"), "nginx");
        assert_eq!(got.header("x-rqid").len(), 36);
        assert_eq!(got.header("date"), "Thu, 01 Jan 2026 00:00:00 GMT", "the console's clock, not ours");
    }
    client.console.set_token(Token { revoked: true, ..Token::new("revoked") });
    client.console.set_token(Token::new("old").expiring(NOW - 1));
    for authorization in [
        format!("Bearer {token}"),
        token.to_owned(),
        "ApiToken".into(),
        "ApiToken revoked".into(),
        "ApiToken old".into(),
    ] {
        let got = Got::of(client.request("/threats", &authorization)).await.unwrap();
        assert_eq!((got.status, &*got.text), (401, UNAUTHORIZED), "{authorization}");
    }
    client.stop().await;
}

#[tokio::test]
async fn a_token_expires_in_time_and_its_details_say_so() {
    let client = Client::new(&Setup { threats: 3, ..Setup::new(NOW) }).await;
    let expires = NOW + 60 * SECOND;
    client.console.set_token(Token::new("short").expiring(expires));
    assert_eq!(client.get_as("/threats", "short").await.status, 200);
    client.set_clock(expires);
    assert_eq!(client.get_as("/threats", "short").await.status, 401);
    let details =
        |token: &str| Got::of(client.post("/users/api-token-details", &json!({ "data": { "apiToken": token } })));
    let reported = details("short").await.unwrap();
    assert_eq!(reported.status, 200);
    assert_eq!(reported.json()["data"]["expiresAt"], print_time(expires));
    client.console.set_token(Token { revoked: true, ..Token::new("short").expiring(expires) });
    assert_eq!(details("short").await.unwrap().status, 400, "a revoked token is unknown");
    client.console.set_quirks(Quirks { unknown_token_is_400: false, ..Quirks::default() });
    assert_eq!(details("nobody's").await.unwrap().status, 401);
    let empty = Got::of(client.post("/users/api-token-details", &json!({}))).await.unwrap();
    assert_eq!(empty.status, 400);

    let user = client.page("/user").await;
    assert_eq!(user["data"]["id"], FIRST_USER.to_string());
    assert_eq!(user["data"]["scope"], "tenant");
    let own = client.page(&format!("/users/{FIRST_USER}/api-token-details")).await;
    assert_eq!(own["data"], user["data"]["apiToken"]);
    assert_eq!(client.get(&format!("/users/{}/api-token-details", FIRST_USER + 1)).await.status, 403);
    assert_eq!(client.get("/users/225494730938999999/api-token-details").await.status, 404);
    client.stop().await;
}

#[tokio::test]
async fn tokens_see_their_scope_only() {
    let setup = Setup { activities: 900, threats: 90, agents: 60, alerts: 60, vulnerabilities: 200, ..Setup::new(NOW) };
    let client = Client::new(&setup).await;
    let accounts = client.console.ids(Kind::Accounts);
    let sites = client.console.ids(Kind::Sites);
    let of_account = Scope::Accounts(vec![accounts[0]]);
    let of_sites = Scope::Sites(vec![sites[1], sites[3]]);
    client.console.set_token(Token::new("account").scoped(of_account.clone()));
    client.console.set_token(Token::new("sites").scoped(of_sites.clone()));
    for (token, scope) in [("account", &of_account), ("sites", &of_sites)] {
        // Accounts and users have rules of their own, and unified alerts are no list.
        let is_list = |kind: &Kind| ![Kind::Accounts, Kind::Users, Kind::UnifiedAlerts].contains(kind);
        for kind in Kind::ALL.into_iter().filter(is_list) {
            let expected = client.console.visible_versions(kind, scope);
            let all = client.console.visible_versions(kind, &Scope::Global);
            assert!(!expected.is_empty() && expected.len() < all.len(), "{kind:?}");
            let page = client.get_as(&format!("{}?limit=300&sortBy=id", kind.path()), token).await.json();
            assert_eq!(page["pagination"]["totalItems"], expected.len(), "{kind:?}: the total is what the token sees");
            let wanted: Vec<String> = expected.iter().take(300).map(|version| version.id.to_string()).collect();
            assert_eq!(ids_of(&page), wanted, "{kind:?}");
        }
    }
    assert_eq!(client.get_as("/accounts", "sites").await.status, 403);
    assert_eq!(ids_of(&client.get_as("/accounts", "account").await.json()).len(), 1);
    assert_eq!(client.get_as("/user", "sites").await.json()["data"]["scopeRoles"].as_array().unwrap().len(), 2);
    assert_eq!(client.get_as("/threats?tenant=true", "account").await.status, 403);
    assert_eq!(client.get("/threats?tenant=true").await.status, 200);

    // Filters narrow below the token's scope; an id beyond it is an empty page or 403.
    let narrowed = client.get_as(&format!("/threats?limit=1000&siteIds={}", sites[1]), "account").await.json();
    assert_eq!(
        ids_of(&narrowed).len(),
        client.console.visible_versions(Kind::Threats, &Scope::Sites(vec![sites[1]])).len()
    );
    let beyond = format!("/threats?accountIds={}", accounts[1]);
    assert_eq!(ids_of(&client.get_as(&beyond, "account").await.json()).len(), 0);
    client.console.set_quirks(Quirks { out_of_scope: OutOfScope::Forbidden, ..Quirks::default() });
    let refused = client.get_as(&beyond, "account").await;
    assert_eq!((refused.status, refused.json()["errors"][0]["code"].as_i64()), (403, Some(4_030_010)));
    assert_eq!(client.get_as(&format!("/threats?siteIds={}", sites[1]), "account").await.status, 200);

    let groups = client.console.ids(Kind::Groups);
    let all: Vec<String> = groups.iter().map(u64::to_string).collect();
    for path in ["/agents?isDecommissioned=True,False&", "/threats?", "/cloud-detection/alerts?"] {
        let mut ids = Vec::new();
        for group in &all {
            ids.extend(client.walk(&format!("{path}limit=1000&groupIds={group}")).await.0);
        }
        assert_eq!(ids.len(), client.walk(&format!("{path}limit=1000")).await.0.len(), "{path}");
        assert_eq!(distinct(&ids), ids.len());
    }
    client.stop().await;
}

#[tokio::test]
async fn permissions_are_missing_one_stream_at_a_time() {
    let client = Client::new(&Setup { activities: 9, threats: 9, alerts: 9, ..Setup::new(NOW) }).await;
    client.console.set_token(Token::new("weak").without(Kind::Alerts));
    let refused = client.get_as("/cloud-detection/alerts", "weak").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["errors"][0]["title"], "Insufficient permissions");
    assert_eq!(client.get_as("/threats", "weak").await.status, 200);
    client.stop().await;
}

#[tokio::test]
async fn small_endpoints_answer() {
    let client = Client::new(&Setup { activities: 9, threats: 30, agents: 5, ..Setup::new(NOW) }).await;
    let status = Got::of(client.request("/system/status", "")).await.unwrap();
    assert_eq!(status.json(), json!({ "data": { "health": "ok" }, "errors": null }), "without authentication");
    assert!(client.page("/system/info").await["data"]["latestAgentVersion"].is_string());
    let types = client.page("/activities/types").await;
    assert!(types["data"].as_array().unwrap().len() > 500);
    assert!(types["data"].as_array().unwrap().iter().any(|one| one["id"] == 27 && one["action"] == "User Logged In"));
    let sites = client.page("/sites").await;
    assert_eq!(sites["data"]["sites"].as_array().unwrap().len(), 5, "the data of sites is an object");
    assert!(sites["data"]["allSites"].is_object());
    assert_eq!(client.page("/users").await["data"].as_array().unwrap().len(), 10);
    let (threats, _) = client.walk("/threats?limit=1000&analystVerdictsNin=undefined").await;
    let timeline = client.page(&format!("/threats/{}/timeline?limit=10", threats[0])).await;
    assert!(timeline["data"][0].get("siteName").is_none());
    let notes = client.page(&format!("/threats/{}/notes", threats[0])).await;
    assert_eq!(notes["data"][0]["edited"], false);
    let missing = client.get("/threats/225494730938999999/timeline").await;
    assert_eq!((missing.status, missing.json()["errors"][0]["code"].as_i64()), (404, Some(4_040_010)));
    assert_eq!(client.get("/no/such/thing").await.text, "404 page not found\n");
    client.stop().await;
}
