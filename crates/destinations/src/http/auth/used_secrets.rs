//! Removes the secrets of a request from the texts of its response, before they are logged.

use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use s1_forwarder_settings::KnownSecrets;
use secrecy::{ExposeSecret, SecretString};

use crate::http::identity::aws::AwsCredentials;

/// The secrets in one request, to be removed from every text of its response.
#[derive(Debug, Default)]
pub(crate) struct UsedSecrets {
    pub(crate) known: KnownSecrets,
    pub(crate) token: Option<SecretString>,
    /// The request was signed with these.
    pub(crate) aws: Option<AwsCredentials>,
    /// Whether the response refuses the signature or its credentials.
    pub(crate) signature_is_refused: bool,
}

impl UsedSecrets {
    pub(crate) fn push(&mut self, secret: SecretString) {
        self.known.push(secret);
    }

    /// Adds the value of a header, and its parts. A peer that refuses the value may repeat the token without its
    /// scheme, or the password that `Basic` has in base64. Any header may be the credential of some destination.
    pub(crate) fn push_header(&mut self, value: SecretString) {
        let text = value.expose_secret();
        let mut is_basic = false;
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index == 0 && SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(word)) {
                is_basic = word.eq_ignore_ascii_case("basic");
                continue;
            }
            if is_basic && let Some(account) = decoded(word) {
                let password = account.split_once(':').map(|(_, password)| SecretString::from(password.trim()));
                self.known.extend(password);
                self.known.push(account.into());
            }
            // `Token token="…"`; base64 ends with `=`.
            if let Some((_, assigned)) = word.split_once('=').filter(|(_, rest)| !rest.trim_matches('=').is_empty()) {
                self.known.push(assigned.trim_matches('"').into());
            }
            if word.len() < text.len() {
                self.known.push(word.into());
            }
        }
        self.known.push(value);
    }
}

/// Authentication schemes in header values. These words are no secrets, and messages name them.
const SCHEMES: [&str; 9] =
    ["ApiKey", "ApiToken", "Basic", "Bearer", "Digest", "GenieKey", "Negotiate", "Splunk", "Token"];

/// Returns the decoded user and password of `Basic`.
fn decoded(word: &str) -> Option<String> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    let word = word.replace('-', "+").replace('_', "/");
    BASE64.decode(word).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_masked_in_its_parts() {
        for (header, repeated, masked) in [
            ("Bearer Tok3n/SECRET+value=~Zq9", "bad token [Tok3n/SECRET+value=~Zq9]", "bad token [***]"),
            ("Splunk 1111-2222-3333", "Splunk token 1111-2222-3333 is unknown", "Splunk token *** is unknown"),
            ("Basic c3ZjOnBhc3N3MHJkQ0FOQVJZ", "svc:passw0rdCANARY", "***"),
            ("basic c3ZjOnBhc3N3MHJkQ0FOQVJZCg==", "user svc, password passw0rdCANARY", "user svc, password ***"),
            ("Token token=\"abcdefgh\", id=12345", "no abcdefgh for 12345", "no *** for ***"),
            ("Basic c3ZjOnBhc3N-fn5DQU5BUlk_", "password pass~~~CANARY?", "password ***"),
            ("Bearer dG9rZW5DQU5BUlk=", "bad token dG9rZW5DQU5BUlk", "bad token ***"),
            ("dG9rZW5DQU5BUlk=", "bad token [dG9rZW5DQU5BUlk]", "bad token [***]"),
            ("session=abcdefgh; csrf=ijklmnop", "no abcdefgh, no ijklmnop", "no ***, no ***"),
            ("onesecretword", "onesecretword", "***"),
            ("Custom onesecretword", "Bearer: onesecretword", "Bearer: ***"),
        ] {
            let mut used = UsedSecrets::default();
            used.push_header(header.into());
            assert_eq!(used.known.scrub(repeated), masked, "{header}");
            assert_eq!(used.known.scrub(header), "***", "{header}");
        }
    }
}
