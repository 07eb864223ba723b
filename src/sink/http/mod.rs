//! Destinations that speak HTTP.
//!
//! They differ in endpoint, authentication, framing, limits and the meaning of responses: that is a `Destination`.
//! Encoding, signing, sending and the classification of transport errors are shared.
//!
//! A new destination is a file in this folder and a line in the list in `sink/settings.rs`.

mod ambient;
mod auth;
mod aws;
mod azure_identity;
pub mod azure_logs;
mod body;
mod client;
pub mod datadog;
mod destination;
pub mod elasticsearch;
mod endpoint;
mod environment;
mod event_time;
mod exchange;
mod external_account;
mod failover;
mod framing;
pub mod generic;
mod google_metadata;
pub mod google_secops;
pub mod logscale;
pub mod loki;
mod oauth;
pub mod otlp;
pub mod panther;
mod renewable;
mod request;
mod response;
pub mod sekoia;
mod service_account;
mod signature;
mod size_limiter;
pub mod splunk_hec;
pub mod sumo;
mod token_error;
mod token_request;
mod token_response;
mod token_source;
mod used_secrets;

use std::sync::Arc;

pub use ambient::Ambient;
pub use auth::Auth;
pub use aws::Aws;
pub use endpoint::{Endpoint, EndpointError};
pub use oauth::{ClientCredentials, CredentialsIn};
pub use response::ResponseView;
pub use signature::{Form, Hmac, Signed};
pub use token_request::TokenEndpointSettings;

pub(crate) use auth::Authenticator;
pub(crate) use client::SinkClient;
pub(crate) use destination::{Destination, DestinationType, Parts, Target};
pub(crate) use framing::Framing;
pub(crate) use request::HttpSink;
#[cfg(feature = "kafka")]
pub(crate) use token_source::TokenSource;
pub(crate) use token_source::{Grant, Tokens};

use super::common::{Common, Defaults, SinkType};
use super::{BuildError, Sink, SinkContext};

impl<T: DestinationType> SinkType for T {
    fn defaults(&self) -> Defaults {
        T::DEFAULTS
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let http = common.http();
        let parts = self.parts(context, &http)?;
        Ok(Arc::new(HttpSink::new(parts, http, common, &T::DEFAULTS, context)?))
    }
}

/// The judge of a destination.
#[cfg(test)]
pub(crate) type Judge = Box<dyn Fn(&ResponseView<'_>) -> super::Outcome>;

/// The judge of each destination, for the fuzzing. A test compares the names with the types of sinks.
#[cfg(test)]
pub(crate) fn judges() -> Vec<(&'static str, Judge)> {
    use serde_json::{Value, json};

    fn of<T: DestinationType + serde::de::DeserializeOwned>(keys: Value) -> Judge {
        let context = SinkContext {
            pipeline: "acme".to_owned(),
            stream: crate::record::Stream::Threats,
            sink: "siem".to_owned(),
            shard: 0,
            console_host: "console.example".to_owned(),
            labels: Default::default(),
            console_labels: Default::default(),
            schema: crate::settings::Schema::Ecs,
            schema_name: "ecs",
            shared: Default::default(),
        };
        let settings: T = serde_json::from_value(keys).unwrap();
        let parts = settings.parts(&context, &Common::default().http()).unwrap();
        let target = parts.targets.into_iter().next().unwrap();
        Box::new(move |response| target.destination.judge(response))
    }

    let url = "https://siem.example";
    vec![
        ("http", of::<generic::GenericSettings>(json!({ "url": url }))),
        ("splunk_hec", of::<splunk_hec::SplunkHecSettings>(json!({ "url": url, "token": "t" }))),
        ("splunk_hec", of::<splunk_hec::SplunkHecSettings>(json!({ "url": url, "token": "t", "acknowledgement": {} }))),
        ("elasticsearch", of::<elasticsearch::ElasticsearchSettings>(json!({ "url": url }))),
        (
            "azure_logs",
            of::<azure_logs::AzureLogsSettings>(json!({
                "url": url, "dcr_immutable_id": "dcr-1", "stream_name": "Custom-s1", "managed_identity": true,
            })),
        ),
        (
            "google_secops",
            of::<google_secops::GoogleSecopsSettings>(json!({
                "project": "p", "location": "eu", "instance": "i", "metadata_server": true,
            })),
        ),
        ("sekoia", of::<sekoia::SekoiaSettings>(json!({ "url": url, "intake_key": "k" }))),
        ("panther", of::<panther::PantherSettings>(json!({ "url": url }))),
        ("datadog", of::<datadog::DatadogSettings>(json!({ "api_key": "k" }))),
        ("sumo", of::<sumo::SumoSettings>(json!({ "url": url }))),
        ("logscale", of::<logscale::LogscaleSettings>(json!({ "url": url, "token": "t" }))),
        ("otlp", of::<otlp::OtlpSettings>(json!({ "url": url }))),
        ("otlp", of::<otlp::OtlpSettings>(json!({ "url": url, "encoding": "json" }))),
        ("loki", of::<loki::LokiSettings>(json!({ "url": url, "labels": { "job": "s1" } }))),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_judge_of_each_destination_is_fuzzed() {
        let fuzzed: BTreeSet<_> = super::judges().into_iter().map(|(name, _)| name).collect();
        let others = ["kafka", "file", "stdout"];
        let types = crate::sink::settings::types().iter().copied().filter(|name| !others.contains(name));
        assert_eq!(fuzzed, types.collect());
    }
}
