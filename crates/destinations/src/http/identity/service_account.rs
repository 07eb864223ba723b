//! Google service accounts: a signed assertion is exchanged for a token (RFC 7523).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::http::auth::token_request::{TokenEndpointSettings, TokenRequest};
use crate::http::transport::endpoint::Endpoint;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceAccount {
    /// The key file that Google issues, a JSON object.
    pub(crate) key: Secret,
    pub(crate) scope: &'static str,
    /// Replaces the key file's `token_uri`.
    pub(crate) token_url: Option<Endpoint>,
    pub(crate) endpoint: TokenEndpointSettings,
}

/// The keys of a key file that are used.
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

/// Google accepts no longer lifetime.
const LIFETIME_SECONDS: i64 = 3_600;

impl ServiceAccount {
    /// Errors contain nothing of the key.
    pub(crate) fn request(&self, key: &SecretString) -> Result<TokenRequest, String> {
        let key: Key = serde_json::from_str(key.expose_secret()).map_err(|_| {
            "the service account's key is not a JSON object with `client_email` and `private_key`".to_owned()
        })?;
        let url = match &self.token_url {
            Some(url) => url.clone(),
            None => {
                key.token_uri.parse().map_err(|error| format!("`token_uri` of the service account's key: {error}"))?
            }
        };
        let assertion = SecretString::from(key.assertion(self.scope, Timestamp::now().seconds())?);
        let params =
            [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.expose_secret())];
        Ok(TokenRequest::form(url, params, [key.private_key.into(), assertion.clone()]))
    }
}

impl Key {
    /// Returns a JSON web token, signed with RS256 (RFC 7515).
    fn assertion(&self, scope: &str, now: i64) -> Result<String, String> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email,
            "scope": scope,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        });
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let unsigned = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        Ok(format!("{unsigned}.{}", encode(&sign(&self.private_key, unsigned.as_bytes())?)))
    }
}

/// Signs by RSA with SHA-256 and PKCS #1 version 1.5 padding, with the TLS library.
fn sign(private_key: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    let invalid = || "`private_key` of the service account's key is not an RSA key in PEM".to_owned();
    let key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).map_err(|_| invalid())?;
    let key = any_supported_type(&key).map_err(|_| invalid())?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(invalid)?;
    signer.sign(message).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../../../../tests/data/google/service-account.json");

    fn account(token_url: Option<&str>) -> ServiceAccount {
        let token_url = token_url.map(|url| url.parse().unwrap());
        ServiceAccount { key: Secret::Literal(String::new()), scope: "a b", token_url, endpoint: Default::default() }
    }

    /// The expected signature was made with OpenSSL.
    #[test]
    fn signatures_equal_those_of_openssl() {
        let key: Key = serde_json::from_str(KEY).unwrap();
        let (message, expected) = SIGNED.rsplit_once('.').unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.encode(sign(&key.private_key, message.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn tokens_are_requested_from_the_url_of_the_key_or_of_the_settings() {
        let secret = SecretString::from(KEY);
        for (token_url, expected) in [(None, "https://oauth2.googleapis.com"), (Some("http://h:1/t"), "http://h:1")] {
            let request = account(token_url).request(&secret).unwrap();
            assert_eq!(request.url.to_string(), expected);
            assert!(
                request
                    .body
                    .starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey")
            );
        }
    }

    #[test]
    fn errors_about_invalid_keys_do_not_quote_them() {
        for key in [
            "canary",
            r#"{"client_email":"canary"}"#,
            r#"{"client_email":"canary","private_key":"canary"}"#,
            r#"{"client_email":"canary","private_key":"canary","token_uri":"canary"}"#,
        ] {
            let error = account(None).request(&SecretString::from(key)).err().unwrap();
            assert!(error.contains("service account") && !error.contains("canary"), "{error}");
        }
    }

    const SIGNED: &str = concat!(
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IjAxMjM0NTY3ODlhYmNkZWYiLCJ0eXAiOiJKV1QifQ.eyJhdWQiOiJodHRwczovL29hdXRoM",
        "i5nb29nbGVhcGlzLmNvbS90b2tlbiIsImV4cCI6MTc4OTU1MTAwMCwiaWF0IjoxNzg5NTQ3NDAwLCJpc3MiOiJzMS1mb3J3YXJkZ",
        "XJAZXhhbXBsZS5pYW0uZ3NlcnZpY2VhY2NvdW50LmNvbSIsInNjb3BlIjoiYSBiIn0.CHgxq9m9YH-dRK3YduJ8_a-Zp9jl6XJD4",
        "omNsfPvLzyRx9oIQCxq_F2HNXtaWtR4-IMFimk5pnpxbwA8_O6tOiYwd1e_aGlcxknM5guWJo7L2ZvWIwn2KOLmLqcvVsJ2H12gt",
        "2ijvLgmLdPXH92sFc_qYak6b_Rz5sj4VCkujd9Zqzx--66sfSyxVmIg16SyN0OcCDs3SuUJn9IrCb9OFFcobFPN21MQysSNm5RGU",
        "KGVIOVCKGs6eGjrumYJ4Q6bsBXMe1sFA3HpvAE5Cms5JYR7Xy8h9pT1q0xPxpbmjW3x0YgPq2LjvkLEJq7rjOqKXHuBxCrLy7Dhn",
        "jUd_bwFUQ",
    );
}
