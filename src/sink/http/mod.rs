//! Destinations that speak HTTP.
//!
//! They differ in endpoint, authentication, framing, limits and the meaning of responses: that is a `Destination`.
//! Encoding, signing, sending and the classification of transport errors are shared.
//!
//! A new destination is a file in this folder and a line in the list in `sink/settings.rs`.

mod auth;
pub mod azure_logs;
mod body;
pub mod datadog;
pub mod elasticsearch;
mod endpoint;
mod framing;
pub mod generic;
pub mod google_secops;
pub mod logscale;
pub mod loki;
mod oauth;
pub mod otlp;
pub mod panther;
mod request;
mod response;
pub mod sekoia;
mod service_account;
mod signature;
pub mod splunk_hec;
pub mod sumo;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;

pub use auth::Auth;
pub use endpoint::{Endpoint, EndpointError};
pub use oauth::{ClientCredentials, CredentialsIn};
pub use response::ResponseView;
pub use signature::{Form, Hmac, Signed};

pub(crate) use auth::Authenticator;
pub(crate) use framing::Framing;
#[cfg(feature = "kafka")]
pub(crate) use oauth::TokenSource;
pub(crate) use oauth::{Grant, Tokens};
pub(crate) use request::{HttpSink, SinkClient};

use super::common::{Common, Defaults, SinkType};
use super::{Batch, BuildError, Event, Outcome, Probe, Sink, SinkContext};
use crate::settings::HttpSettings;

/// The settings of an HTTP destination. Every implementation is a [`SinkType`].
pub(crate) trait DestinationType {
    type Destination: Destination;

    const DEFAULTS: Defaults;

    /// The destination of one lane, and how it is reached. `http` is for requests to a token endpoint.
    ///
    /// # Errors
    /// As [`SinkType::build`].
    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Self::Destination>, BuildError>;
}

/// What the sink of one lane is built from.
#[derive(Debug)]
pub(crate) struct Parts<D> {
    pub(crate) auth: Authenticator,
    /// Headers of every request, in addition to those that all destinations share.
    pub(crate) headers: HeaderMap,
    /// Batches are posted here.
    pub(crate) endpoint: Endpoint,
    pub(crate) destination: D,
}

impl<T: DestinationType> SinkType for T {
    fn defaults(&self) -> Defaults {
        T::DEFAULTS
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let http = HttpSettings { tls: common.tls.clone(), proxy: common.proxy.clone(), timeout: common.timeout() };
        let parts = self.parts(context, &http)?;
        Ok(Arc::new(HttpSink::new(parts, http, common, &T::DEFAULTS, context)?))
    }
}

/// What makes one HTTP destination differ from another.
pub(crate) trait Destination: Send + Sync + Debug + 'static {
    fn content_type(&self) -> &'static str;

    fn framing(&self) -> Framing<'_> {
        Framing::NONE
    }

    /// Writes what precedes the first event. Overridden where that depends on the batch or holds a secret.
    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        out.extend_from_slice(self.framing().open);
    }

    /// Appends one event, without the separator.
    fn event(&self, event: Event<'_>, out: &mut Vec<u8>);

    /// Maximum number of bytes of a response that are read. The rest is ignored.
    fn max_response_bytes(&self) -> usize {
        64 * 1024
    }

    /// What a response means. It is a pure function, so that each row of the destination's contract is a row of a test.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome;

    /// Waits for what the destination reports later than its response. Most destinations return `outcome` unchanged.
    fn confirm<'a>(
        &'a self,
        outcome: Outcome,
        _response: ResponseView<'a>,
        _client: &'a SinkClient,
    ) -> BoxFuture<'a, Outcome> {
        std::future::ready(outcome).boxed()
    }

    /// See [`Sink::probe`](super::Sink::probe). `endpoint` is the one that batches are posted to.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, Probe>;
}

/// The body of a request with these events, without compression.
#[cfg(test)]
fn body_of(destination: &impl Destination, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    destination.open(batch, &mut out);
    for (index, event) in batch.events().enumerate() {
        body::write_event(destination, index, event, &mut out);
    }
    out.extend_from_slice(destination.framing().close);
    out
}
