//! Keys of a record whose values no event has.

use std::cell::Cell;

thread_local! {
    static SEEN_SECRET: Cell<bool> = const { Cell::new(false) };
}

const SECRET_KEYS: [&str; 4] = ["licenseKey", "licenceKey", "passphrase", "registrationToken"];

/// Keys of secrets: two enrol an agent into a site or group, one removes it from its host. No mapped field contains
/// their values; see `secrets.rs` for what contains the record.
pub(super) fn is_secret(key: &str) -> bool {
    let is_secret = SECRET_KEYS.into_iter().any(|secret| key.eq_ignore_ascii_case(secret));
    if is_secret {
        SEEN_SECRET.set(true);
    }
    is_secret
}

/// True if [`is_secret`] has found one on this thread since the last call.
pub(super) fn take_seen_secret() -> bool {
    SEEN_SECRET.take()
}
