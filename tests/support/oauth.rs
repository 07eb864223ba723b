//! A token endpoint for client credentials (RFC 6749, section 4.4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::net::TcpListener;

use super::receiver::answer;

/// A running token endpoint; it ends when it is dropped.
pub struct TokenEndpoint {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: tokio::task::JoinHandle<()>,
}

/// Status, headers, body.
type Scripted = (u16, Vec<(&'static str, String)>, &'static str);

struct Inner {
    secrets: BTreeSet<String>,
    token: fn(u32) -> String,
    lifetime: u64,
    issued: u32,
    faults: VecDeque<Scripted>,
    forms: Vec<BTreeMap<String, String>>,
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TokenEndpoint {
    /// Issues `token-1`, `token-2`, … to the client `client` with this secret, each for `lifetime` seconds.
    pub async fn start(secret: &str, lifetime: u64) -> Self {
        Self::start_with(secret, lifetime, |number| format!("token-{number}")).await
    }

    /// Issues what `token` makes of the numbers from 1.
    pub async fn start_with(secret: &str, lifetime: u64, token: fn(u32) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secrets = BTreeSet::from([secret.to_owned()]);
        let inner = Arc::new(Mutex::new(Inner {
            secrets,
            token,
            lifetime,
            issued: 0,
            faults: VecDeque::new(),
            forms: Vec::new(),
        }));
        let app = axum::Router::new().route("/token", axum::routing::post(issue)).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> u32 {
        self.inner.lock().unwrap().issued
    }

    /// The forms of all requests.
    pub fn forms(&self) -> Vec<BTreeMap<String, String>> {
        self.inner.lock().unwrap().forms.clone()
    }

    /// Another secret takes the place of the old one.
    pub fn rotate(&self, secret: &str) {
        self.inner.lock().unwrap().secrets = BTreeSet::from([secret.to_owned()]);
    }

    /// How the next request is answered.
    pub fn script(&self, status: u16, headers: Vec<(&'static str, String)>, body: &'static str) {
        self.inner.lock().unwrap().faults.push_back((status, headers, body));
    }
}

async fn issue(State(inner): State<Arc<Mutex<Inner>>>, headers: HeaderMap, body: String) -> Response {
    // Long enough for requests that come together to meet.
    tokio::task::yield_now().await;
    let mut inner = inner.lock().unwrap();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    inner.forms.push(form.clone());
    if let Some((status, headers, body)) = inner.faults.pop_front() {
        return answer(status, &headers, body);
    }
    let get = |key: &str| form.get(key).map_or("", String::as_str);
    let typed = headers.get("content-type").is_some_and(|value| value == "application/x-www-form-urlencoded");
    if !typed || get("grant_type") != "client_credentials" {
        return answer(400, &[], r#"{"error":"unsupported_grant_type"}"#);
    }
    if get("client_id") != "client" || !inner.secrets.contains(get("client_secret")) {
        // Too talkative, as some are.
        let words = format!("AADSTS7000215: invalid client secret {}", get("client_secret"));
        let refusal = serde_json::json!({ "error": "invalid_client", "error_description": words });
        return answer(401, &[], &refusal.to_string());
    }
    inner.issued += 1;
    let token = format!(
        r#"{{"token_type":"Bearer","expires_in":{},"access_token":"{}"}}"#,
        inner.lifetime,
        (inner.token)(inner.issued)
    );
    answer(200, &[("content-type", "application/json".to_owned())], &token)
}
