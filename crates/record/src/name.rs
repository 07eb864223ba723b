//! The rule for names of pipelines and sinks.

/// The text is not a valid name of a pipeline or a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: lower-case letters, digits, and inside also `.`, `_`, `-`, at most 63")]
pub struct NameError(String);

/// Checks the name of a pipeline or a sink, which is used in state, paths, metrics and topics.
///
/// # Errors
/// If `name` is invalid.
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
