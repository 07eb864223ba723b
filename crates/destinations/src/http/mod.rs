//! Destinations that speak HTTP.
//!
//! HTTP destinations differ in endpoint, authentication, framing, limits and the meaning of responses. A `Destination`
//! has these differences. Encoding, signing, sending and the classification of transport errors are shared.
//!
//! A new destination is a file in `destination/`, and a line in each of the lists that CONTRIBUTING.md names.

mod auth;
mod destination;
mod event_time;
mod identity;
mod lookup;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod transport;

use std::sync::Arc;

use s1_forwarder_engine::sink::Sink;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::Stream;

use super::common::{Common, SinkDefaults, SinkType};
use super::integration::Content;
use super::{BuildError, DestinationHash, SinkContext};

pub use auth::Auth;
pub use auth::oauth::{ClientCredentials, CredentialsIn};
pub use auth::signature::{Form, Hmac, Signed};
pub use auth::token_request::TokenEndpointSettings;
pub use destination::{
    azure_logs, datadog, elasticsearch, generic, google_secops, logscale, loki, otlp, panther, sekoia, splunk_hec, sumo,
};
pub use identity::ambient::Ambient;
pub use identity::aws::Aws;
#[cfg(feature = "kafka")]
pub use identity::aws::AwsMskIam;
#[cfg(any(test, feature = "testing"))]
pub use testing::{Judge, judges};
pub use transport::endpoint::{Endpoint, EndpointError};
pub use transport::response::ResponseView;

pub(crate) use auth::Authenticator;
#[cfg(feature = "kafka")]
pub(crate) use auth::token_error::TokenError;
#[cfg(feature = "kafka")]
pub(crate) use auth::token_source::TokenSource;
pub(crate) use auth::token_source::{Grant, Tokens};
pub(crate) use destination::{Address, Destination, DestinationType, Parts};
#[cfg(feature = "kafka")]
pub(crate) use identity::aws::{AwsCredentials, AwsSource};
pub(crate) use transport::client::SinkClient;
pub(crate) use transport::framing::Framing;
pub(crate) use transport::request::HttpSink;

impl<T: DestinationType> SinkType for T {
    fn defaults(&self) -> SinkDefaults {
        T::DEFAULTS
    }

    fn embeds_raw(&self) -> bool {
        T::embeds_raw(self)
    }

    fn default_schema(&self) -> Option<Schema> {
        T::DEFAULT_SCHEMA
    }

    fn older_ocsf_reader(&self) -> Option<&'static str> {
        T::OLDER_OCSF_READER
    }

    fn content(&self) -> Content {
        T::content(self)
    }

    fn probes_each_stream(&self) -> bool {
        T::probes_each_stream(self)
    }

    fn check_streams(&self, streams: &[Stream]) -> Result<(), BuildError> {
        T::check_streams(self, streams)
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        T::describe_destination(self, context, hash)
    }

    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let http = common.http();
        let parts = self.parts(context, &http)?;
        Ok(Arc::new(HttpSink::new(parts, http, common, &T::DEFAULTS, context)?))
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        T::without_identity(self, schema)
    }

    fn lookup(&self, common: &Common, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        T::lookup(self, common.http(), context)
    }
}
