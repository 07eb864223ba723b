//! Keys whose values no event contains.

use std::borrow::Cow;

const SECRET_KEYS: [&str; 4] = ["licenseKey", "licenceKey", "passphrase", "registrationToken"];
const MIN_LENGTH: usize = "passphrase".len();

/// Returns whether a key belongs to a secret. Two secrets enrol an agent into a site or group, one removes it from its
/// host. No mapped field contains their values; see `secrets.rs` for events that contain the record.
pub(super) fn is_secret(key: &str) -> bool {
    // Nearly all keys begin otherwise. A key of a secret may begin with an escape.
    if !matches!(key.as_bytes().first(), Some(b'l' | b'L' | b'p' | b'P' | b'r' | b'R' | b'\\')) {
        return false;
    }
    // An escape is longer than its character.
    let may_be_escaped = key.len() > MIN_LENGTH && key.contains('\\');
    let key = if may_be_escaped { unescaped(key) } else { Cow::Borrowed(key) };
    SECRET_KEYS.into_iter().any(|secret| key.eq_ignore_ascii_case(secret))
}

/// Decodes a key, which is the text between its quotes in JSON.
#[cold]
fn unescaped(key: &str) -> Cow<'_, str> {
    serde_json::from_str(&format!("\"{key}\"")).map_or(Cow::Borrowed(key), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_any_case_and_escapes() {
        for key in SECRET_KEYS {
            let escaped = format!("\\u{:04x}{}", u32::from(key.as_bytes()[0]), &key[1..]);
            for spelling in [key.to_owned(), key.to_uppercase(), key.to_lowercase(), escaped] {
                assert!(is_secret(&spelling), "{spelling}");
            }
        }
        for key in ["", "l", "license", "licenseKeys", "\\u0061icenseKey", "xlicenseKey"] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
