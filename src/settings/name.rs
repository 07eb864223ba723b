/// The text does not name a pipeline or a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: lower-case letters, digits, and inside also `.`, `_`, `-`, at most 63")]
pub struct NameError(String);

/// The rule for names of pipelines and sinks, which stand in state, paths, metrics and topics.
///
/// # Errors
/// When `name` is not one.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| end(byte) || matches!(byte, b'.' | b'_' | b'-');
    let bytes = name.as_bytes();
    let ends = bytes.first().copied().is_some_and(end) && bytes.last().copied().is_some_and(end);
    if ends && bytes.len() <= 63 && bytes.iter().copied().all(inside) {
        Ok(())
    } else {
        Err(NameError(name.to_owned()))
    }
}
