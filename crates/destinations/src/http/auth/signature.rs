//! Signed requests: HMAC-SHA256 over the body, in the form of Standard Webhooks, of GitHub, or alone.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{KeyInit, Mac};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use s1_forwarder_settings::{Credential, Secret, SecretError, SettingKind};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::header::header_name;
use crate::BuildError;

/// `auth: { type: hmac, … }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// The key. One that begins with `whsec_` is base64 after the prefix, any other is used as it is.
    pub secret: Secret,
    /// How the signature is written.
    #[serde(default)]
    pub form: Form,
    /// Header of the signature; default `webhook-signature`, `X-Hub-Signature-256` or `X-Signature`, by form.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub header: Option<String>,
    /// What is signed.
    #[serde(default)]
    pub sign: Signed,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, and `v1,BASE64` over id, timestamp and body.
    #[default]
    Standard,
    /// `sha256=HEX` over the body, as GitHub signs its webhooks.
    Github,
    /// The digest of the body in hex.
    Hex,
    /// The digest of the body in base64.
    Base64,
}

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signed {
    /// The body before compression.
    #[default]
    Body,
    /// The body after compression.
    Compressed,
}

/// A signature that is not finished.
pub(crate) type Signature = hmac::Hmac<Sha256>;

#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: Credential,
    form: Form,
    header: HeaderName,
    pub(crate) signed: Signed,
}

impl Signer {
    pub(crate) fn new(settings: &Hmac) -> Result<Self, BuildError> {
        let default = match settings.form {
            Form::Standard => "webhook-signature",
            Form::Github => "x-hub-signature-256",
            Form::Hex | Form::Base64 => "x-signature",
        };
        let name = settings.header.as_deref().unwrap_or(default);
        let header = header_name("auth.header", name)?;
        Ok(Self { key: Credential::new(settings.secret.clone()), form: settings.form, header, signed: settings.sign })
    }

    /// Starts a signature; the caller adds the body. `id` is the batch's and stays the same when it is sent again.
    pub(crate) fn begin(&self, id: &str, seconds: i64) -> Result<(Signature, SecretString), SecretError> {
        let secret = self.key.get()?;
        let text = secret.expose_secret();
        let decoded = text.strip_prefix("whsec_").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        let key = decoded.as_deref().unwrap_or(text.as_bytes());
        // HMAC accepts keys of every length: this cannot fail.
        let mut signature = Signature::new_from_slice(key).unwrap_or_else(|_| Signature::new(&Default::default()));
        if self.form == Form::Standard {
            signature.update(format!("{id}.{seconds}.").as_bytes());
        }
        Ok((signature, secret))
    }

    /// Adds the headers of a signature without one.
    pub(crate) fn mask(&self, id: &str, seconds: i64, headers: &mut HeaderMap) {
        self.insert("***", id, seconds, headers);
    }

    /// Adds the signature and the headers that a receiver needs to verify it.
    pub(crate) fn finish(&self, signature: Signature, id: &str, seconds: i64, headers: &mut HeaderMap) {
        let digest = signature.finalize().into_bytes();
        let text = match self.form {
            Form::Standard => format!("v1,{}", BASE64_STANDARD.encode(digest)),
            Form::Github => format!("sha256={}", hex::encode(digest)),
            Form::Hex => hex::encode(digest),
            Form::Base64 => BASE64_STANDARD.encode(digest),
        };
        self.insert(&text, id, seconds, headers);
    }

    fn insert(&self, text: &str, id: &str, seconds: i64, headers: &mut HeaderMap) {
        let mut insert = |name: HeaderName, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        if self.form == Form::Standard {
            insert(HeaderName::from_static("webhook-id"), id);
            insert(HeaderName::from_static("webhook-timestamp"), &seconds.to_string());
        }
        insert(self.header.clone(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(form: Form, secret: &str, body: &[u8]) -> String {
        let settings = Hmac { secret: Secret::Literal(secret.to_owned()), form, header: None, sign: Signed::Body };
        let signer = Signer::new(&settings).unwrap();
        let (mut signature, _) = signer.begin("msg_1", 1_789_547_400).unwrap();
        signature.update(body);
        let mut headers = HeaderMap::new();
        signer.finish(signature, "msg_1", 1_789_547_400, &mut headers);
        headers[&signer.header].to_str().unwrap().to_owned()
    }

    /// Expected values computed with `openssl dgst -sha256 -hmac`.
    #[test]
    fn each_form_writes_the_expected_signature() {
        let body = b"{\"a\":1}\n";
        assert_eq!(
            signed(Form::Github, "secret", body),
            "sha256=5dbe6cf6e344c4bbc2f47f8673aa3a3b4ff615d881c24b0ce0645b4f02bd0025"
        );
        let hex = "5dbe6cf6e344c4bbc2f47f8673aa3a3b4ff615d881c24b0ce0645b4f02bd0025";
        assert_eq!(signed(Form::Hex, "secret", body), hex);
        assert_eq!(signed(Form::Base64, "secret", body), "Xb5s9uNExLvC9H+Gc6o6O0/2FdiBwksM4GRbTwK9ACU=");
        assert_eq!(signed(Form::Standard, "secret", body), "v1,ec5ictFgKDEjBnQa2LpKP7F/6oHRvrmTpTXYj3I0ma8=");
        assert_eq!(signed(Form::Standard, "whsec_c2VjcmV0", body), "v1,ec5ictFgKDEjBnQa2LpKP7F/6oHRvrmTpTXYj3I0ma8=");
    }
}
