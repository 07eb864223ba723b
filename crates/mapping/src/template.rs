//! Texts with placeholders, such as `s1-{stream}`.

/// A part of a text with placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextPart<'a> {
    Plain(&'a str),
    /// The text between `{` and `}`.
    Placeholder(&'a str),
}

/// The text has a `{` and no `}` after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a `{{` without its `}}`")]
pub struct Unclosed;

/// Returns the parts of a text in order. Plain parts are never empty. Nothing follows an error.
pub fn text_parts(text: &str) -> impl Iterator<Item = Result<TextPart<'_>, Unclosed>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let brace = rest.find('{').unwrap_or(rest.len());
        let (plain, after) = rest.split_at(brace);
        if !plain.is_empty() {
            rest = after;
            return Some(Ok(TextPart::Plain(plain)));
        }
        let inside = after.strip_prefix('{')?;
        let (placeholder, after) = inside.split_once('}').unzip();
        rest = after.unwrap_or_default();
        Some(placeholder.map(TextPart::Placeholder).ok_or(Unclosed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use TextPart::{Placeholder, Plain};

    #[test]
    fn parts_come_in_order() {
        let parts = |text| text_parts(text).collect::<Vec<_>>();
        assert_eq!(parts("a{b}c}{}"), [Ok(Plain("a")), Ok(Placeholder("b")), Ok(Plain("c}")), Ok(Placeholder(""))]);
        assert_eq!(parts("{a}{b"), [Ok(Placeholder("a")), Err(Unclosed)]);
        assert_eq!(parts(""), []);
    }
}
