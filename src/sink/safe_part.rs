//! Makes a text from the console a part of a name: of a topic, an index, a file.

use std::borrow::Cow;

/// The characters that a part of the value of `key` may have; others become `_`.
enum Rule {
    /// Letters, digits, `.`, `_` and `-`, but no dot at the beginning.
    Name,
    /// As `Name`, in lower case.
    LowerName,
    /// As `LowerName` without `-`, which separates the parts of a data stream's name.
    DataStream,
    /// Printable ASCII, for headers.
    Ascii,
    /// Everything but control characters.
    Text,
}

/// `value` as a part of the value of `key`. Different values may become one: ids stay different, names may not.
pub(super) fn safe_part<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    let rule = match key {
        "topic" | "path" | "tenant" | "stream_name" | "log_type" => Rule::Name,
        "index" => Rule::LowerName,
        "data_stream" | "namespace" => Rule::DataStream,
        "source_category" | "source_host" | "source_name" | "fields" => Rule::Ascii,
        _ => Rule::Text,
    };
    let safe: String = match rule {
        Rule::Text => value.chars().map(|c| if c.is_control() { '_' } else { c }).collect(),
        Rule::Ascii => value.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '_' }).collect(),
        Rule::Name | Rule::LowerName | Rule::DataStream => {
            let lower = !matches!(rule, Rule::Name);
            let value = if lower { Cow::Owned(value.to_lowercase()) } else { Cow::Borrowed(value) };
            let dash = !matches!(rule, Rule::DataStream);
            let part = value.chars().map(|c| match c {
                '-' if dash => c,
                '.' | '_' => c,
                c if c.is_ascii_alphanumeric() => c,
                _ => '_',
            });
            let part: String = part.collect();
            match part.trim_start_matches('.') {
                rest if rest.len() == part.len() => part,
                rest => format!("_{rest}"),
            }
        }
    };
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_console_cannot_leave_their_place() {
        for (key, value, expected) in [
            ("topic", "Default site", "Default_site"),
            ("topic", "..", "_"),
            ("topic", "Zoë/é", "Zo___"),
            ("path", "../../etc/passwd", "__.._etc_passwd"),
            ("index", "Acme EU-1", "acme_eu-1"),
            ("index", ".kibana", "_kibana"),
            ("data_stream", "Acme EU-1", "acme_eu_1"),
            ("namespace", "Acme EU-1", "acme_eu_1"),
            ("data_stream", "a*?\"<>|,#:\\", "a__________"),
            ("source_category", "Zoë\r\nX: 1", "Zo___X: 1"),
            ("tags", "Zoë\n", "Zoë_"),
        ] {
            assert_eq!(safe_part(key, value), expected, "{key} {value}");
        }
    }
}
