//! Destinations that speak HTTP. One differs from another only in endpoint, authentication, framing, limits, and how its
//! answer reads: that is a `Destination`. Encoding, signing, sending and the classes of transport errors exist once, here.
//!
//! A new destination is a file of this folder and a line in the list of `sink/settings.rs`.

mod answer;
mod auth;
pub mod azure_logs;
mod body;
pub mod datadog;
pub mod elasticsearch;
mod endpoint;
pub mod generic;
pub mod google_secops;
pub mod logscale;
pub mod loki;
mod oauth;
pub mod otlp;
pub mod panther;
mod request;
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

pub use answer::Answer;
pub use auth::Auth;
pub use endpoint::{Endpoint, EndpointError};
pub use oauth::{ClientCredentials, CredentialsIn};
pub use signature::{Form, Hmac, Signed};

pub(crate) use auth::Authenticator;
#[cfg(feature = "kafka")]
pub(crate) use oauth::TokenSource;
pub(crate) use oauth::{Grant, Tokens};
pub(crate) use request::{HttpSink, Requests};

use super::settings::{Common, Defaults, SinkType};
use super::{Batch, BuildError, Context, Event, Outcome, Probe, Sink};
use crate::settings::HttpSettings;

/// The keys of an HTTP destination, as a [`SinkType`]: the parts in which it differs from the others.
pub(crate) trait DestinationType {
    /// What they describe.
    type Destination: Destination;

    /// See [`Defaults`].
    const DEFAULTS: Defaults;

    /// The destination of one lane, and how it is reached. `http` is for tokens that have to be fetched.
    ///
    /// # Errors
    /// As [`SinkType::build`].
    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<Self::Destination>, BuildError>;
}

/// What the sink of one lane is put together from.
#[derive(Debug)]
pub(crate) struct Parts<D> {
    /// Credentials of every request.
    pub(crate) auth: Authenticator,
    /// Headers of every request, those aside that are the same everywhere.
    pub(crate) headers: HeaderMap,
    /// Where batches are posted.
    pub(crate) endpoint: Endpoint,
    pub(crate) destination: D,
}

impl<T: DestinationType> SinkType for T {
    fn defaults(&self) -> Defaults {
        T::DEFAULTS
    }

    fn build(&self, common: &Common, context: &Context) -> Result<Arc<dyn Sink>, BuildError> {
        let http = HttpSettings { tls: common.tls.clone(), proxy: common.proxy.clone(), timeout: common.timeout() };
        let parts = self.parts(context, &http)?;
        Ok(Arc::new(HttpSink::new(parts, http, common, &T::DEFAULTS, context)?))
    }
}

/// What makes one HTTP destination differ from another.
pub(crate) trait Destination: Send + Sync + Debug + 'static {
    /// Content type of its bodies.
    fn content_type(&self) -> &'static str;

    /// Begins the body of `batch`.
    fn open(&self, _batch: &Batch, _out: &mut Vec<u8>) {}

    /// Appends one event, the separator before or after it included.
    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>);

    /// Ends a body.
    fn close(&self, _out: &mut Vec<u8>) {}

    /// Most bytes of an answer that are read; what follows is not looked at.
    fn answer_bytes(&self) -> usize {
        64 * 1024
    }

    /// What an answer means. Pure, so that each row of the destination's contract is a row of a test.
    fn judge(&self, answer: &Answer<'_>) -> Outcome;

    /// Waits for what the destination tells later than it answers; most have nothing to add to `outcome`.
    fn confirm<'a>(&'a self, outcome: Outcome, _answer: Answer<'a>, _requests: &'a Requests) -> BoxFuture<'a, Outcome> {
        std::future::ready(outcome).boxed()
    }

    /// See [`Sink::probe`](super::Sink::probe).
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe>;
}
