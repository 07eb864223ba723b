//! `type: azure_logs`: Microsoft Sentinel and other workspaces, with Azure Monitor's Logs Ingestion API.

mod columns;
mod lookup;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult, WarningReason};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{HttpSettings, Period, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::columns::{COLUMN_BYTES, Declared, declared};
use self::lookup::Workspace;
use crate::http::event_time::time_or_now;
use crate::http::identity::azure::token_url;
use crate::http::lookup::LookupClient;
use crate::http::transport::framing::write_string;
use crate::http::transport::url_part::{id_segment, segment};
use crate::http::{
    Ambient, Authenticator, ClientCredentials, CredentialsIn, Destination, DestinationType, Endpoint, Framing, Grant,
    Parts, ResponseView, SinkClient, TokenEndpointSettings,
};
use crate::integration::{AZURE_LOGS, Content, Integration};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: azure_logs`: a table of Microsoft Sentinel, with a data collection rule. Azure Monitor does not deduplicate;
/// the column `EventId` identifies duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureLogsSettings {
    /// Logs ingestion URL of the data collection endpoint or of the rule itself.
    pub url: Endpoint,
    /// Immutable id of the data collection rule: `dcr-` and 32 hex digits.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub dcr_immutable_id: String,
    /// Stream that the rule declares; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced. Default:
    /// `Custom-SentinelOne`; with `content: integration`, by stream.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub stream_name: Option<String>,
    /// `integration`: rows of the columns that Microsoft's SentinelOne solution declares (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Directory (tenant) of the application.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub tenant_id: Option<String>,
    /// Client id of the application, or of a user-assigned managed identity.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub client_id: Option<String>,
    /// Client secret of the application.
    pub client_secret: Option<Secret>,
    /// Token of a federated identity instead of a secret, such as the file that Kubernetes renews.
    pub federated_token: Option<Secret>,
    /// Use the managed identity that Azure gives to the machine or the app.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::WorkerIdentity))]
    pub managed_identity: bool,
    /// Use the workload identity that Kubernetes gives to the pod; `tenant_id` and `client_id` replace its own.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::WorkerIdentity))]
    pub workload_identity: bool,
    /// Azure cloud of rule and application.
    #[serde(default)]
    pub cloud: Cloud,
    /// Login service, instead of the cloud's own.
    pub authority: Option<Endpoint>,
    /// How the login service is reached.
    #[serde(default)]
    pub oauth2: TokenEndpointSettings,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How `verify --destination` queries the table. Nothing else uses it.
    pub verify: Option<QuerySettings>,
}

/// `verify:` of a sink: an application of its own, which may only query the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// Id of the Log Analytics workspace, a UUID.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub workspace_id: String,
    /// Table that the rule puts rows into.
    #[schemars(extend("default" = TABLE))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub table: Option<String>,
    /// Directory (tenant) of the application that queries; default: `tenant_id` of the sink.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub tenant_id: Option<String>,
    /// Client id of the application.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub client_id: String,
    /// Its client secret.
    pub client_secret: Option<Secret>,
    /// Token of a federated identity instead of a secret.
    pub federated_token: Option<Secret>,
    /// Query service, instead of the cloud's own.
    pub url: Option<Endpoint>,
    /// How long an accepted row may take to be found.
    #[schemars(extend("default" = SETTLE))]
    pub settle: Option<Period>,
    /// Tables that rules put rows into; an event that is there is not missing.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub elsewhere: Vec<String>,
}

const SETTLE: Period = Period(Duration::from_mins(30));
const TABLE: &str = "S1Forwarder_CL";

const TENANT: &str = "a UUID or `contoso.onmicrosoft.com`";
const STREAM: &str = "Custom-SentinelOne";

/// Azure clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
    /// Returns the login service, and the scope of tokens for Azure Monitor. The two slashes in the scope are intended.
    const fn addresses(self) -> (&'static str, &'static str) {
        match self {
            Self::Public => ("https://login.microsoftonline.com", "https://monitor.azure.com//.default"),
            Self::UsGovernment => ("https://login.microsoftonline.us", "https://monitor.azure.us//.default"),
            Self::China => ("https://login.chinacloudapi.cn", "https://monitor.azure.cn//.default"),
        }
    }

    /// Returns the address of the service that answers queries. The scope of its tokens begins with the address.
    const fn queries(self) -> &'static str {
        match self {
            Self::Public => "https://api.loganalytics.azure.com",
            Self::UsGovernment => "https://api.loganalytics.azure.us",
            Self::China => "https://api.loganalytics.azure.cn",
        }
    }
}

const API_VERSION: &str = "2023-01-01";

impl SinkProperties for AzureLogsSettings {
    /// 1 MB a call, before and after compression. The limits leave a margin.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits {
                bytes: 950_000,
                event_bytes: 900_000,
                max_bytes: 1_000_000,
                wire_bytes: 950_000,
                ..Limits::NONE
            },
            batch_timeout: Duration::from_secs(2),
            concurrency: 5,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&AZURE_LOGS)
    }

    fn probes_each_stream(&self) -> bool {
        self.content == Content::Integration
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn without_identity(&self, _schema: Schema) -> Option<&'static str> {
        (self.content == Content::Integration)
            .then_some("the table of the integration has no column for it: `content: forwarder` has one")
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let stream = self.filled_stream_name(context)?;
        hash.endpoints("url", [&self.url]).text("rule", &self.dcr_immutable_id).text("stream_name", &stream);
        hash.route([&self.url], &self.headers);
        Ok(())
    }
}

impl DestinationType for AzureLogsSettings {
    type Destination = AzureLogs;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example", "dcr_immutable_id": "dcr-1", "stream_name": "Custom-s1", "managed_identity": true }"#,
            r#"{ "url": "https://siem.example", "dcr_immutable_id": "dcr-1", "stream_name": "Custom-s1", "managed_identity": true, "content": "integration" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<AzureLogs>, BuildError> {
        let grant = self.grant(&context.shared.ambient)?;
        let auth = Authenticator::with_headers(&self.headers)?.with_token(grant, &context.shared.tokens, http)?;
        let stream = self.filled_stream_name(context)?;
        let form = match self.content {
            Content::Forwarder => Form::Own(Row::new(context)),
            Content::Integration => {
                let declared = declared(context.lane.stream).ok_or_else(|| BuildError::value("streams", NO_COLUMNS))?;
                Form::Declared(declared)
            }
        };
        let rule = id_segment("dcr_immutable_id", &self.dcr_immutable_id, "`dcr-` and 32 hex digits")?;
        let path = format!("dataCollectionRules/{rule}/streams/{}", segment("stream_name", &stream)?);
        let endpoint = self.url.join(&path).with_query("api-version", API_VERSION);
        let destination = AzureLogs { form, is_shortened: AtomicBool::new(false) };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }

    fn lookup(&self, http: HttpSettings, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        if let Some(advice) = self.without_identity(context.schema) {
            return Err(BuildError::value("content", format!("events have no identity there: {advice}")));
        }
        let problem = "is missing: give it an application that may only query the table";
        let verify = self.verify.as_ref().ok_or_else(|| BuildError::value("verify", problem))?;
        let (secret, credentials) = match (&verify.client_secret, &verify.federated_token) {
            (Some(secret), None) => (secret, CredentialsIn::Body),
            (None, Some(token)) => (token, CredentialsIn::Assertion),
            _ => {
                let problem = "give exactly one of `client_secret` and `federated_token`";
                return Err(BuildError::value("verify.client_secret", problem));
            }
        };
        let table = verify.table.as_deref().unwrap_or(TABLE);
        if let Some(name) =
            std::iter::once(table).chain(verify.elsewhere.iter().map(String::as_str)).find(|name| !is_table(name))
        {
            return Err(BuildError::value("verify.table", format!("`{name}` cannot be the name of a table")));
        }
        let service = self.cloud.queries();
        let scope = format!("{service}/.default");
        let tenant = verify.tenant_id.as_deref().or(self.tenant_id.as_deref());
        let tenant = id_segment("verify.tenant_id", required(tenant, "verify.tenant_id")?, TENANT)?;
        let grant = self.application(&tenant, &verify.client_id, secret, credentials, &scope)?;
        let auth = Authenticator::with_headers(&BTreeMap::new())?.with_token(grant, &context.shared.tokens, &http)?;
        let base = match &verify.url {
            Some(url) => url.clone(),
            None => service.parse().map_err(|error| BuildError::value("cloud", format!("{error}")))?,
        };
        let workspace = id_segment("verify.workspace_id", &verify.workspace_id, "a UUID")?;
        Ok(Some(Arc::new(Workspace {
            client: LookupClient::new(SinkClient::new(http, auth, HeaderMap::new(), context)?),
            url: base.join(&format!("v1/workspaces/{workspace}/query")),
            table: table.to_owned(),
            pipeline: context.lane.pipeline.clone(),
            stream: context.lane.stream.name(),
            visible_after: verify.settle.unwrap_or(SETTLE).0,
            elsewhere: verify.elsewhere.clone(),
        })))
    }
}

/// The kinds of credentials, of which a sink has one.
const CREDENTIALS: &str = "give exactly one of `client_secret`, `federated_token`, `managed_identity: true` and \
                           `workload_identity: true` as the proof of the application's identity";

impl AzureLogsSettings {
    fn filled_stream_name(&self, context: &SinkContext) -> Result<String, BuildError> {
        let default = match self.content {
            Content::Forwarder => STREAM,
            Content::Integration => AZURE_LOGS.name_of(context.lane.stream)?,
        };
        context.fill("stream_name", self.stream_name.as_deref().unwrap_or(default))
    }

    fn grant(&self, ambient: &Ambient) -> Result<Grant, BuildError> {
        let (_, scope) = self.cloud.addresses();
        if let Some(tenant) = &self.tenant_id {
            id_segment("tenant_id", tenant, TENANT)?;
        }
        let tenant_id = self.tenant_id.as_deref();
        let client_id = self.client_id.as_deref();
        match (&self.client_secret, &self.federated_token, self.managed_identity, self.workload_identity) {
            (Some(secret), None, false, false) => self.own_application(secret, CredentialsIn::Body, scope),
            (None, Some(token), false, false) => self.own_application(token, CredentialsIn::Assertion, scope),
            (None, None, true, false) if tenant_id.is_some() => {
                Err(BuildError::value("tenant_id", "has no meaning with `managed_identity`, which has its own tenant"))
            }
            (None, None, true, false) => Ok(ambient.managed_identity(scope, client_id)),
            (None, None, false, true) => {
                let authority = self.authority.clone();
                let endpoint = self.oauth2.clone();
                Ok(ambient.workload_identity(tenant_id, client_id, authority, self.cloud.addresses(), endpoint))
            }
            _ => Err(BuildError::value("client_secret", CREDENTIALS)),
        }
    }

    fn own_application(&self, secret: &Secret, credentials: CredentialsIn, scope: &str) -> Result<Grant, BuildError> {
        let tenant = required(self.tenant_id.as_deref(), "tenant_id")?;
        self.application(tenant, required(self.client_id.as_deref(), "client_id")?, secret, credentials, scope)
    }

    fn application(
        &self,
        tenant: &str,
        client_id: &str,
        secret: &Secret,
        credentials: CredentialsIn,
        scope: &str,
    ) -> Result<Grant, BuildError> {
        let (login, _) = self.cloud.addresses();
        let authority = match &self.authority {
            Some(authority) => authority.clone(),
            None => login.parse().map_err(|error| BuildError::value("cloud", format!("{error}")))?,
        };
        Ok(Grant::Client(ClientCredentials {
            token_url: token_url(&authority, tenant),
            client_id: client_id.to_owned(),
            client_secret: secret.clone(),
            scope: Some(scope.to_owned()),
            params: BTreeMap::new(),
            credentials,
            tls: self.oauth2.tls.clone(),
            proxy: self.oauth2.proxy.clone(),
        }))
    }
}

fn required<'a>(value: Option<&'a str>, key: &str) -> Result<&'a str, BuildError> {
    value.ok_or_else(|| BuildError::value(key, "is missing: the application is given by its ids"))
}

fn is_table(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Writes an event as a row. The columns are the same for every schema and valid as columns of a table.
#[derive(Debug)]
struct Row {
    /// The columns that are equal in every row.
    constant: String,
    is_raw: bool,
}

impl Row {
    fn new(context: &SinkContext) -> Self {
        let constant = format!(
            r#""Pipeline":{},"Stream":"{}","Console":{},"Schema":"{}","Labels":{}"#,
            json!(context.lane.pipeline),
            context.lane.stream,
            json!(context.console_host),
            context.schema_name,
            json!(context.labels)
        );
        Self { constant, is_raw: context.schema == Schema::Raw }
    }

    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = time_or_now(event);
        // Writing into a Vec cannot fail. The time of receipt replaces a time long past, except in the second column.
        let _ = write!(out, r#"{{"TimeGenerated":"{time}","EventTime":"{time}","EventId":"{}","#, event.identity);
        out.extend_from_slice(self.constant.as_bytes());
        if let Some(error) = event.error {
            let _ = write!(out, r#","Error":{}"#, json!(error));
        }
        if self.is_raw || event.body.len() > COLUMN_BYTES {
            write_text_columns(&String::from_utf8_lossy(event.body), out);
        } else {
            out.extend_from_slice(br#","Event":"#);
            out.extend_from_slice(event.body);
        }
        out.push(b'}');
    }
}

/// Writes the text columns `RawEvent`, `RawEvent2`, …: as many as are needed so that none is truncated.
fn write_text_columns(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    for number in 1.. {
        let (column, after) = rest.split_at(rest.floor_char_boundary(COLUMN_BYTES));
        // Writing into a Vec cannot fail.
        let _ = match number {
            1 => out.write_all(br#","RawEvent":"#),
            _ => write!(out, r#","RawEvent{number}":"#),
        };
        write_string(column, out);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
}

#[derive(Debug)]
pub(crate) struct AzureLogs {
    form: Form,
    /// Whether a value was too long for its column since the last answer.
    is_shortened: AtomicBool,
}

#[derive(Debug)]
enum Form {
    /// The forwarder's columns.
    Own(Row),
    /// The columns of Microsoft's solution.
    Declared(Declared),
}

const NO_COLUMNS: &str = "Microsoft's solution has no table for this stream";

const SHORTENED: &str = "a value is longer than the 64 KB of a column: parts of it are left out, so that the rest can be \
                         read";

/// `{"error":{"code":"..","message":".."}}`
#[derive(Deserialize)]
struct ErrorBody {
    error: Code,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

/// Error codes of a 400 that no row causes.
const MISCONFIGURED: [&str; 5] =
    ["InvalidStream", "InvalidStreamName", "InvalidApiVersion", "UnsupportedApiVersion", "MissingApiVersionParameter"];

impl Destination for AzureLogs {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        Framing::JSON_ARRAY
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        match &self.form {
            Form::Own(row) => row.write(event, out),
            Form::Declared(declared) => {
                if !declared.write(event, out) {
                    self.is_shortened.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn event_overhead_bytes(&self) -> Option<usize> {
        Some(0)
    }

    /// A request is accepted or refused as a whole.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        let outcome = response.expect_refusal(response.expect_json("Azure Monitor"), "error", "Azure Monitor");
        match (response.status.as_u16(), outcome) {
            (403, _) => Outcome::unauthorized(format!("{} ({ROLE})", response.reason())),
            (404, _) => Outcome::misconfigured(format!("{} (no such endpoint or rule)", response.reason())),
            (400, Outcome::Refused(reason)) if error_code(response).is_some_and(|code| is_misconfigured(&code)) => {
                Outcome::misconfigured(reason)
            }
            (_, outcome) => outcome,
        }
    }

    fn confirm<'a>(
        &'a self,
        outcome: Outcome,
        _response: ResponseView<'a>,
        _client: &'a SinkClient,
    ) -> BoxFuture<'a, Outcome> {
        let is_shortened = outcome == Outcome::Delivered && self.is_shortened.swap(false, Ordering::Relaxed);
        let outcome = if is_shortened { Outcome::warned(WarningReason::Shortened, SHORTENED) } else { outcome };
        std::future::ready(outcome).boxed()
    }

    /// Posts an empty array. The service accepts it if token, role, rule and stream are right.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let accepted = ProbeResult::Verified(format!("{endpoint}: the rule accepts rows of the stream"));
        let judge = move |response: &ResponseView<'_>| match self.judge(response) {
            Outcome::Refused(reason) => ProbeResult::Failed(format!("{endpoint}: {reason}")),
            outcome => ProbeResult::of(&outcome, endpoint, accepted),
        };
        client.probe_with_post(endpoint, self.content_type(), b"[]", judge).boxed()
    }
}

const ROLE: &str = "the application needs the role Monitoring Metrics Publisher on the rule; a new assignment takes up to \
                    30 minutes to have effect";

/// Returns the error code from the header, or from the body, which a gateway may replace.
fn error_code(response: &ResponseView<'_>) -> Option<String> {
    let header = response.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    header.or_else(|| serde_json::from_slice::<ErrorBody>(response.body).ok().map(|body| body.error.code))
}

fn is_misconfigured(code: &str) -> bool {
    MISCONFIGURED.iter().any(|known| known.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests;
