//! Google's service accounts: a signed assertion is exchanged for a token (RFC 7523).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::Endpoint;
use super::oauth::TokenRequest;
use crate::record::Timestamp;
use crate::settings::Secret;

/// A service account and what its tokens are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    /// The key file as Google gives it out, a JSON object.
    pub(crate) key: Secret,
    /// The scope asked for.
    pub(crate) scope: &'static str,
    /// Another address than the key file's own.
    pub(crate) token_url: Option<Endpoint>,
}

/// What is needed of a key file.
#[derive(Deserialize)]
struct Key {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    #[serde(default = "google")]
    token_uri: String,
}

fn google() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

/// Google takes no longer life.
const LIFE_SECONDS: i64 = 3_600;

impl ServiceAccount {
    /// No error tells anything of the key.
    pub(crate) fn request(&self, key: &SecretString) -> Result<TokenRequest, String> {
        let key: Key = serde_json::from_str(key.expose_secret()).map_err(|_| {
            "the service account's key is no JSON object with `client_email` and `private_key`".to_owned()
        })?;
        let url = match &self.token_url {
            Some(url) => url.clone(),
            None => key.token_uri.parse().map_err(|error| format!("`token_uri` of the service account's key: {error}"))?,
        };
        let assertion = SecretString::from(key.assertion(self.scope, Timestamp::now().seconds())?);
        let params = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.expose_secret()),
        ];
        Ok(TokenRequest::new(url, params, [key.private_key.into(), assertion.clone()]))
    }
}

impl Key {
    /// A JSON web token under RS256 (RFC 7515).
    fn assertion(&self, scope: &str, now: i64) -> Result<String, String> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email,
            "scope": scope,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + LIFE_SECONDS,
        });
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let unsigned = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let unfit = || "`private_key` of the service account's key is no RSA key in PEM".to_owned();
        let key = PrivateKeyDer::from_pem_slice(self.private_key.as_bytes()).map_err(|_| unfit())?;
        // The same arithmetic that TLS signs with.
        let signer = any_supported_type(&key).ok().and_then(|key| key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]));
        let signature = signer.and_then(|signer| signer.sign(unsigned.as_bytes()).ok()).ok_or_else(unfit)?;
        Ok(format!("{unsigned}.{}", encode(&signature)))
    }
}
