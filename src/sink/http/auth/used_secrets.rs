use secrecy::SecretString;

use crate::settings::KnownSecrets;
use crate::sink::http::identity::aws::AwsCredentials;

/// The secrets in one request, to be removed from every text of its response.
#[derive(Debug, Default)]
pub(crate) struct UsedSecrets {
    pub(crate) known: KnownSecrets,
    pub(crate) token: Option<SecretString>,
    /// The request was signed with these.
    pub(crate) aws: Option<AwsCredentials>,
    /// The response refuses the signature or its credentials.
    pub(crate) signature_is_refused: bool,
}

impl UsedSecrets {
    pub(crate) fn push(&mut self, secret: SecretString) {
        self.known.push(secret);
    }
}
