//! `type: google_secops`: Google Security Operations (Chronicle), with the method `logs:import` of its API.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Transient;
use s1_forwarder_record::{Stream, Timestamp};
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::event_time::time_or_now;
use crate::http::identity::service_account::ServiceAccount;
use crate::http::transport::url_part::{host_label, id_segment, segment};
use crate::http::{
    Ambient, Authenticator, Destination, DestinationType, Endpoint, Framing, Grant, Parts, ResponseView, SinkClient,
    TokenEndpointSettings,
};
use crate::integration::{Content, GOOGLE_SECOPS, Integration};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: google_secops`: Google Security Operations (Chronicle). Its parsers read the console's own records, which the
/// sink sends unless it has a `schema`. The label `event_id` identifies duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoogleSecopsSettings {
    /// Google Cloud project of the instance.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub project: String,
    /// Region of the instance, such as `us` or `europe-west2`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub location: String,
    /// Customer id of the instance, a UUID.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub instance: String,
    /// Log type, which selects the parser; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced. Default:
    /// `SENTINELONE_ALERT` for threats and alerts, `SENTINELONE_ACTIVITY` for activities. Other streams have none.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub log_type: Option<String>,
    /// `integration`: as by default, but without another `schema` (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Key of a service account: the JSON file that Google issues.
    pub service_account: Option<Secret>,
    /// Configuration of workload identity federation instead of a key: the JSON file that gcloud writes. It names the
    /// file or the URL of another identity provider's token.
    #[schemars(extend("x-kind" = SettingKind::FilesInDocument))]
    pub external_account: Option<Secret>,
    /// Use the service account that Google Cloud gives to the machine or the pod.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::WorkerIdentity))]
    pub metadata_server: bool,
    /// UUID of the forwarder that the logs are attributed to.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub forwarder: Option<String>,
    /// Namespace of the assets.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub namespace: Option<String>,
    /// Version of the API.
    #[serde(default = "default_version")]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub api_version: String,
    /// URL without path, instead of the region's own.
    pub url: Option<Endpoint>,
    /// Token endpoint, instead of that of the key or the configuration.
    pub token_url: Option<Endpoint>,
    /// How the token endpoint is reached.
    #[serde(default)]
    pub oauth2: TokenEndpointSettings,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

fn default_version() -> String {
    "v1alpha".to_owned()
}

const REGIONS: &str = "`us` or `europe-west2`";

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The wait after a 429 without `Retry-After`. The quota counts bytes over five minutes.
const THROTTLED: Duration = Duration::from_mins(1);

impl SinkProperties for GoogleSecopsSettings {
    fn older_ocsf_reader(&self) -> Option<&'static str> {
        Some("Google SecOps' parser knows OCSF 1.1, to which 1.3 is nearest")
    }

    /// 4 MB a request. Base64 makes logs a third larger.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { bytes: 3_500_000, event_bytes: 1_200_000, max_bytes: 4_000_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(5),
            concurrency: 2,
            concurrency_max: usize::MAX,
            compressions: &[Compression::None, Compression::Gzip],
        }
    }

    fn default_schema(&self) -> Option<Schema> {
        Some(Schema::Raw)
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&GOOGLE_SECOPS)
    }

    fn probes_each_stream(&self) -> bool {
        self.log_type.as_ref().is_none_or(|log_type| log_type.contains('{'))
    }

    /// No other content exists, so that the names of the integration are the default.
    fn check_streams(&self, streams: &[Stream]) -> Result<(), BuildError> {
        match &self.log_type {
            Some(_) => Ok(()),
            None => GOOGLE_SECOPS.check(streams, "; or give a `log_type` of your own"),
        }
    }

    /// Raw events are sent in base64.
    fn embeds_raw(&self) -> bool {
        false
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.log_type(context)?]);
        Ok(())
    }
}

impl DestinationType for GoogleSecopsSettings {
    type Destination = GoogleSecops;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "project": "p", "location": "eu", "instance": "i", "metadata_server": true }"#]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<GoogleSecops>, BuildError> {
        let grant = self.grant(&context.shared.ambient)?;
        let auth = Authenticator::with_headers(&self.headers)?.with_token(grant, &context.shared.tokens, http)?;
        let log_type = self.log_type(context)?;
        let endpoint = log_type.join("logs:import");
        let destination = GoogleSecops { log_type, open: self.body_start()?, log_end: self.log_end(context) };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }
}

impl GoogleSecopsSettings {
    fn grant(&self, ambient: &Ambient) -> Result<Grant, BuildError> {
        let token_url = self.token_url.clone();
        let endpoint = self.oauth2.clone();
        match (&self.service_account, &self.external_account, self.metadata_server) {
            (Some(key), None, false) => {
                Ok(Grant::ServiceAccount(ServiceAccount { key: key.clone(), scope: SCOPE, token_url, endpoint }))
            }
            (None, Some(configuration), false) => {
                Ok(ambient.external_account(configuration.clone(), SCOPE, token_url, endpoint))
            }
            (None, None, true) => Ok(ambient.google_metadata(SCOPE)),
            _ => {
                let problem = "give exactly one of `service_account`, `external_account` and `metadata_server: true`";
                Err(BuildError::value("service_account", problem))
            }
        }
    }

    fn instance(&self) -> Result<String, BuildError> {
        let project = id_segment("project", &self.project, "`security-123456`")?;
        let location = host_label("location", &self.location, REGIONS)?;
        let instance = id_segment("instance", &self.instance, "a UUID")?;
        Ok(format!("projects/{project}/locations/{location}/instances/{instance}"))
    }

    /// Returns the URL of the log type.
    fn log_type(&self, context: &SinkContext) -> Result<Endpoint, BuildError> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => {
                format!("https://chronicle.{}.rep.googleapis.com", host_label("location", &self.location, REGIONS)?)
                    .parse()
                    .map_err(|_| BuildError::value("location", "not the name of a region"))?
            }
        };
        let default = GOOGLE_SECOPS.name(context.lane.stream).unwrap_or_default();
        let log_type = context.fill("log_type", self.log_type.as_deref().unwrap_or(default))?;
        let log_type = segment("log_type", &log_type)?;
        let version = id_segment("api_version", &self.api_version, "`v1alpha`")?;
        Ok(base.join(&format!("{version}/{}/logTypes/{log_type}", self.instance()?)))
    }

    /// Returns the part of the body before the first log.
    fn body_start(&self) -> Result<String, BuildError> {
        let forwarder = match &self.forwarder {
            None => String::new(),
            Some(forwarder) => {
                let forwarder = id_segment("forwarder", forwarder, "a UUID")?;
                format!(r#""forwarder":{},"#, json!(format!("{}/forwarders/{forwarder}", self.instance()?)))
            }
        };
        Ok(format!(r#"{{"inlineSource":{{{forwarder}"logs":["#))
    }

    /// Returns the part of each log after the id.
    fn log_end(&self, context: &SinkContext) -> String {
        let labels = [("pipeline", context.lane.pipeline.as_str()), ("stream", context.lane.stream.name())];
        let own = context.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| !matches!(*name, "event_id" | "pipeline" | "stream"));
        let labels = labels.into_iter().chain(own);
        let labels: String =
            labels.map(|(name, value)| format!(r#",{}:{{"value":{}}}"#, json!(name), json!(value))).collect();
        let namespace = self.namespace.as_ref().map(|name| format!(r#","environmentNamespace":{}"#, json!(name)));
        format!(r#""}}{labels}}}{}}}"#, namespace.unwrap_or_default())
    }
}

#[derive(Debug)]
pub(crate) struct GoogleSecops {
    log_type: Endpoint,
    open: String,
    /// The part of each log after the id.
    log_end: String,
}

/// `{"error":{"code":400,"message":"..","status":"INVALID_ARGUMENT"}}`
#[derive(Deserialize)]
struct ErrorBody {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

/// Parts of messages about the log type or the forwarder, in lower case.
const TARGET_REFUSALS: [&str; 5] =
    ["unknown log type", "unrecognized log type", "invalid log type", "log type not found", "unknown forwarder"];

impl Destination for GoogleSecops {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        Framing { open: self.open.as_bytes(), separator: b",", close: b"]}}" }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = time_or_now(event);
        // `collectionTime` must be later than `logEntryTime`, even if the console's clock is ahead.
        let collected = Timestamp::now().max(time.plus(Duration::from_micros(1)));
        out.extend_from_slice(br#"{"data":""#);
        write_base64(event.body, out);
        // Writing into a Vec cannot fail.
        let _ = write!(
            out,
            r#"","logEntryTime":"{time}","collectionTime":"{collected}","labels":{{"event_id":{{"value":"{}"#,
            event.identity
        );
        out.extend_from_slice(self.log_end.as_bytes());
    }

    /// A request is accepted or refused as a whole, and only the message says why.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        match response.expect_refusal(response.expect_json("Google SecOps"), "error", "Google SecOps") {
            Outcome::Failed(Failure { kind: Transient, reason, retry_after }) if response.status.as_u16() == 429 => {
                Outcome::Failed(Failure::transient_after(reason, retry_after.or(Some(THROTTLED))))
            }
            Outcome::Refused(reason) => {
                let message = serde_json::from_slice::<ErrorBody>(response.body).map(|body| body.error.message);
                let message = message.unwrap_or_default().to_lowercase();
                let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
                if says(&["too large", "exceeds", "payload size", "request size"]) {
                    Outcome::TooLarge(reason)
                } else if says(&TARGET_REFUSALS) {
                    // Other texts may be about one entry.
                    Outcome::misconfigured(reason)
                } else {
                    Outcome::Refused(reason)
                }
            }
            outcome => outcome,
        }
    }

    /// Reads the log type. Whether logs may be imported is known only after an import.
    fn probe<'a>(&'a self, _: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let judge = move |response: &ResponseView<'_>| {
            let host = &self.log_type;
            let reason = response.reason();
            match (response.status.as_u16(), self.judge(response)) {
                (_, Outcome::Delivered) => {
                    ProbeResult::Verified(format!("{host} accepts the service account and has the log type"))
                }
                (401, _) => ProbeResult::Failed(format!("{host} refuses the service account: {reason}")),
                (403, _) => ProbeResult::Reached(format!(
                    "{host} accepts the service account, which may not read the log type (chronicle.logTypes.get); it \
                     needs chronicle.logs.import: {reason}"
                )),
                (404, _) => ProbeResult::Failed(format!("{host} has no such instance or log type: {reason}")),
                _ => ProbeResult::Failed(format!("{host}: {reason}")),
            }
        };
        client.probe_with_empty(Method::GET, &self.log_type, judge).boxed()
    }
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The slice is large enough: this cannot fail.
    let _ = BASE64_STANDARD.encode_slice(bytes, &mut out[start..]);
}

#[cfg(test)]
mod tests;
