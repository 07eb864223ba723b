//! Settings that become a part of a URL: what else could they lead to?

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s1_forwarder_record::visible::excerpt;

use crate::BuildError;

/// Longer than any name of a host.
const MAX_HOST: usize = 253;

/// Returns `text` as a label of a host's name, such as the region in `sts.eu-west-1.amazonaws.com`.
pub(crate) fn host_label<'a>(key: &str, text: &'a str, example: &str) -> Result<&'a str, BuildError> {
    if is_label(text) { Ok(text) } else { Err(unlike(key, text, example)) }
}

/// Returns `text` as one or more labels of a host's name, such as the site in `http-intake.logs.us5.datadoghq.com`.
pub(crate) fn host_labels<'a>(key: &str, text: &'a str, example: &str) -> Result<&'a str, BuildError> {
    let are_labels = text.len() <= MAX_HOST && text.split('.').all(is_label);
    if are_labels { Ok(text) } else { Err(unlike(key, text, example)) }
}

/// Returns `text`, which may hold labels of an event, as a segment of a path. Segments of dots alone would leave the
/// path.
pub(crate) fn segment(key: &str, text: &str) -> Result<String, BuildError> {
    if matches!(text, "" | "." | "..") {
        return Err(BuildError::value(key, format!("`{text}` cannot be a part of the URL's path")));
    }
    Ok(path_segment(text))
}

/// Returns `text` as one segment of a URL's path.
pub(crate) fn path_segment(text: &str) -> String {
    const UNCHANGED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');
    utf8_percent_encode(text, UNCHANGED).to_string()
}

/// Returns an id as a segment of a path, if no character of the id has a meaning in a path.
pub(crate) fn id_segment(key: &str, text: &str, example: &str) -> Result<String, BuildError> {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if !text.bytes().all(is_of_id) || segment(key, text).is_err() {
        return Err(unlike(key, text, example));
    }
    Ok(text.to_owned())
}

fn is_label(text: &str) -> bool {
    let is_of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_of_label) && !text.starts_with('-') && !text.ends_with('-')
}

fn unlike(key: &str, text: &str, example: &str) -> BuildError {
    BuildError::value(key, format!("`{}` is not like {example}, and becomes a part of the URL", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_part_of_the_url() {
        let hostile =
            ["", "x@127.0.0.1:22100/#", "a/b", "a#", "a?", "a:80", "a\\b", "a b", "a\n", "é", "a%2e", "[::1]", "@"];
        for text in hostile {
            assert!(host_label("k", text, "`eu-west-1`").is_err(), "{text}");
            assert!(host_labels("k", text, "`eu-west-1`").is_err(), "{text}");
            assert!(id_segment("k", text, "an id").is_err() || text == "a:80", "{text}");
        }
        for text in ["a.b", "-a", "a-", &"a".repeat(64)] {
            assert!(host_label("k", text, "`eu-west-1`").is_err(), "{text}");
        }
        for text in [".", "..", ".a", "a.", "a..b", &["a"; 128].join(".")] {
            assert!(host_labels("k", text, "`datadoghq.eu`").is_err(), "{text}");
        }
        for text in [".", ".."] {
            assert!(id_segment("k", text, "an id").is_err() && segment("k", text).is_err(), "{text}");
        }
        assert_eq!(host_label("k", "eu-west-1", "").unwrap(), "eu-west-1");
        assert_eq!(host_labels("k", "us5.datadoghq.com", "").unwrap(), "us5.datadoghq.com");
        assert_eq!(id_segment("k", "example.com:project-1", "").unwrap(), "example.com:project-1");
        assert_eq!(segment("k", "a/b").unwrap(), "a%2Fb");
        let error = id_segment("project", "a/../b", "`security-1`").unwrap_err().to_string();
        assert_eq!(error, "`project`: `a/../b` is not like `security-1`, and becomes a part of the URL");
    }
}
