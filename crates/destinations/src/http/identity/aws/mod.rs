//! `auth: { type: aws, … }`: requests signed with Signature Version 4, for OpenSearch Service and others of AWS.

mod credentials;
#[cfg(feature = "kafka")]
mod msk;
mod origin;
mod settings;
mod sign;
mod sts;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap};
use http::{Method, StatusCode};
use s1_forwarder_settings::HttpSettings;
use url::Url;

use self::origin::Origin;
use self::sign::Scope;
use self::sts::Role;
use super::environment::Environment;
use crate::http::auth::renewable::{Issued, Renewable};
use crate::http::auth::token_error::TokenError;
use crate::http::auth::token_request::{Connection, TokenEndpointSettings};
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::exchange::Response;

pub(crate) use self::credentials::AwsCredentials;
#[cfg(feature = "kafka")]
pub use self::msk::AwsMskIam;
pub use self::settings::Aws;

/// `service` of OpenSearch Serverless.
pub(crate) const SERVERLESS: &str = "aoss";

/// The origin of credentials, and the role that is assumed with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsGrant {
    /// The error says what is wrong with the environment.
    found: Result<Found, String>,
    role: Option<Role>,
    pub(crate) endpoint: TokenEndpointSettings,
}

/// The values that settings and environment give.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    origin: Origin,
    region: String,
    /// The Security Token Service.
    sts: Endpoint,
}

impl AwsGrant {
    pub(crate) fn new(settings: &Aws, ambient: &Environment) -> Self {
        let role = settings.role_arn.clone().map(|arn| Role { arn, external_id: settings.external_id.clone() });
        let endpoint = TokenEndpointSettings { tls: settings.tls.clone(), proxy: settings.proxy.clone() };
        Self { found: Found::new(settings, ambient), role, endpoint }
    }
}

impl Found {
    fn new(settings: &Aws, ambient: &Environment) -> Result<Self, String> {
        let region = settings.region.clone().or_else(|| ambient.variable("AWS_REGION"));
        let region = region.or_else(|| ambient.variable("AWS_DEFAULT_REGION"));
        let region = region.ok_or("`auth.region` is missing, and the environment variable AWS_REGION is not set")?;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let sts = ambient.url_or("AWS_ENDPOINT_URL_STS", &format!("https://sts.{region}.{suffix}"))?;
        Ok(Self { origin: Origin::new(settings, ambient)?, region, sts })
    }
}

/// Credentials that several sinks share.
#[derive(Debug)]
pub(crate) struct AwsSource {
    pub(crate) grant: AwsGrant,
    pub(crate) http: HttpSettings,
    credentials: Renewable<AwsCredentials>,
    /// Seconds from this machine's clock to the clock of AWS, which refuses signatures of another time.
    clock_offset: AtomicI64,
}

/// A larger difference between two clocks is corrected. AWS accepts five minutes.
const CLOCK_TOLERANCE: i64 = 240;

impl AwsSource {
    pub(crate) fn new(grant: AwsGrant, http: HttpSettings) -> Self {
        Self { grant, http, credentials: Renewable::default(), clock_offset: AtomicI64::new(0) }
    }

    async fn credentials(&self) -> Result<AwsCredentials, TokenError> {
        Ok(self.credentials.get(|| self.fetch()).await?.0)
    }

    async fn fetch(&self) -> Result<Issued<AwsCredentials>, TokenError> {
        let found = self.found()?;
        let connection = Connection::Settings(&self.http);
        let issued = found.origin.fetch(&found.sts, connection).await?;
        match &self.grant.role {
            None => Ok(issued),
            Some(role) => {
                let scope = Scope { region: &found.region, service: "sts", time: self.time() };
                role.assume(&issued.value, &scope, &found.sts, connection).await
            }
        }
    }

    /// Discards credentials that were refused, unless they have been replaced already.
    pub(crate) async fn discard(&self, refused: &AwsCredentials) {
        self.credentials.discard(|cached| cached.access_key_id == refused.access_key_id).await;
    }

    fn found(&self) -> Result<&Found, TokenError> {
        self.grant.found.as_ref().map_err(TokenError::refused)
    }

    fn time(&self) -> SystemTime {
        let offset = self.clock_offset.load(Ordering::Relaxed);
        let now = SystemTime::now();
        let seconds = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { now - seconds } else { now + seconds }
    }

    /// Takes over the server's time if this clock is wrong.
    fn learn_time(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let Some(date) = date else { return };
        let now = SystemTime::now();
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(0);
        let offset = date.duration_since(now).map_or_else(|error| -seconds(error.duration()), seconds);
        if (offset - self.clock_offset.load(Ordering::Relaxed)).abs() > CLOCK_TOLERANCE {
            tracing::warn!(seconds = offset, "this machine's clock differs from AWS's clock");
            self.clock_offset.store(offset, Ordering::Relaxed);
        }
    }
}

/// Signs the requests of one sink.
#[derive(Debug)]
pub(crate) struct AwsSigner {
    pub(crate) source: Arc<AwsSource>,
    pub(crate) service: String,
}

impl AwsSigner {
    /// Adds the headers of a signature over the request. Returns the credentials.
    pub(crate) async fn sign(
        &self,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<AwsCredentials, TokenError> {
        let credentials = self.source.credentials().await?;
        let region = &self.source.found()?.region;
        let scope = Scope { region, service: &self.service, time: self.source.time() };
        sign::sign(&credentials, &scope, method, url, headers, body)?;
        Ok(credentials)
    }

    /// Returns whether the response refuses the signature, which is then made with other credentials or another time.
    pub(crate) fn is_refused(&self, response: &Response) -> bool {
        let is_refused = refuses_signature(response);
        if is_refused {
            self.source.learn_time(&response.headers);
        }
        is_refused
    }

    /// See [`AwsSource::discard`].
    pub(crate) async fn discard(&self, refused: &AwsCredentials) {
        self.source.discard(refused).await;
    }
}

/// Returns whether AWS refuses a signature or its credentials. A missing right has the same status and other words.
pub(crate) fn refuses_signature(response: &Response) -> bool {
    const WORDS: [&[u8]; 4] = [b"security token", b"signature", b"Signature", b"access key"];
    matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && WORDS.iter().any(|word| memchr::memmem::find(&response.body, word).is_some())
}
