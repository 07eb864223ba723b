use s1_forwarder_record::Escaped;

/// The kind of a hash, by its length.
pub fn hash(text: Escaped<'_>) -> Option<(&'static str, Escaped<'_>)> {
    let kind = match text.raw().len() {
        32 => "md5",
        40 => "sha1",
        64 => "sha256",
        _ => return None,
    };
    text.raw().bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((kind, text))
}
