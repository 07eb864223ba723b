//! `type: azure_logs`: Microsoft Sentinel and other workspaces behind Azure Monitor's Logs Ingestion API.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Auth, Authenticator, ClientCredentials, CredentialsIn, Destination, DestinationType, Endpoint, Parts,
    Requests,
};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Schema, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: azure_logs`: a table of Microsoft Sentinel, through a data collection rule. Nothing there tells a row that it
/// has seen before: the column `EventId` does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Logs ingestion address of the data collection endpoint or of the rule itself.
    pub url: Endpoint,
    /// Immutable id of the data collection rule, `dcr-` and 32 hex digits.
    pub dcr_immutable_id: String,
    /// Stream that the rule declares; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    #[serde(default = "default_stream")]
    pub stream_name: String,
    /// Directory (tenant) of the application.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// The application's client secret.
    pub client_secret: Option<Secret>,
    /// Instead of a secret, the token of a federated identity, such as the file that Kubernetes keeps current.
    pub federated_token: Option<Secret>,
    /// The cloud that all of this is in.
    #[serde(default)]
    pub cloud: Cloud,
    /// Another login service than the cloud's.
    pub authority: Option<Endpoint>,
}

fn default_stream() -> String {
    "Custom-SentinelOne".to_owned()
}

/// Azure's clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    /// The public cloud.
    #[default]
    Public,
    /// Azure Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    /// The login service, and the scope of tokens for Azure Monitor: its two slashes are meant.
    const fn addresses(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => ("https://login.microsoftonline.com", "https://monitor.azure.com//.default"),
            Self::UsGovernment => ("https://login.microsoftonline.us", "https://monitor.azure.us//.default"),
            Self::China => ("https://login.chinacloudapi.cn", "https://monitor.azure.cn//.default"),
        }
    }
}

const API_VERSION: &str = "2023-01-01";

/// A column that holds more than 64 KB is cut by the destination, which says nothing of it.
const COLUMN_BYTES: usize = 60_000;

/// What a segment of a path may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl DestinationType for Settings {
    type Destination = AzureLogs;

    /// 1 MB a call both before and after compression; a batch keeps away from it.
    const DEFAULTS: Defaults = Defaults {
        limits: Limits {
            bytes: 950_000,
            event_bytes: 900_000,
            most_bytes: 1_000_000,
            wire_bytes: 950_000,
            ..Limits::NONE
        },
        flush: Duration::from_secs(2),
        concurrency: 5,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<AzureLogs>, BuildError> {
        let auth = Auth::Oauth2(self.credentials()?);
        let auth = Authenticator::new(&BTreeMap::new(), &auth, &context.shared.tokens, http)?;
        let stream = context.fill("stream_name", &self.stream_name)?;
        let encoded = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let path = format!("dataCollectionRules/{}/streams/{}", encoded(&self.dcr_immutable_id), encoded(&stream));
        let endpoint = self.url.join(&path).with_query("api-version", API_VERSION);
        let destination = AzureLogs { endpoint: endpoint.clone(), row: Row::new(context) };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

impl Settings {
    fn credentials(&self) -> Result<ClientCredentials, BuildError> {
        let (client_secret, credentials) = match (&self.client_secret, &self.federated_token) {
            (Some(secret), None) => (secret.clone(), CredentialsIn::Body),
            (None, Some(token)) => (token.clone(), CredentialsIn::Assertion),
            _ => {
                let problem = "either `client_secret` or `federated_token` proves who the application is";
                return Err(BuildError::value("client_secret", problem));
            }
        };
        let (login, scope) = self.cloud.addresses();
        let authority = match &self.authority {
            Some(authority) => authority.clone(),
            None => login.parse().map_err(|error| BuildError::value("cloud", format!("{error}")))?,
        };
        Ok(ClientCredentials {
            token_url: authority.join(&format!("{}/oauth2/v2.0/token", utf8_percent_encode(&self.tenant_id, SEGMENT))),
            client_id: self.client_id.clone(),
            client_secret,
            scope: Some(scope.to_owned()),
            params: BTreeMap::new(),
            credentials,
        })
    }
}

/// How an event becomes a row: columns with names that a table can have, whatever the schema.
#[derive(Debug)]
struct Row {
    /// The columns that are the same in every row.
    origin: String,
    is_raw: bool,
}

impl Row {
    fn new(context: &Context) -> Self {
        let origin = format!(
            r#""Pipeline":{},"Stream":"{}","Console":{},"Schema":"{}","Labels":{}"#,
            json!(context.pipeline),
            context.stream,
            json!(context.console_host),
            context.schema_name,
            json!(context.labels)
        );
        Self { origin, is_raw: context.schema == Schema::Raw }
    }

    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = event.time.unwrap_or_else(Timestamp::now);
        // Writing into a Vec cannot fail. A time long past is replaced by that of receipt, but for the second column.
        let _ = write!(out, r#"{{"TimeGenerated":"{time}","EventTime":"{time}","EventId":"{}","#, event.identity);
        out.extend_from_slice(self.origin.as_bytes());
        if let Some(error) = event.error {
            let _ = write!(out, r#","Error":{}"#, json!(error));
        }
        if self.is_raw || event.body.len() > COLUMN_BYTES {
            write_text(&String::from_utf8_lossy(event.body), out);
        } else {
            out.extend_from_slice(br#","Event":"#);
            out.extend_from_slice(event.body);
        }
        out.push(b'}');
    }
}

/// As the text columns `RawEvent`, `RawEvent2`, …: as many as it takes for none to be cut.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    for number in 1.. {
        let (column, after) = rest.split_at(rest.floor_char_boundary(COLUMN_BYTES));
        let _ = match number {
            1 => out.write_all(br#","RawEvent":"#),
            _ => write!(out, r#","RawEvent{number}":"#),
        };
        let _ = serde_json::to_writer(&mut *out, column);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

#[derive(Debug)]
pub(crate) struct AzureLogs {
    endpoint: Endpoint,
    row: Row,
}

/// `{"error":{"code":"..","message":".."}}`
#[derive(Deserialize)]
struct Said {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

/// Refusals that no row is the reason of.
const MISCONFIGURED: [&str; 5] =
    ["InvalidStream", "InvalidStreamName", "InvalidApiVersion", "UnsupportedApiVersion", "MissingApiVersionParameter"];

impl Destination for AzureLogs {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        out.push(b'[');
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        self.row.write(event, out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.push(b']');
    }

    /// It takes a request as a whole or not at all.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match (answer.status.as_u16(), answer.taken_by("Azure Monitor")) {
            (403, _) => Outcome::Unauthorized(format!("{} ({ROLE})", answer.reason())),
            (404, _) => Outcome::Misconfigured(format!("{} (no such endpoint or rule)", answer.reason())),
            (400, Outcome::Refused(reason)) if code(answer).is_some_and(|code| is_misconfigured(&code)) => {
                Outcome::Misconfigured(reason)
            }
            (_, outcome) => outcome,
        }
    }

    /// No rows at all are taken when token, role, rule and stream are right.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.post(self.endpoint.url(), self.content_type(), b"[]").await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match self.judge(&answer) {
                Outcome::Delivered => Probe::Verified(format!("{}: the rule takes rows of the stream", self.endpoint)),
                Outcome::Unauthorized(reason) | Outcome::Misconfigured(reason) => {
                    Probe::Failed(format!("{}: {reason}", self.endpoint))
                }
                _ => Probe::Failed(format!("{}: {}", self.endpoint, answer.reason())),
            }
        }
        .boxed()
    }
}

const ROLE: &str = "the application needs the role Monitoring Metrics Publisher on the rule; one newly given takes up to 30 minutes to act";

/// The header says it as well as the body, which a gateway may replace.
fn code(answer: &Answer<'_>) -> Option<String> {
    let header = answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    header.or_else(|| serde_json::from_slice::<Said>(answer.body).ok().map(|said| said.error.code))
}

fn is_misconfigured(code: &str) -> bool {
    MISCONFIGURED.iter().any(|known| known.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests;
