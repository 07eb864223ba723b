//! Images and labels of containers.

use s1_forwarder_record::{Escaped, Value};

use super::missing::is_missing_word;

/// The parts of `registry:5000/team/app:tag@sha256:digest`.
#[derive(Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// An image without a tag may be only a digest.
    pub name: Option<&'a str>,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Splits the name of an image. The text after the last colon is the tag, unless it has a slash: then the colon
    /// precedes a registry's port. A text with characters that no image has, such as blanks, is not split.
    pub fn of(text: &'a str) -> Self {
        let text = without_scheme(text.trim());
        if is_digest(text) {
            return Self { name: None, tag: None, digest: Some(text) };
        }
        let (tagged, digest) = match text.split_once('@') {
            Some((tagged, digest)) if is_part(tagged) && is_part(digest) => (tagged, Some(digest)),
            _ => (text, None),
        };
        match tagged.rsplit_once(':') {
            Some((name, tag)) if is_part(name) && is_part(tag) && !tag.contains('/') => {
                Self { name: Some(name), tag: Some(tag), digest }
            }
            _ => Self { name: Some(tagged), tag: None, digest },
        }
    }
}

/// Returns the name of an image or the id of a container without the scheme of its runtime: `docker-pullable://nginx`,
/// `containerd://6c94`. JSON may have `\/` for a slash.
pub fn without_scheme(text: &str) -> &str {
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'.'));
    let after = |separator| text.split_once(separator).filter(|(scheme, _)| !scheme.is_empty() && is_scheme(scheme));
    after("://").or_else(|| after(r":\/\/")).map_or(text, |(_, rest)| rest)
}

/// Returns whether a text is `sha256:` and a SHA-256 hash.
fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a text can be part of an image's name. Of JSON's escape sequences, only `\/` can be in such a name.
fn is_part(text: &str) -> bool {
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    !text.is_empty() && text.split(r"\/").all(is_plain)
}

/// Returns the labels of a container or a pod, from a list or from one text with commas. A comma in quotes belongs to a
/// value.
pub fn labels(value: Value<'_>) -> impl Iterator<Item = Escaped<'_>> {
    let in_text = value.escaped().into_iter().flat_map(|text| {
        let mut is_quoted = false;
        text.raw().split(move |character| {
            is_quoted ^= character == '"';
            character == ',' && !is_quoted
        })
    });
    let in_list = value.elements().filter_map(Value::escaped);
    in_list.chain(in_text.map(Escaped::plain)).map(Escaped::trim).filter(|label| !is_missing_word(*label))
}

/// Splits `name=value` or `name:"value"`: the console writes both forms.
pub fn split_label(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let (name, value) = match text.strip_suffix('"').and_then(|text| text.split_once(":\"")) {
        Some(quoted) => quoted,
        None => text.split_once('=')?,
    };
    let name = name.trim();
    let value = value.trim();
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_split_into_name_tag_and_digest() {
        for (text, name, tag, digest) in [
            ("nginx", "nginx", None, None),
            ("docker-pullable://nginx@sha256:abc", "nginx", None, Some("sha256:abc")),
            (r"docker:\/\/registry:5000\/app:1", r"registry:5000\/app", Some("1"), None),
            ("sha256:1", "sha256", Some("1"), None),
            ("nginx:1.25", "nginx", Some("1.25"), None),
            ("registry:5000/team/app", "registry:5000/team/app", None, None),
            ("registry:5000/team/app:v1", "registry:5000/team/app", Some("v1"), None),
            ("nginx@sha256:abc", "nginx", None, Some("sha256:abc")),
            ("registry:5000/app:v1@sha256:abc", "registry:5000/app", Some("v1"), Some("sha256:abc")),
            ("@", "@", None, None),
            ("nginx:1.25 ", "nginx", Some("1.25"), None),
            (r"registry\/app:1.25", r"registry\/app", Some("1.25"), None),
            ("my nginx:1", "my nginx:1", None, None),
            (r"nginx:\n", r"nginx:\n", None, None),
            (r" \t@sha256:abc", r"\t@sha256:abc", None, None),
        ] {
            assert_eq!(Image::of(text), Image { name: Some(name), tag, digest }, "{text}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(Image::of(&digest), Image { name: None, tag: None, digest: Some(&digest) });
    }

    #[test]
    fn labels_have_two_forms() {
        assert_eq!(split_label("app=web"), Some(("app", "web")));
        assert_eq!(split_label(" app:\"we:b\" "), Some(("app", "we:b")));
        assert_eq!(split_label("a=b=c"), Some(("a", "b=c")));
        for text in ["", "odd", "=v", "k=", "k:\"\"", ":\"v\""] {
            assert_eq!(split_label(text), None, "{text}");
        }
    }
}
