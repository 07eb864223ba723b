//! Keys of a record whose values no event has.

const SECRET_KEYS: [&str; 4] = ["licenseKey", "licenceKey", "passphrase", "registrationToken"];

/// Keys of secrets: two enrol an agent into a site or group, one removes it from its host. No mapped field contains
/// their values; see `secrets.rs` for what contains the record.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.into_iter().any(|secret| key.eq_ignore_ascii_case(secret))
}
