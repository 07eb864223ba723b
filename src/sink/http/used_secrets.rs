use secrecy::SecretString;

use super::aws::AwsCredentials;
use crate::settings::scrub;

/// The secrets in one request, to be removed from its response before anything of that is shown.
#[derive(Debug, Default)]
pub(crate) struct UsedSecrets {
    secrets: Vec<SecretString>,
    pub(crate) token: Option<SecretString>,
    /// The request was signed with these.
    pub(crate) aws: Option<AwsCredentials>,
    /// The response refuses the signature or its credentials.
    pub(crate) signature_is_refused: bool,
}

impl UsedSecrets {
    pub(crate) fn push(&mut self, secret: SecretString) {
        self.secrets.push(secret);
    }

    pub(crate) fn scrub(&self, body: &mut Vec<u8>) {
        scrub(body, self.secrets.iter().chain(&self.token));
    }
}
