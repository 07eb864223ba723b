//! A token endpoint for client credentials (RFC 6749, section 4.4).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::double::{Contract, Double, FaultRule, Received, Reply};

/// A running token endpoint; it ends when it is dropped.
pub struct TokenEndpoint(Double<Tokens>);

struct Tokens {
    secrets: BTreeSet<String>,
    token: fn(u32) -> String,
    lifetime: u64,
    issued: u32,
}

impl TokenEndpoint {
    /// Issues `token-1`, `token-2`, … to the client `client` with this secret, each for `lifetime` seconds.
    pub async fn start(secret: &str, lifetime: u64) -> Self {
        Self::start_with(secret, lifetime, |number| format!("token-{number}")).await
    }

    /// Issues what `token` makes of the numbers from 1.
    pub async fn start_with(secret: &str, lifetime: u64, token: fn(u32) -> String) -> Self {
        let secrets = BTreeSet::from([secret.to_owned()]);
        Self(Double::start(Tokens { secrets, token, lifetime, issued: 0 }).await)
    }

    pub fn url(&self) -> String {
        format!("{}/token", self.0.url())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> u32 {
        self.0.contract(|tokens| tokens.issued)
    }

    /// The forms of all requests.
    pub fn forms(&self) -> Vec<BTreeMap<String, String>> {
        self.0.requests().iter().map(form).collect()
    }

    /// Another secret replaces the old one.
    pub fn rotate(&self, secret: &str) {
        self.0.contract(|tokens| tokens.secrets = BTreeSet::from([secret.to_owned()]));
    }

    /// How the next request is answered.
    pub fn script(&self, status: u16, headers: Vec<(&'static str, String)>, body: impl Into<Cow<'static, str>>) {
        self.0.script([FaultRule::Answer(Reply { headers, ..Reply::new(status, body) })]);
    }
}

fn form(request: &Received) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&request.bytes).into_owned().collect()
}

impl Contract for Tokens {
    fn answer(&mut self, request: &Received) -> Reply {
        if request.method != "POST" || request.path != "/token" {
            return Reply::new(404, "");
        }
        let form = form(request);
        let get = |key: &str| form.get(key).map_or("", String::as_str);
        let is_form = request.header("content-type") == "application/x-www-form-urlencoded";
        if !is_form || get("grant_type") != "client_credentials" {
            return Reply::new(400, r#"{"error":"unsupported_grant_type"}"#);
        }
        if get("client_id") != "client" || !self.secrets.contains(get("client_secret")) {
            // Some endpoints repeat the secret, as this one does.
            let words = format!("AADSTS7000215: invalid client secret {}", get("client_secret"));
            let refusal = serde_json::json!({ "error": "invalid_client", "error_description": words });
            return Reply::new(401, refusal.to_string());
        }
        self.issued += 1;
        let lifetime = self.lifetime;
        let token = (self.token)(self.issued);
        let body = format!(r#"{{"token_type":"Bearer","expires_in":{lifetime},"access_token":"{token}"}}"#);
        Reply::new(200, body).with("content-type", "application/json")
    }
}
