//! Credentials of AWS with their expiry, as each source of them returns them.

use std::time::SystemTime;

use s1_forwarder_record::Timestamp;
use secrecy::SecretString;

use crate::http::auth::renewable::Issued;

/// Credentials of AWS.
#[derive(Debug, Clone)]
pub(crate) struct AwsCredentials {
    pub(in crate::http) access_key_id: String,
    pub(in crate::http) secret_access_key: SecretString,
    pub(in crate::http) session_token: Option<SecretString>,
}

/// Credentials that end at a time.
pub(super) fn issued(
    value: AwsCredentials,
    expiration: Option<&str>,
    now: SystemTime,
) -> Option<Issued<AwsCredentials>> {
    let lifetime = Timestamp::parse(expiration?).ok()?.since(now.into());
    Some(Issued { value, lifetime })
}
