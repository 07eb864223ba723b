//! OAuth 2.0 tokens. Sinks with equal settings share a token.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use s1_forwarder_engine::sink::Outcome;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Unauthorized;
use s1_forwarder_settings::{Credential, HttpSettings};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::oauth::{ClientCredentials, CredentialsIn};
use super::renewable::{Issued, Renewable};
use super::token_error::TokenError;
use super::token_request::{Connection, TokenEndpointSettings};
use crate::BuildError;
use crate::http::identity::aws::{AwsGrant, AwsSource};
use crate::http::identity::azure::ManagedIdentity;
use crate::http::identity::external_account::ExternalAccount;
use crate::http::identity::google_metadata::GoogleMetadata;
use crate::http::identity::service_account::ServiceAccount;

/// The credentials that a token is issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grant {
    Client(ClientCredentials),
    ServiceAccount(ServiceAccount),
    ExternalAccount(ExternalAccount),
    ManagedIdentity(ManagedIdentity),
    GoogleMetadata(GoogleMetadata),
    /// There are no credentials, for this reason.
    Unavailable(String),
}

/// All token sources of the process.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    sources: Mutex<Vec<Weak<TokenSource>>>,
    aws: Mutex<Vec<Weak<AwsSource>>>,
    /// Whether requests are only looked at: no token is fetched, and no file of a connection to an endpoint is read.
    is_unread: bool,
}

impl Tokens {
    /// Creates sources that fetch no token, for requests that are shown and not sent.
    pub(crate) fn unread() -> Self {
        Self { is_unread: true, ..Self::default() }
    }

    /// Returns the source for these settings. It is dropped with the last sink that uses it. The proxy and the timeout
    /// of `http`, the sink's own settings, apply to the token endpoint as well.
    pub(crate) fn source(&self, grant: Grant, http: &HttpSettings) -> Result<Arc<TokenSource>, BuildError> {
        let http = grant.endpoint().http(http, self.is_unread)?;
        let equal = |source: &TokenSource| source.grant == grant && source.http == http;
        Ok(shared(&self.sources, equal, || TokenSource {
            secret: grant.credential(),
            grant: grant.clone(),
            http: http.clone(),
            token: Renewable::default(),
        }))
    }

    /// Returns the source for credentials of AWS, as [`source`](Self::source) does for tokens.
    pub(crate) fn aws(&self, grant: AwsGrant, http: &HttpSettings) -> Result<Arc<AwsSource>, BuildError> {
        let http = grant.endpoint.http(http, self.is_unread)?;
        let equal = |source: &AwsSource| source.grant == grant && source.http == http;
        Ok(shared(&self.aws, equal, || AwsSource::new(grant.clone(), http.clone())))
    }
}

/// Returns the source that is `equal`, or a new one from `new`.
fn shared<T>(sources: &Mutex<Vec<Weak<T>>>, equal: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> Arc<T> {
    let mut sources = sources.lock();
    sources.retain(|source| source.strong_count() > 0);
    if let Some(source) = sources.iter().filter_map(Weak::upgrade).find(|source| equal(source)) {
        return source;
    }
    let source = Arc::new(new());
    sources.push(Arc::downgrade(&source));
    source
}

impl TokenEndpointSettings {
    /// Returns the settings for requests to the token endpoint. `http` are the sink's settings.
    fn http(&self, http: &HttpSettings, is_unread: bool) -> Result<HttpSettings, BuildError> {
        let proxy = self.proxy.as_ref().or(http.proxy.as_ref()).cloned();
        let http = HttpSettings { tls: self.tls.clone(), proxy, ..http.clone() };
        if !is_unread {
            // Settings that no client can use are found here.
            http.client()?;
        }
        Ok(http)
    }
}

#[derive(Debug)]
pub(crate) struct TokenSource {
    grant: Grant,
    http: HttpSettings,
    secret: Option<Credential>,
    token: Renewable<SecretString>,
}

impl TokenSource {
    /// Returns a valid token.
    pub(crate) async fn token(&self) -> Result<SecretString, TokenError> {
        Ok(self.token_with_expiry().await?.0)
    }

    /// Returns a valid token, and when it expires.
    pub(crate) async fn token_with_expiry(&self) -> Result<(SecretString, Instant), TokenError> {
        self.token.get(|| self.fetch()).await
    }

    /// Discards `token`, which was refused, unless it has been replaced already.
    pub(crate) async fn discard(&self, token: &SecretString) {
        self.token.discard(|cached| cached.expose_secret() == token.expose_secret()).await;
    }

    async fn fetch(&self) -> Result<Issued<SecretString>, TokenError> {
        if let (Some(secret), true) = (&self.secret, self.grant.secret_is_short_lived()) {
            // If it cannot be read now, the old one may still be valid.
            let _ = secret.reload();
        }
        match self.fetch_once().await {
            // The secret may have been rotated.
            Err(TokenError { outcome: Outcome::Failed(Failure { kind: Unauthorized, .. }) })
                if self.secret.as_ref().is_some_and(|secret| secret.reload().unwrap_or(false)) =>
            {
                self.fetch_once().await
            }
            other => other,
        }
    }

    async fn fetch_once(&self) -> Result<Issued<SecretString>, TokenError> {
        let secret = match &self.secret {
            Some(secret) => secret.get().map_err(|error| TokenError::unreadable(&error))?,
            None => SecretString::default(),
        };
        let http = Connection::Settings(&self.http);
        match &self.grant {
            Grant::Client(client) => client.request(&secret)?.token(http).await,
            Grant::ServiceAccount(account) => account.request(&secret).map_err(TokenError::refused)?.token(http).await,
            Grant::ExternalAccount(account) => account.fetch(&secret, http).await,
            Grant::ManagedIdentity(identity) => identity.fetch().await,
            Grant::GoogleMetadata(server) => server.fetch().await,
            Grant::Unavailable(reason) => Err(TokenError::refused(reason.clone())),
        }
    }
}

impl Grant {
    /// Returns the secret that is exchanged for a token.
    fn credential(&self) -> Option<Credential> {
        match self {
            Self::Client(client) => Some(Credential::new(client.client_secret.clone())),
            Self::ServiceAccount(account) => Some(Credential::document(account.key.clone())),
            Self::ExternalAccount(account) => Some(Credential::document(account.configuration.clone())),
            Self::ManagedIdentity(_) | Self::GoogleMetadata(_) | Self::Unavailable(_) => None,
        }
    }

    /// Returns whether the secret is a token that expires as well.
    fn secret_is_short_lived(&self) -> bool {
        matches!(self, Self::Client(client) if client.credentials == CredentialsIn::Assertion)
    }

    /// Certificates and proxy for the token endpoint.
    fn endpoint(&self) -> TokenEndpointSettings {
        match self {
            Self::Client(client) => TokenEndpointSettings { tls: client.tls.clone(), proxy: client.proxy.clone() },
            Self::ServiceAccount(account) => account.endpoint.clone(),
            Self::ExternalAccount(account) => account.endpoint.clone(),
            Self::ManagedIdentity(_) | Self::GoogleMetadata(_) | Self::Unavailable(_) => Default::default(),
        }
    }
}
