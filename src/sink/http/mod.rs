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
