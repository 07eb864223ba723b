//! Credentials of a request: where they come from, how they are written, and reading them again when they are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::oauth::{ClientCredentials, Grant, TokenError, TokenSource, Tokens};
use super::signature::{Hmac, Signer};
use crate::settings::{Credential, HttpSettings, Secret, SecretError, scrub};
use crate::sink::BuildError;

/// `auth:` of a sink that leaves the choice to the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// No credentials, or those in `headers`.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: Bearer TOKEN` with a token that somebody else renews.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// OAuth 2.0 client credentials: a token is fetched, kept and renewed.
    Oauth2(ClientCredentials),
    /// Each request is signed with a shared key.
    Hmac(Hmac),
}

/// Headers that say how the body is framed; the client sets them.
const RESERVED: [&str; 5] = ["connection", "content-encoding", "content-length", "host", "transfer-encoding"];

/// Puts credentials on requests.
#[derive(Debug)]
pub(crate) struct Authenticator {
    headers: Vec<SecretHeader>,
    basic: Option<(String, Credential)>,
    oauth: Option<Arc<TokenSource>>,
    signer: Option<Signer>,
    /// The last part of the address.
    path: Option<Credential>,
}

#[derive(Debug)]
struct SecretHeader {
    name: HeaderName,
    prefix: &'static str,
    credential: Arc<Credential>,
}

/// The secrets that one request carried, to keep them out of what is told about it.
#[derive(Debug, Default)]
pub(crate) struct Used {
    secrets: Vec<SecretString>,
    token: Option<SecretString>,
}

/// A request that could not even be sent for want of credentials.
#[derive(Debug)]
pub(crate) enum AuthError {
    Secret(SecretError),
    /// The secret is nothing that a header can carry.
    Unfit(HeaderName),
    Token(TokenError),
}

impl Authenticator {
    /// No credentials, to add some to.
    pub(crate) fn none() -> Self {
        Self { headers: Vec::new(), basic: None, oauth: None, signer: None, path: None }
    }

    /// `headers` and `auth` as the user wrote them.
    pub(crate) fn new(
        headers: &BTreeMap<String, Secret>,
        auth: &Auth,
        tokens: &Tokens,
        http: &HttpSettings,
    ) -> Result<Self, BuildError> {
        let mut this = Self::none();
        for (name, value) in headers {
            let key = || format!("headers.{name}");
            let parsed: HeaderName =
                name.parse().map_err(|_| BuildError::value(key(), "not the name of an HTTP header"))?;
            if RESERVED.contains(&parsed.as_str()) {
                return Err(BuildError::value(key(), "the forwarder sets this header itself"));
            }
            this = this.with_header(parsed, "", value);
        }
        match auth {
            Auth::None => {}
            Auth::Basic { user, password } => this.basic = Some((user.clone(), Credential::new(password.clone()))),
            Auth::Bearer { token } => this = this.with_header(AUTHORIZATION, "Bearer ", token),
            Auth::Oauth2(settings) => this.oauth = Some(tokens.source(Grant::Client(settings.clone()), http)?),
            Auth::Hmac(settings) => this.signer = Some(Signer::new(settings)?),
        }
        Ok(this)
    }

    /// Adds a header made of `prefix` and a secret.
    pub(crate) fn with_header(self, name: HeaderName, prefix: &'static str, secret: &Secret) -> Self {
        self.with_credential(name, prefix, Arc::new(Credential::new(secret.clone())))
    }

    /// Adds a header made of `prefix` and a secret that the destination writes into its bodies as well.
    pub(crate) fn with_credential(
        mut self,
        name: HeaderName,
        prefix: &'static str,
        credential: Arc<Credential>,
    ) -> Self {
        self.headers.push(SecretHeader { name, prefix, credential });
        self
    }

    /// Adds tokens that are fetched as `grant` says.
    pub(crate) fn with_token(mut self, grant: Grant, tokens: &Tokens, http: &HttpSettings) -> Result<Self, BuildError> {
        self.oauth = Some(tokens.source(grant, http)?);
        Ok(self)
    }

    /// Appends a secret to the path of the address.
    pub(crate) fn with_path(mut self, secret: &Secret) -> Self {
        self.path = Some(Credential::new(secret.clone()));
        self
    }

    /// The address of a request, the secret in its path included.
    pub(crate) fn address(&self, url: &Url, used: &mut Used) -> Result<Url, AuthError> {
        let mut url = url.clone();
        if let Some(path) = &self.path {
            let secret = path.get().map_err(AuthError::Secret)?;
            let whole = format!("{}/{}", url.path().trim_end_matches('/'), secret.expose_secret());
            url.set_path(&whole);
            used.secrets.push(secret);
        }
        Ok(url)
    }

    /// Signs bodies, where that was asked for.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Adds the credentials to `headers`, where they win over what is there.
    pub(crate) async fn apply(&self, headers: &mut HeaderMap, used: &mut Used) -> Result<(), AuthError> {
        for SecretHeader { name, prefix, credential } in &self.headers {
            let secret = credential.get().map_err(AuthError::Secret)?;
            headers.insert(name.clone(), sensitive(name, &format!("{prefix}{}", secret.expose_secret()))?);
            used.secrets.push(secret);
        }
        if let Some((user, password)) = &self.basic {
            let password = password.get().map_err(AuthError::Secret)?;
            let encoded = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            headers.insert(AUTHORIZATION, sensitive(&AUTHORIZATION, &format!("Basic {encoded}"))?);
            used.secrets.extend([password, SecretString::from(encoded)]);
        }
        if let Some(oauth) = &self.oauth {
            let token = oauth.token().await.map_err(AuthError::Token)?;
            headers.insert(AUTHORIZATION, sensitive(&AUTHORIZATION, &format!("Bearer {}", token.expose_secret()))?);
            used.token = Some(token);
        }
        Ok(())
    }

    /// After a refusal: reads the secrets again and gives up the token. True when another try has other credentials.
    pub(crate) async fn renew(&self, used: &Used) -> bool {
        let credentials = self.headers.iter().map(|header| header.credential.as_ref());
        let credentials = credentials.chain(self.basic.iter().map(|(_, password)| password));
        let credentials = credentials.chain(self.signer.iter().map(|signer| &signer.key)).chain(&self.path);
        // Not `any`: all of them are to be read. One that cannot be read now is as if it had not changed.
        let mut changed = credentials.filter(|credential| credential.reload().unwrap_or(false)).count() > 0;
        if let (Some(oauth), Some(token)) = (&self.oauth, &used.token) {
            oauth.give_up(token).await;
            changed = true;
        }
        changed
    }
}

fn sensitive(name: &HeaderName, text: &str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| AuthError::Unfit(name.clone()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Used {
    /// Remembers a secret that was used in another way than in a header.
    pub(crate) fn push(&mut self, secret: SecretString) {
        self.secrets.push(secret);
    }

    /// Takes the secrets out of an answer, before anything of it is told.
    pub(crate) fn scrub(&self, answer: &mut Vec<u8>) {
        scrub(answer, self.secrets.iter().chain(&self.token));
    }
}
