//! Destinations that speak HTTP.
//!
//! HTTP destinations differ in endpoint, authentication, framing, limits and the meaning of responses. A `Destination`
//! has these differences. Encoding, signing, sending and the classification of transport errors are shared.
//!
//! A new destination is a file in `destination/`, and a line in the two lists that CONTRIBUTING.md names.

mod auth;
pub mod destination;
mod event_time;
mod identity;
mod lookup;
#[cfg(any(test, feature = "testing"))]
mod sample;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod transport;

use std::sync::Arc;

use s1_forwarder_engine::sink::Sink;
use s1_forwarder_engine::sink::lookup::Lookup;
#[cfg(any(test, feature = "testing"))]
use s1_forwarder_engine::transform::Schema;

use super::common_keys::Common;
use super::sink_type::SinkType;
use super::{BuildError, SinkContext};

pub use auth::Auth;
pub use auth::oauth::{ClientCredentials, CredentialsIn};
pub use auth::signature::{Form, Hmac, Signed};
pub use auth::token_request::TokenEndpointSettings;
pub use identity::ambient::Ambient;
pub use identity::aws::Aws;
#[cfg(feature = "kafka")]
pub use identity::aws::AwsMskIam;
#[cfg(any(test, feature = "testing"))]
pub use sample::Sample;
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
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let http = common.http();
        let parts = self.parts(context, &http)?;
        Ok(Arc::new(HttpSink::new(parts, http, common, &self.defaults(), context)?))
    }

    fn lookup(&self, common: &Common, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        T::lookup(self, common.http(), context)
    }

    #[cfg(any(test, feature = "testing"))]
    fn samples(schema: Schema) -> Vec<Sample> {
        testing::samples::<T>(schema)
    }
}
