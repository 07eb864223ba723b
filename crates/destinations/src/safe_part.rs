//! Makes a text from the console a part of a name: of a topic, an index, a file.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The characters that the value of a key may have.
enum Rule {
    /// Letters, digits, `.`, `_` and `-`, but no dot at the beginning.
    Name,
    /// A `Name` in lower case.
    LowerName,
    /// A `LowerName` without `-`, which separates the parts of a data stream's name.
    DataStream,
    /// Printable ASCII for headers, without the comma and `=` that separate the fields of Sumo Logic.
    Ascii,
    /// Everything but control characters.
    Text,
}

/// Longest part of a name in bytes: with several parts, a file, a topic and an index stay within their 249 to 255.
const MAX_PART: usize = 100;
/// Longest value of a field of Sumo Logic, and shorter than proxies' limits for a header.
const MAX_HEADER: usize = 200;
/// Longest name of a file, which leaves room for what the file system may add.
const MAX_COMPONENT: usize = 240;
/// Longest name of an index. The indices of a data stream have a prefix and a suffix of 25 bytes.
const MAX_INDEX: usize = 220;
/// Longest namespace of a data stream.
const MAX_NAMESPACE: usize = 100;
/// Longest name of a topic, and a byte for an underscore before it.
const MAX_TOPIC: usize = 248;
/// Longest name of Loki's tenants.
const MAX_TENANT: usize = 150;

fn rule(key: &str) -> Rule {
    match key {
        "topic" | "path" | "tenant" | "stream_name" | "log_type" => Rule::Name,
        "index" => Rule::LowerName,
        "data_stream" | "namespace" => Rule::DataStream,
        "source_category" | "source_host" | "source_name" | "fields" => Rule::Ascii,
        _ => Rule::Text,
    }
}

/// Returns `value` as a part of the value of `key`. Different values may become one: ids stay different, names may not.
pub(super) fn safe_part(key: &str, value: &str) -> String {
    let rule = rule(key);
    match rule {
        Rule::Text => value.chars().map(|c| if c.is_control() { '_' } else { c }).collect(),
        Rule::Ascii => {
            let is_plain = |c: char| (c == ' ' || c.is_ascii_graphic()) && !matches!(c, ',' | '=');
            let safe: String = value.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
            shortened(safe, MAX_HEADER)
        }
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
            let safe = match part.trim_start_matches('.') {
                // Two separators of a template would meet, or nothing would be left of the name.
                "" => "_".to_owned(),
                rest if rest.len() == part.len() => part,
                rest => format!("_{rest}"),
            };
            shortened(safe, MAX_PART)
        }
    }
}

/// Makes the whole value of `key` valid. Some parts of it are texts from the console.
pub(super) fn safe_name(key: &str, name: String) -> String {
    match key {
        // Names of indices and data streams begin with a letter or a digit.
        "index" | "data_stream" => {
            if name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                shortened(name, MAX_INDEX)
            } else {
                shortened(format!("x{name}"), MAX_INDEX)
            }
        }
        "namespace" => shortened(name, MAX_NAMESPACE),
        "topic" => match name.trim_start_matches('_') {
            "" => "_".to_owned(),
            // Topics that begin with two underscores are Kafka's own.
            rest if name.len() - rest.len() > 1 => shortened(format!("_{rest}"), MAX_TOPIC),
            _ => shortened(name, MAX_TOPIC),
        },
        "tenant" => shortened(name, MAX_TENANT),
        "path" => {
            let components = name.split('/').map(|component| shortened(component.to_owned(), MAX_COMPONENT));
            components.collect::<Vec<_>>().join("/")
        }
        _ => name,
    }
}

/// Shortens a text to `longest` bytes. A hash replaces the removed part, so that two long names stay different.
fn shortened(mut text: String, longest: usize) -> String {
    if text.len() <= longest {
        return text;
    }
    let hash = hex::encode(&Sha256::digest(text.as_bytes())[..4]);
    text.truncate(text.floor_char_boundary(longest - hash.len() - 1));
    format!("{text}_{hash}")
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
            ("path", "", "_"),
            ("index", "Acme EU-1", "acme_eu-1"),
            ("index", ".kibana", "_kibana"),
            ("data_stream", "Acme EU-1", "acme_eu_1"),
            ("namespace", "Acme EU-1", "acme_eu_1"),
            ("data_stream", "a*?\"<>|,#:\\", "a__________"),
            ("source_category", "Zoë\r\nX: 1", "Zo___X: 1"),
            ("fields", "Acme, Inc.", "Acme_ Inc."),
            ("tags", "Zoë\n", "Zoë_"),
        ] {
            assert_eq!(safe_part(key, value), expected, "{key} {value}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_stays_different() {
        let long = |end: &str| safe_part("topic", &format!("{}{end}", "a".repeat(300)));
        assert_eq!((long("1").len(), long("1") == long("2"), long("1") == long("1")), (MAX_PART, false, true));
        assert_eq!(safe_name("path", format!("/a/{}.ndjson", "b".repeat(300))).len(), 3 + MAX_COMPONENT);
    }
}
