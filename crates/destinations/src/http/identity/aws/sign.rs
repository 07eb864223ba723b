//! Signature Version 4, with the signer of the AWS SDK.

#[cfg(feature = "kafka")]
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
#[cfg(feature = "kafka")]
use aws_sigv4::http_request::SignatureLocation;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use super::credentials::AwsCredentials;
use crate::http::auth::token_error::TokenError;

/// The last parameters of a presigned request, in the order of botocore.
#[cfg(feature = "kafka")]
const LAST: [&str; 3] = ["X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature"];

/// The scope in which a signature is valid.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) time: SystemTime,
}

fn signer(credentials: &AwsCredentials) -> Credentials {
    let AwsCredentials { access_key_id, secret_access_key, session_token } = credentials;
    let session_token = session_token.as_ref().map(|token| token.expose_secret().to_owned());
    Credentials::new(access_key_id, secret_access_key.expose_secret(), session_token, None, "s1-forwarder")
}

fn failed(error: &dyn std::error::Error) -> TokenError {
    TokenError::refused(format!("cannot sign the request: {error}"))
}

/// Returns the URL of a GET request without a body, with a signature in its query that is valid for `lifetime`.
#[cfg(feature = "kafka")]
pub(super) fn presign(
    credentials: &AwsCredentials,
    Scope { region, service, time }: &Scope<'_>,
    mut url: Url,
    lifetime: Duration,
) -> Result<String, TokenError> {
    let identity = signer(credentials).into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(lifetime);
    let params = v4::SigningParams::builder().identity(&identity).region(region).name(service).time(*time);
    let params = params.settings(settings).build().map_err(|error| failed(&error))?.into();
    let no_headers = std::iter::empty();
    let request = SignableRequest::new("GET", url.as_str(), no_headers, SignableBody::Bytes(&[]));
    let request = request.map_err(|error| failed(&error))?;
    let output = aws_sigv4::http_request::sign(request, &params).map_err(|error| failed(&error))?;
    let (instructions, _) = output.into_parts();
    let mut added: Vec<_> = instructions.params().iter().collect();
    added.sort_by_key(|(name, _)| (LAST.iter().position(|last| last == name), *name));
    url.query_pairs_mut().extend_pairs(added);
    Ok(url.into())
}

/// Headers that are signed in addition to `host` and the headers of the signature. A proxy may change other headers.
const SIGNED: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH];

/// Adds the headers of a signature over method, address, body and the headers above. Some services demand the digest
/// of the body as a header.
pub(super) fn sign(
    credentials: &AwsCredentials,
    Scope { region, service, time }: &Scope<'_>,
    method: &Method,
    url: &Url,
    headers: &mut HeaderMap,
    body: &[u8],
) -> Result<(), TokenError> {
    let identity = signer(credentials).into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder().identity(&identity).region(region).name(service).time(*time);
    let params = params.settings(settings).build().map_err(|error| failed(&error))?.into();
    let signed = SIGNED.iter().filter_map(|name| Some((name.as_str(), headers.get(name)?.to_str().ok()?)));
    let request = SignableRequest::new(method.as_str(), url.as_str(), signed, SignableBody::Bytes(body));
    let request = request.map_err(|error| failed(&error))?;
    let output = aws_sigv4::http_request::sign(request, &params).map_err(|error| failed(&error))?;
    let (instructions, _) = output.into_parts();
    for (name, text) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| failed(&error))?;
        let mut value = HeaderValue::from_str(text).map_err(|error| failed(&error))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// `post-x-www-form-urlencoded` of the test suite that AWS publishes for Signature Version 4.
    #[test]
    fn signatures_equal_those_of_the_test_suite_of_aws() {
        let credentials = AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let time = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
            (CONTENT_LENGTH, HeaderValue::from_static("13")),
            (HeaderName::from_static("x-own"), HeaderValue::from_static("a proxy may change it")),
        ]);
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let scope = Scope { region: "us-east-1", service: "service", time };
        sign(&credentials, &scope, &Method::POST, &url, &mut headers, b"Param1=value1").unwrap();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers["x-amz-content-sha256"], "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, \
             Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"
        );
        assert!(
            !format!("{credentials:?} {headers:?}").contains("EXAMPLE/") && !format!("{headers:?}").contains("AKID")
        );
    }
}
