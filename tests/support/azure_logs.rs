use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s1_forwarder::record::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::double::{Contract, Received, Reply};

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const RULE: &str = "dcr-0123456789abcdef0123456789abcdef";
pub const STREAM: &str = "Custom-SentinelOne";
/// Most bytes of a request, both before and after compression.
const REQUEST_BYTES: usize = 1_000_000;
/// Most bytes of a column; a longer value is truncated without an error.
const COLUMN_BYTES: usize = 64_000;

/// Entra ID and the Logs Ingestion API.
pub struct Azure {
    /// The application's secret.
    pub secret: String,
    /// The token of a federated identity that is good.
    pub federated: Option<String>,
    /// The machine's managed identity, by its client id.
    pub managed: Option<&'static str>,
    /// Statuses that the metadata service answers with from now on.
    pub updating: Vec<u16>,
    pub token_lifetime: Duration,
    /// Whether the application has the role on the rule.
    pub has_role: bool,
    /// Requests that are answered with 429 from now on.
    pub throttled: u32,
    /// Columns that the table has: others vanish.
    pub columns: BTreeSet<&'static str>,
    pub issued: u32,
    /// Tokens that were issued, each with its end.
    pub tokens: BTreeMap<String, Instant>,
    /// The table, in the order of arrival.
    pub rows: Vec<Value>,
    /// Columns that were cut.
    pub cut: u32,
}

impl Default for Azure {
    fn default() -> Self {
        let columns = [
            "TimeGenerated",
            "EventTime",
            "EventId",
            "Pipeline",
            "Stream",
            "Console",
            "Schema",
            "Labels",
            "Error",
            "Event",
            "RawEvent",
            "RawEvent2",
            "RawEvent3",
            "RawEvent4",
        ];
        Self {
            secret: "s3cret".to_owned(),
            federated: None,
            managed: None,
            updating: Vec::new(),
            token_lifetime: Duration::from_secs(3_599),
            has_role: true,
            throttled: 0,
            columns: columns.into(),
            issued: 0,
            tokens: BTreeMap::new(),
            rows: Vec::new(),
            cut: 0,
        }
    }
}

fn refusal(status: u16, code: &'static str) -> Reply {
    let body = format!(r#"{{"error":{{"code":"{code}","message":"refused"}}}}"#);
    Reply::new(status, body).with("x-ms-error-code", code)
}

impl Contract for Azure {
    fn delivers(&self, asked: &Received) -> bool {
        asked.path.starts_with("/dataCollectionRules/") && asked.bytes != b"[]"
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        if asked.path == format!("/{TENANT}/oauth2/v2.0/token") {
            return self.token(asked);
        }
        match asked.path.as_str() {
            "/metadata/identity/oauth2/token" => return self.metadata(asked),
            "/msi/token" => return self.app_service(asked),
            _ => {}
        }
        match self.rows_of(asked) {
            Ok(rows) => {
                for row in rows {
                    self.take(row);
                }
                Reply::new(204, "")
            }
            Err(reply) => reply,
        }
    }
}

impl Azure {
    /// How often each event is in the table.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for row in &self.rows {
            *counts.entry(row["EventId"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    fn token(&mut self, asked: &Received) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.bytes).into_owned().collect();
        let form_has = |key: &str, value: &str| form.get(key).is_some_and(|is| is == value);
        if asked.method != "POST" || asked.header("content-type") != "application/x-www-form-urlencoded" {
            return Reply::new(400, r#"{"error":"invalid_request"}"#);
        }
        if !form_has("grant_type", "client_credentials") || !form_has("scope", "https://monitor.azure.com//.default") {
            return Reply::new(400, r#"{"error":"invalid_scope","error_description":"AADSTS1002012"}"#);
        }
        let federated = form_has("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            && self.federated.as_ref().is_some_and(|token| form_has("client_assertion", token));
        if !form_has("client_id", "app") || !(federated || form_has("client_secret", &self.secret)) {
            let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided","error_codes":[7000215]}"#;
            return Reply::new(401, body);
        }
        let (token, seconds) = self.issue();
        Reply::new(200, format!(r#"{{"token_type":"Bearer","expires_in":{seconds},"access_token":"{token}"}}"#))
    }

    /// A new token, and its lifetime in seconds.
    fn issue(&mut self) -> (String, u64) {
        self.issued += 1;
        let token = format!("azure-token-{}", self.issued);
        self.tokens.insert(token.clone(), Instant::now() + self.token_lifetime);
        (token, self.token_lifetime.as_secs())
    }

    /// The Instance Metadata Service of a virtual machine. All values are texts.
    fn metadata(&mut self, asked: &Received) -> Reply {
        if let Some(status) = self.updating.pop() {
            return Reply::new(status, "");
        }
        let query = query(asked, "2018-02-01");
        if asked.method != "GET" || asked.header("metadata") != "true" || !asked.header("x-forwarded-for").is_empty() {
            let body = r#"{"error":"invalid_request","error_description":"Required metadata header not specified"}"#;
            return Reply::new(400, body);
        }
        match self.managed {
            Some(id) if query.as_ref().is_some_and(|query| query.get("client_id").is_none_or(|is| is == id)) => {}
            _ => {
                let body = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
                return Reply::new(400, body);
            }
        }
        let (token, seconds) = self.issue();
        let end = Timestamp::now().seconds() + seconds as i64;
        let body = format!(
            r#"{{"access_token":"{token}","refresh_token":"","expires_in":"{seconds}","expires_on":"{end}",
                "resource":"https://monitor.azure.com/","token_type":"Bearer"}}"#
        );
        Reply::new(200, body)
    }

    /// The endpoint of App Service, which says only when a token ends.
    fn app_service(&mut self, asked: &Received) -> Reply {
        if asked.header("x-identity-header") != "canary-header" {
            return Reply::new(401, format!("you sent {}", asked.header("x-identity-header")));
        }
        if self.managed.is_none() || query(asked, "2019-08-01").is_none() {
            return Reply::new(400, r#"{"statusCode":400,"message":"No Managed Identity found"}"#);
        }
        let (token, seconds) = self.issue();
        let end = Timestamp::now().seconds() + seconds as i64;
        Reply::new(200, format!(r#"{{"access_token":"{token}","expires_on":"{end}","token_type":"Bearer"}}"#))
    }

    fn rows_of(&mut self, asked: &Received) -> Result<Vec<Value>, Reply> {
        let token = asked.header("authorization").strip_prefix("Bearer ").and_then(|token| self.tokens.get(token));
        if token.is_none_or(|expires| *expires <= Instant::now()) {
            return Err(refusal(401, "InvalidToken"));
        }
        if self.throttled > 0 {
            self.throttled -= 1;
            return Err(refusal(429, "TooManyRequests").with("retry-after", "0"));
        }
        let segments: Vec<&str> = asked.path.split('/').collect();
        let ["", "dataCollectionRules", rule, "streams", stream] = segments[..] else {
            return Err(refusal(404, "NotFound"));
        };
        if rule != RULE || asked.method != "POST" {
            return Err(refusal(404, "NotFound"));
        }
        if !self.has_role {
            return Err(refusal(403, "OperationFailed"));
        }
        if asked.query != "api-version=2023-01-01" {
            return Err(refusal(400, "UnsupportedApiVersion"));
        }
        if stream != STREAM {
            return Err(refusal(400, "InvalidStream"));
        }
        if asked.wire_bytes > REQUEST_BYTES || asked.bytes.len() > REQUEST_BYTES {
            return Err(refusal(413, "ContentLengthLimitExceeded"));
        }
        let rows = match asked.json() {
            Some(Value::Array(rows)) if asked.header("content-type") == "application/json" => rows,
            _ => return Err(refusal(400, "InvalidPayload")),
        };
        let good = |row: &Value| row["TimeGenerated"].as_str().is_some_and(|time| Timestamp::parse(time).is_ok());
        if rows.iter().all(good) { Ok(rows) } else { Err(refusal(400, "InvalidPayload")) }
    }

    fn take(&mut self, mut row: Value) {
        for (name, value) in row.as_object_mut().unwrap() {
            assert!(self.columns.contains(name.as_str()), "the table has no column {name}");
            let length = value.as_str().map_or_else(|| value.to_string().len(), str::len);
            if length > COLUMN_BYTES {
                self.cut += 1;
                *value = Value::Null;
            }
        }
        self.rows.push(row);
    }
}

/// The query of a request for a managed identity, if version and resource are right.
fn query(asked: &Received, version: &str) -> Option<BTreeMap<String, String>> {
    let query: BTreeMap<String, String> = url::form_urlencoded::parse(asked.query.as_bytes()).into_owned().collect();
    let query_has = |name: &str, value: &str| query.get(name).is_some_and(|is| is == value);
    (query_has("api-version", version) && query_has("resource", "https://monitor.azure.com/")).then_some(query)
}
