//! Adds credentials to requests, and reads them again when they are refused.

mod header;
pub(crate) mod oauth;
pub(crate) mod renewable;
pub(crate) mod signature;
pub(crate) mod token_error;
pub(crate) mod token_request;
mod token_response;
pub(crate) mod token_source;
pub(crate) mod used_secrets;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use s1_forwarder_record::visible::excerpt;
use s1_forwarder_settings::{Credential, HttpSettings, Secret, SecretError, SettingKind};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::http::identity::aws::{Aws, AwsSigner};
use crate::http::transport::endpoint::Endpoint;
use crate::http::transport::exchange::Response;
use crate::{BuildError, DestinationHash, SharedSinkResources};

use header::header_name;
use oauth::ClientCredentials;
use signature::{Hmac, Signer};
use token_error::TokenError;
use token_source::{Grant, TokenSource, Tokens};
use used_secrets::UsedSecrets;

/// `auth:` of a sink with a choice of credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// No credentials, or those in `headers`.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// User name.
        #[schemars(extend("x-kind" = SettingKind::Text))]
        user: String,
        /// Password.
        password: Secret,
    },
    /// `Authorization: Bearer TOKEN` with a token that is renewed outside of this program.
    Bearer {
        /// Token.
        token: Secret,
    },
    /// OAuth 2.0 client credentials: a token is fetched, cached and renewed.
    Oauth2(Box<ClientCredentials>),
    /// Each request is signed with a shared key.
    Hmac(Hmac),
    /// Each request is signed with credentials of AWS (Signature Version 4).
    Aws(Box<Aws>),
}

impl Auth {
    /// Adds the account of the credentials, which may decide where events arrive. Behind one address, such as a
    /// gateway's, each account may have its own place.
    pub(crate) fn describe(&self, hash: &mut DestinationHash<'_>) {
        match self {
            Self::None => {}
            Self::Basic { user, .. } => _ = hash.text("user", user),
            Self::Bearer { token } => _ = hash.secret("token", token),
            Self::Oauth2(settings) => {
                hash.endpoints("token_url", [&settings.token_url]).text("client_id", &settings.client_id);
            }
            Self::Hmac(settings) => _ = hash.secret("secret", &settings.secret),
            // The address names the place.
            Self::Aws(_) => {}
        }
    }
}

/// Credentials that few sinks have are boxed: there are tens of thousands of sinks.
#[derive(Debug)]
pub(crate) struct Authenticator {
    headers: Vec<SecretHeader>,
    basic: Option<Box<(String, Credential)>>,
    oauth: Option<Arc<TokenSource>>,
    signer: Option<Box<Signer>>,
    aws: Option<Box<AwsSigner>>,
    /// Last segment of the URL's path.
    path: Option<Box<Credential>>,
}

#[derive(Debug)]
struct SecretHeader {
    name: HeaderName,
    prefix: &'static str,
    credential: Arc<Credential>,
    /// Whether the header is a credential, and not only one that a proxy or the destination wants.
    is_credential: bool,
}

/// Credentials were not available: the request was not sent.
#[derive(Debug)]
pub(crate) enum AuthError {
    Secret(SecretError),
    InvalidHeaderValue(HeaderName),
    Token(TokenError),
}

impl Authenticator {
    /// Creates an authenticator with the `headers` of a sink and no other credentials. A header that the destination
    /// sets itself replaces one of the same name.
    pub(crate) fn with_headers(headers: &BTreeMap<String, Secret>) -> Result<Self, BuildError> {
        let mut this = Self { headers: Vec::new(), basic: None, oauth: None, signer: None, aws: None, path: None };
        for (name, value) in headers {
            let key = format!("headers.{}", excerpt(name));
            let parsed = header_name(&key, name)?;
            if matches!(value, Secret::Literal(_)) {
                let text = value.read().map_err(|error| BuildError::value(&key, error.to_string()))?;
                HeaderValue::from_str(text.expose_secret())
                    .map_err(|_| BuildError::value(&key, "its text holds characters that no header can carry"))?;
            }
            // Any text: the header may have a scheme, or be no credential at all.
            let credential = Arc::new(Credential::new(value.clone()));
            let is_credential = parsed == AUTHORIZATION || !matches!(value, Secret::Literal(_));
            this.headers.push(SecretHeader { name: parsed, prefix: "", credential, is_credential });
        }
        Ok(this)
    }

    pub(crate) fn new(
        headers: &BTreeMap<String, Secret>,
        auth: &Auth,
        shared: &SharedSinkResources,
        http: &HttpSettings,
    ) -> Result<Self, BuildError> {
        let mut this = Self::with_headers(headers)?;
        match auth {
            Auth::None => {}
            Auth::Basic { user, password } => {
                this.basic = Some(Box::new((user.clone(), Credential::new(password.clone()))));
            }
            Auth::Bearer { token } => this = this.with_header(AUTHORIZATION, "Bearer ", token),
            Auth::Oauth2(settings) => {
                this.oauth = Some(shared.tokens.source(Grant::Client((**settings).clone()), http)?)
            }
            Auth::Hmac(settings) => this.signer = Some(Box::new(Signer::new(settings)?)),
            Auth::Aws(settings) => {
                settings.check()?;
                let source = shared.tokens.aws(shared.ambient.aws(settings), http)?;
                this.aws = Some(Box::new(AwsSigner { source, service: settings.service.clone() }));
            }
        }
        Ok(this)
    }

    /// Adds a header made of `prefix` and a token.
    pub(crate) fn with_header(self, name: HeaderName, prefix: &'static str, secret: &Secret) -> Self {
        self.with_credential(name, prefix, Arc::new(Credential::token(secret.clone())))
    }

    /// [`with_header`](Self::with_header) for a secret that the destination also writes into its bodies.
    pub(crate) fn with_credential(
        mut self,
        name: HeaderName,
        prefix: &'static str,
        credential: Arc<Credential>,
    ) -> Self {
        self.headers.push(SecretHeader { name, prefix, credential, is_credential: true });
        self
    }

    /// Adds a bearer token, fetched with `grant`.
    pub(crate) fn with_token(mut self, grant: Grant, tokens: &Tokens, http: &HttpSettings) -> Result<Self, BuildError> {
        self.oauth = Some(tokens.source(grant, http)?);
        Ok(self)
    }

    /// Appends a secret to the path of the URL.
    pub(crate) fn with_path(mut self, secret: &Secret) -> Self {
        self.path = Some(Box::new(Credential::token(secret.clone())));
        self
    }

    /// Returns the URL of a request, including the secret in its path.
    pub(crate) fn address(&self, url: &Url, used: &mut UsedSecrets) -> Result<Url, AuthError> {
        let mut url = url.clone();
        if let Some(path) = &self.path {
            let secret = path.get().map_err(AuthError::Secret)?;
            let full = format!("{}/{}", url.path().trim_end_matches('/'), secret.expose_secret());
            url.set_path(&full);
            used.push(secret);
        }
        Ok(url)
    }

    /// Returns whether requests carry credentials. The credentials of TLS are not known here.
    pub(crate) fn has_credentials(&self) -> bool {
        let has_one = self.headers.iter().any(|header| header.is_credential);
        has_one
            || self.basic.is_some()
            || self.oauth.is_some()
            || self.signer.is_some()
            || self.aws.is_some()
            || self.path.is_some()
    }

    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.signer.as_deref()
    }

    /// Adds the credentials to `headers`, replacing headers of the same names.
    pub(crate) async fn apply(&self, headers: &mut HeaderMap, used: &mut UsedSecrets) -> Result<(), AuthError> {
        for SecretHeader { name, prefix, credential, .. } in &self.headers {
            let secret = credential.get().map_err(AuthError::Secret)?;
            headers.insert(name.clone(), sensitive(name, &format!("{prefix}{}", secret.expose_secret()))?);
            used.push_header(secret);
        }
        if let Some((user, password)) = self.basic.as_deref() {
            let password = password.get().map_err(AuthError::Secret)?;
            let encoded = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            headers.insert(AUTHORIZATION, sensitive(&AUTHORIZATION, &format!("Basic {encoded}"))?);
            used.push(password);
            used.push(encoded.into());
        }
        if let Some(oauth) = &self.oauth {
            let token = oauth.token().await.map_err(AuthError::Token)?;
            headers.insert(AUTHORIZATION, sensitive(&AUTHORIZATION, &format!("Bearer {}", token.expose_secret()))?);
            used.push(token.clone());
            used.token = Some(token);
        }
        Ok(())
    }

    /// Adds the headers of [`Self::apply`] and [`Self::sign`] with `***` for credentials, which are not read.
    pub(crate) fn mask(&self, headers: &mut HeaderMap) {
        for SecretHeader { name, prefix, .. } in &self.headers {
            insert_masked(name, prefix, headers);
        }
        if self.basic.is_some() {
            insert_masked(&AUTHORIZATION, "Basic ", headers);
        }
        if self.oauth.is_some() {
            insert_masked(&AUTHORIZATION, "Bearer ", headers);
        }
        if self.aws.is_some() {
            insert_masked(&AUTHORIZATION, "", headers);
        }
    }

    /// Returns [`Self::address`] as [`Endpoint::masked`] prints it.
    pub(crate) fn masked_address(&self, endpoint: &Endpoint) -> String {
        let masked = endpoint.masked();
        if self.path.is_none() {
            return masked;
        }
        match masked.split_once('?') {
            Some((path, query)) => format!("{path}/***?{query}"),
            None => format!("{masked}/***"),
        }
    }

    /// Adds a signature over the whole request, if the credentials sign requests.
    pub(crate) async fn sign(
        &self,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
        used: &mut UsedSecrets,
    ) -> Result<(), AuthError> {
        if let Some(aws) = &self.aws {
            let credentials = aws.sign(method, url, headers, body).await.map_err(AuthError::Token)?;
            used.push(credentials.secret_access_key.clone());
            credentials.session_token.iter().for_each(|token| used.push(token.clone()));
            used.aws = Some(credentials);
        }
        Ok(())
    }

    /// Takes note of a response that refuses the signature.
    pub(crate) fn observe(&self, response: &Response, used: &mut UsedSecrets) {
        used.signature_is_refused = self.aws.as_ref().is_some_and(|aws| aws.is_refused(response));
    }

    /// Reads the secrets again after a refusal. `is_invalid`: the destination says that the credentials are not valid,
    /// so the token is discarded. A token that lacks a permission is kept, since other lanes share it. Returns whether
    /// the next attempt has other credentials.
    pub(crate) async fn renew(&self, used: &UsedSecrets, is_invalid: bool) -> bool {
        let credentials = self.headers.iter().map(|header| header.credential.as_ref());
        let credentials = credentials.chain(self.basic.iter().map(|basic| &basic.1));
        let credentials = credentials.chain(self.signer.iter().map(|signer| &signer.key)).chain(self.path.as_deref());
        // Not `any`: all of them must be read. A secret that cannot be read now counts as unchanged.
        let mut changed = credentials.filter(|credential| credential.reload().unwrap_or(false)).count() > 0;
        if let (Some(oauth), Some(token), true) = (&self.oauth, &used.token, is_invalid) {
            oauth.discard(token).await;
            changed = true;
        }
        if let (Some(aws), Some(credentials), true) = (&self.aws, &used.aws, used.signature_is_refused) {
            aws.discard(credentials).await;
            changed = true;
        }
        changed
    }
}

fn insert_masked(name: &HeaderName, prefix: &str, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(&format!("{prefix}***")) {
        headers.insert(name.clone(), value);
    }
}

fn sensitive(name: &HeaderName, text: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| AuthError::InvalidHeaderValue(name.clone()))?;
    value.set_sensitive(true);
    Ok(value)
}
