//! The destinations, a file or folder for each, and what a destination has to say.

pub mod azure_logs;
pub mod datadog;
pub mod elasticsearch;
pub mod generic;
pub mod google_secops;
pub mod logscale;
pub mod loki;
pub mod otlp;
pub mod panther;
pub mod sekoia;
pub mod splunk_hec;
pub mod sumo;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Batch, Event, Outcome, ProbeResult};
use s1_forwarder_settings::HttpSettings;
use serde::de::DeserializeOwned;

use crate::http::auth::Authenticator;
use crate::http::transport::client::SinkClient;
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::exchange::{RequestError, Response};
use crate::http::transport::framing::Framing;
use crate::http::transport::response::ResponseView;
use crate::sink_type::SinkProperties;
use crate::{BuildError, SinkContext};

/// The settings of an HTTP destination. Every implementation is a [`SinkType`](crate::sink_type::SinkType).
pub(crate) trait DestinationType: SinkProperties + DeserializeOwned {
    type Destination: Destination;

    /// Returns settings as JSON, one for each framing, with which tests fuzz judge and body.
    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str];

    /// Builds the destination of one lane, and the way to reach it. `http` is for requests to a token endpoint.
    ///
    /// # Errors
    /// As [`SinkType::build`](crate::sink_type::SinkType::build).
    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Self::Destination>, BuildError>;

    /// See [`SinkType::lookup`](crate::sink_type::SinkType::lookup).
    fn lookup(&self, _http: HttpSettings, _context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        Ok(None)
    }
}

/// The parts that the sink of one lane is built from.
#[derive(Debug)]
pub(crate) struct Parts<D> {
    pub(crate) auth: Authenticator,
    /// Headers of every request, in addition to the headers that all destinations share.
    pub(crate) headers: HeaderMap,
    /// Addresses with equal destinations, to any of which batches may be posted. Never empty.
    pub(crate) addresses: Vec<Address<D>>,
}

/// One address of a destination.
#[derive(Debug)]
pub(crate) struct Address<D> {
    /// Batches are posted here.
    pub(crate) endpoint: Endpoint,
    pub(crate) destination: D,
    /// Whether [`Destination::prepare`] has returned true.
    pub(crate) is_prepared: AtomicBool,
}

impl<D> Address<D> {
    pub(crate) fn new(endpoint: Endpoint, destination: D) -> Self {
        Self { endpoint, destination, is_prepared: AtomicBool::new(false) }
    }
}

impl<D> Parts<D> {
    /// Returns the parts for a destination with one address.
    pub(crate) fn new(auth: Authenticator, headers: HeaderMap, endpoint: Endpoint, destination: D) -> Self {
        Self { auth, headers, addresses: vec![Address::new(endpoint, destination)] }
    }
}

/// The properties in which HTTP destinations differ.
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

    /// Set if the destination counts the bytes that `event` appends, less this number, and not the body of the event.
    fn event_overhead_bytes(&self) -> Option<usize> {
        None
    }

    /// Maximum number of bytes of a response that are read. The rest is ignored.
    fn max_response_bytes(&self) -> usize {
        64 * 1024
    }

    /// Returns what a response means. The function is pure, so that each row of the destination's contract is a row of
    /// a test.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome;

    /// Runs before the first request with events, and again before the next one if it returns false. The request is
    /// sent in both cases. After an error it is not sent, and the attempt has that outcome.
    fn prepare<'a>(&'a self, _client: &'a SinkClient) -> BoxFuture<'a, Result<bool, Outcome>> {
        std::future::ready(Ok(true)).boxed()
    }

    /// Sends a request with events. Overridden where the destination must know which requests have no response yet.
    fn send<'a>(
        &'a self,
        request: BoxFuture<'a, Result<Response, RequestError>>,
    ) -> BoxFuture<'a, Result<Response, RequestError>> {
        request
    }

    /// Waits for what the destination reports later than its response. Most destinations return `outcome` unchanged.
    fn confirm<'a>(
        &'a self,
        outcome: Outcome,
        _response: ResponseView<'a>,
        _client: &'a SinkClient,
    ) -> BoxFuture<'a, Outcome> {
        std::future::ready(outcome).boxed()
    }

    /// See [`Sink::dry_run`](s1_forwarder_engine::sink::Sink::dry_run).
    fn dry_run<'a>(&'a self, _batch: &'a Batch, _client: &'a SinkClient) -> BoxFuture<'a, Option<ProbeResult>> {
        std::future::ready(None).boxed()
    }

    /// See [`Sink::probe`](s1_forwarder_engine::sink::Sink::probe). `endpoint` is the one that batches are posted to.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult>;
}

/// Returns the first word of the outcome of a response to four events, with the indices of a partial outcome.
#[cfg(test)]
pub(crate) fn judged(destination: &impl Destination, status: u16, body: impl AsRef<[u8]>) -> String {
    crate::http::transport::response::judged_by(|response| destination.judge(response), status, body, 4)
}
