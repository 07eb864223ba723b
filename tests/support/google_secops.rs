use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rustls::SignatureScheme;
use s1_forwarder::record::Timestamp;
use serde_json::Value;

use super::double::{Contract, Received, Reply};

pub const KEY: &str = include_str!("../data/google/service-account.json");
const PUBLIC_KEY: &[u8] = include_bytes!("../data/google/public-key.der");
pub const INSTANCE: &str = "/v1alpha/projects/p/locations/eu/instances/i";
pub const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/k8s";
const REQUEST_BYTES: usize = 4_000_000;

/// Google's token service and the Chronicle API of one instance.
#[derive(Default)]
pub struct SecOps {
    /// Tokens that have ended.
    pub ended: BTreeSet<String>,
    /// Requests that are answered with 429 from now on.
    pub throttled: u32,
    /// Whether the account may import, and whether it may look at log types.
    pub may_not_import: bool,
    pub may_not_look: bool,
    pub issued: u32,
    /// The other identity provider's token that is good.
    pub subject: String,
    /// Whether the federated identity has no rights of its own.
    pub impersonates: bool,
    /// Federated tokens that were issued.
    pub federated: u32,
    /// Whether the machine has no service account.
    pub has_no_account: bool,
    /// The logs, decoded, each with the object that it came in.
    pub logs: Vec<(String, Value)>,
}

fn refusal(code: u16, status: &str, message: &str) -> Reply {
    Reply::new(code, format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}"}}}}"#))
}

impl Contract for SecOps {
    fn delivers(&self, asked: &Received) -> bool {
        asked.path.ends_with("/logs:import")
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        match asked.path.as_str() {
            "/token" => return self.token(assertion(asked)),
            "/computeMetadata/v1/instance/service-accounts/default/token" => return self.metadata(asked),
            "/v1/token" => return self.exchange(asked),
            "/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken" => {
                return self.impersonate(asked);
            }
            "/subject" if asked.header("x-own") == "canary-own" => {
                return Reply::new(200, format!(r#"{{"value":"{}"}}"#, self.subject));
            }
            _ => {}
        }
        let issued = (1..=self.issued).map(|number| format!("google-token-{number}"));
        let good: BTreeSet<String> = issued.filter(|token| !self.ended.contains(token)).collect();
        if !asked.header("authorization").strip_prefix("Bearer ").is_some_and(|token| good.contains(token)) {
            return refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        let Some(rest) = asked.path.strip_prefix(INSTANCE) else {
            return refusal(404, "NOT_FOUND", "no such instance");
        };
        let log_type = rest.strip_prefix("/logTypes/").unwrap_or_default();
        let (log_type, imports) = match log_type.strip_suffix("/logs:import") {
            Some(log_type) => (log_type, true),
            None => (log_type, false),
        };
        if if imports { self.may_not_import } else { self.may_not_look } {
            return refusal(403, "PERMISSION_DENIED", "Permission denied on resource");
        }
        let known = ["SENTINELONE_ACTIVITY", "SENTINELONE_ALERT", "OWN_AGENTS"].contains(&log_type);
        match (imports, asked.method.as_str()) {
            (false, "GET") if known => Reply::new(200, r#"{"name":"x"}"#),
            (false, "GET") => refusal(404, "NOT_FOUND", "no such log type"),
            (true, "POST") if !known => refusal(400, "INVALID_ARGUMENT", "Unknown log type"),
            (true, "POST") => self.import(asked),
            _ => refusal(405, "UNIMPLEMENTED", "method"),
        }
    }
}

impl SecOps {
    /// How often each log is there.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for (log, _) in &self.logs {
            *counts.entry(log.clone()).or_default() += 1;
        }
        counts
    }

    fn token(&mut self, proof: Result<(), &str>) -> Reply {
        match proof {
            Ok(()) => {
                self.issued += 1;
                let token = format!("google-token-{}", self.issued);
                Reply::new(200, format!(r#"{{"access_token":"{token}","expires_in":3599,"token_type":"Bearer"}}"#))
            }
            Err(reason) => Reply::new(400, format!(r#"{{"error":"invalid_grant","error_description":"{reason}"}}"#)),
        }
    }

    /// The metadata server of a machine.
    fn metadata(&mut self, asked: &Received) -> Reply {
        if asked.header("metadata-flavor") != "Google" || !asked.header("x-forwarded-for").is_empty() {
            return Reply::new(403, "Missing Metadata-Flavor:Google header.");
        }
        if self.has_no_account {
            return Reply::new(404, "The requested URL was not found on this server.");
        }
        self.token(Ok(()))
    }

    /// The Security Token Service (RFC 8693).
    fn exchange(&mut self, asked: &Received) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.bytes).into_owned().collect();
        let expected = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", AUDIENCE),
            ("scope", "https://www.googleapis.com/auth/cloud-platform"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ];
        if let Some((name, _)) = expected.iter().find(|(name, value)| form.get(*name).is_none_or(|is| is != value)) {
            return Reply::new(400, format!(r#"{{"error":"invalid_request","error_description":"{name}"}}"#));
        }
        if form.get("subject_token") != Some(&self.subject) {
            let sent = form.get("subject_token").map_or("", String::as_str);
            let body = format!(r#"{{"error":"invalid_grant","error_description":"ID Token {sent} is stale"}}"#);
            return Reply::new(400, body);
        }
        self.federated += 1;
        if !self.impersonates {
            return self.token(Ok(()));
        }
        let token = format!("canary-federated-{}", self.federated);
        let body = format!(
            r#"{{"access_token":"{token}","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}}"#
        );
        Reply::new(200, body)
    }

    /// The IAM Service Account Credentials API.
    fn impersonate(&mut self, asked: &Received) -> Reply {
        let token = asked.header("authorization").strip_prefix("Bearer canary-federated-");
        if token.and_then(|number| number.parse::<u32>().ok()).is_none_or(|number| number > self.federated) {
            return refusal(401, "UNAUTHENTICATED", "invalid authentication credentials");
        }
        let body = asked.json().unwrap_or_default();
        if body["scope"][0] != "https://www.googleapis.com/auth/cloud-platform" || body["lifetime"] != "1800s" {
            return refusal(400, "INVALID_ARGUMENT", "scope or lifetime");
        }
        if self.has_no_account {
            return refusal(403, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied");
        }
        self.issued += 1;
        let end = Timestamp::now().plus(std::time::Duration::from_mins(30)).to_string();
        Reply::new(200, format!(r#"{{"accessToken":"google-token-{}","expireTime":"{end}"}}"#, self.issued))
    }

    fn import(&mut self, asked: &Received) -> Reply {
        if self.throttled > 0 {
            self.throttled -= 1;
            return refusal(429, "RESOURCE_EXHAUSTED", "quota").with("retry-after", "0");
        }
        if asked.bytes.len() > REQUEST_BYTES {
            return refusal(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 4000000 bytes.");
        }
        let body = asked.json().unwrap_or_default();
        let source = &body["inlineSource"];
        let forwarder = source.get("forwarder").map(|forwarder| forwarder.as_str().unwrap_or_default());
        if forwarder.is_some_and(|forwarder| !forwarder.starts_with("projects/p/locations/eu/instances/i/forwarders/"))
        {
            return refusal(400, "INVALID_ARGUMENT", "forwarder");
        }
        let logs: Option<Vec<_>> = source["logs"].as_array().and_then(|logs| logs.iter().map(log).collect());
        match logs {
            Some(logs) if !logs.is_empty() => {
                self.logs.extend(logs);
                Reply::new(200, "{}")
            }
            // One bad log is enough.
            _ => refusal(400, "INVALID_ARGUMENT", "invalid log"),
        }
    }
}

fn log(log: &Value) -> Option<(String, Value)> {
    let time = |name: &str| Timestamp::parse(log[name].as_str()?).ok();
    let data = String::from_utf8(BASE64_STANDARD.decode(log["data"].as_str()?).ok()?).ok()?;
    let labels = log["labels"].as_object()?.values().all(|label| label["value"].is_string());
    let whole = time("collectionTime")? > time("logEntryTime")? && labels && !data.contains("poison");
    whole.then(|| (data, log.clone()))
}

fn assertion(asked: &Received) -> Result<(), &'static str> {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.bytes).into_owned().collect();
    if form.get("grant_type").is_none_or(|grant| grant != "urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return Err("unsupported_grant_type");
    }
    let assertion = form.get("assertion").ok_or("no assertion")?;
    let (signed, signature) = assertion.rsplit_once('.').ok_or("no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("no JWT")?;
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "no base64");
    let json = |text: &str| serde_json::from_slice::<Value>(&decode(text)?).map_err(|_| "no JSON");
    let header = json(header)?;
    let claims = json(claims)?;
    if header["alg"] != "RS256" || header["kid"] != "0123456789abcdef" {
        return Err("wrong header");
    }
    let now = Timestamp::now().seconds();
    let issued = claims["iat"].as_i64().ok_or("iat")?;
    let expires = claims["exp"].as_i64().ok_or("exp")?;
    if (now - issued).abs() > 60 || expires <= now || expires > issued + 3_600 {
        return Err("must be a short-lived token");
    }
    let expected = [
        ("iss", "s1-forwarder@example.iam.gserviceaccount.com"),
        ("aud", "https://oauth2.googleapis.com/token"),
        ("scope", "https://www.googleapis.com/auth/cloud-platform"),
    ];
    if expected.iter().any(|(name, value)| claims[name] != *value) {
        return Err("wrong claims");
    }
    let provider = rustls::crypto::ring::default_provider();
    let mut algorithms = provider.signature_verification_algorithms.mapping.iter();
    let (_, verifiers) = algorithms.find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256).unwrap();
    let signature = decode(signature)?;
    let verified = verifiers[0].verify_signature(PUBLIC_KEY, signed.as_bytes(), &signature);
    verified.map_err(|_| "Invalid JWT Signature")
}
