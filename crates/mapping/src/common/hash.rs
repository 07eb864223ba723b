//! Tells the kind of a hash by its length.

use s1_forwarder_record::Escaped;

/// Returns the kind of a hash, by its length, and the hash. Zeros are not a hash: they mean that it was not computed.
pub fn hash(text: Escaped<'_>) -> Option<(&'static str, Escaped<'_>)> {
    let kind = match text.raw().len() {
        32 => "md5",
        40 => "sha1",
        64 => "sha256",
        _ => return None,
    };
    let is_hash =
        text.raw().bytes().all(|byte| byte.is_ascii_hexdigit()) && text.raw().bytes().any(|byte| byte != b'0');
    is_hash.then_some((kind, text))
}
