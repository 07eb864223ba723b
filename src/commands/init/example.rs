//! The examples in `pipelines/`, and changes to them that keep their comments.
//!
//! All have the same layout, which a test checks. There are two blanks before the keys of `console` and the elements of
//! `sinks`, and four before the keys of a sink.

use crate::console::ConsoleUrl;
use crate::destinations::settings as sink_settings;
use crate::record::Stream;

const CONSOLE: &str = "https://usea1-acme.sentinelone.net";

/// The lines of an example with one sink.
#[derive(Debug)]
pub(super) struct Example {
    lines: Vec<String>,
    /// Index of the sink's first line.
    sink: usize,
}

impl Example {
    /// Returns the example of a sink type, without further sinks.
    pub fn of(sink_type: &str) -> Option<Self> {
        let mut lines: Vec<String> = sink_settings::example(sink_type)?.lines().map(str::to_owned).collect();
        let sinks = lines.iter().position(|line| line == "sinks:")?;
        let elements = (sinks..lines.len()).filter(|&index| lines[index].starts_with("  - "));
        let mut elements = elements.collect::<Vec<_>>().into_iter();
        let sink = elements.next()?;
        if let Some(second) = elements.next() {
            lines.truncate(second);
            lines.truncate(lines.iter().rposition(|line| !line.is_empty())? + 1);
        }
        Some(Self { lines, sink })
    }

    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Returns the keys of the sink up to the first blank line, with their values in YAML.
    pub fn keys(&self) -> Vec<(String, String)> {
        let first = self.lines[self.sink..].iter().take_while(|line| !line.is_empty());
        let pairs = first.filter_map(|line| {
            let (key, rest) = key_of(line)?;
            let value = rest[..comment(rest)].trim();
            (key != "type" && !value.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        });
        pairs.collect()
    }

    /// Returns the value of a key of the sink, in YAML.
    pub fn value(&self, key: &str) -> Option<String> {
        self.keys().into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }

    /// Replaces the customer's name.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.replace("customer: acme", &format!("customer: {name}"))
    }

    pub fn console(&mut self, console: &ConsoleUrl) -> &mut Self {
        let host = CONSOLE.trim_start_matches("https://");
        self.replace(CONSOLE, console.base()).replace(host, console.host())
    }

    pub fn token_file(&mut self, path: &str) -> &mut Self {
        let Some(line) = self.lines.iter_mut().find(|line| line.starts_with("  token:")) else { return self };
        let rest = &line["  token:".len()..];
        *line = with_comment(format!("  token: {{ file: {} }}", quoted(path)), &rest[comment(rest)..]);
        self
    }

    /// Replaces the streams, unless none is given.
    pub fn streams(&mut self, streams: &[Stream]) -> &mut Self {
        let start = self.lines.iter().position(|line| line.starts_with("streams:"));
        if let (Some(start), false) = (start, streams.is_empty()) {
            let length = self.lines[start + 1..].iter().take_while(|line| line.starts_with(' ')).count();
            let lines = streams.iter().map(|stream| format!("  {}: {{}}", stream.name()));
            let removed = self.lines.splice(start + 1..=start + length, lines).count();
            // The sink begins after the streams.
            self.sink = self.sink + streams.len() - removed;
        }
        self
    }

    /// Returns the streams that the example pulls.
    pub fn stream_names(&self) -> Vec<Stream> {
        let lines = self.lines.iter().skip_while(|line| !line.starts_with("streams:")).skip(1);
        let names = lines.take_while(|line| line.starts_with(' ')).filter_map(|line| line.trim().split_once(':'));
        names.filter_map(|(name, _)| name.parse().ok()).collect()
    }

    /// Sets a key of the sink to a value in YAML. Without a value, the key becomes a comment.
    pub fn set(&mut self, key: &str, value: &str) {
        let lines = &mut self.lines[self.sink..];
        match lines.iter_mut().find(|line| key_of(line).is_some_and(|(found, _)| found == key)) {
            Some(line) if value.is_empty() => {
                if let Some(rest) = line.strip_prefix("    ") {
                    *line = format!("    # {rest}");
                }
            }
            Some(line) => {
                let start = &line[..line.len() - key_of(line).map_or(0, |(_, rest)| rest.len())];
                let rest = &line[start.len()..];
                *line = with_comment(format!("{start} {value}"), &rest[comment(rest)..]);
            }
            None if value.is_empty() => {}
            None => self.lines.insert(self.sink + 1, format!("    {key}: {value}")),
        }
    }

    fn replace(&mut self, from: &str, to: &str) -> &mut Self {
        self.lines.iter_mut().for_each(|line| *line = line.replace(from, to));
        self
    }
}

/// Returns the path in `{ file: PATH }`, also within another mapping.
pub(super) fn file_of(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("{ file: ")?;
    Some(rest.split_once('}')?.0.trim())
}

/// Returns the key of a sink in this line, and the text after its colon.
fn key_of(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("    ").or_else(|| line.strip_prefix("  - "))?;
    let (key, rest) = rest.split_once(':')?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some((key, rest))
}

/// Returns the index where the comment of a line begins, or the length of the line.
fn comment(text: &str) -> usize {
    text.find(" #").unwrap_or(text.len())
}

fn with_comment(line: String, comment: &str) -> String {
    match comment.trim_start_matches([' ', '#']) {
        "" => line,
        words => format!("{line} # {words}"),
    }
}

/// Returns a text in YAML, in quotes if it needs them.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_type_has_its_example_with_the_common_layout() {
        for name in sink_settings::types() {
            let text = Example::of(name).unwrap().text();
            assert!(text.contains(&format!("  url: {CONSOLE}")) && text.contains("\n  token: { "), "{text}");
            assert_eq!(text.lines().filter(|line| line.starts_with("  - ")).count(), 1, "{text}");
            assert!(text.contains(&format!("type: {name}\n")), "{text}");
        }
    }

    #[test]
    fn changes_keep_the_comments() {
        let mut example = Example::of("splunk_hec").unwrap();
        let console = ConsoleUrl::parse("https://euce1-globex.sentinelone.net").unwrap();
        example.name("globex").console(&console).token_file("/run/secrets/a b").streams(&[Stream::Agents]);
        example.set("url", "https://hec.example:8088");
        example.set("schema", "raw");
        let text = example.text();
        for line in [
            "  url: https://euce1-globex.sentinelone.net",
            "  token: { file: \"/run/secrets/a b\" }",
            "streams:\n  agents: {}\n\n",
            "customer: globex",
            "  - type: splunk_hec\n    schema: raw\n",
            "    url: https://hec.example:8088 # Splunk Cloud: https://http-inputs-STACK.splunkcloud.com:443",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
        assert!(!text.contains("acme") && !text.contains("threats:"), "{text}");
        example.set("schema", "");
        example.set("nonsense", "");
        let text = example.text();
        assert!(text.contains("  - type: splunk_hec\n    # schema: raw\n") && !text.contains("nonsense"), "{text}");
        let keys = Example::of("splunk_hec").unwrap().keys();
        assert_eq!(keys[0], ("url".to_owned(), "https://splunk.example:8088".to_owned()));
        assert_eq!(keys[1].1, "{ file: secrets/hec.token }");
        assert_eq!(file_of(&keys[1].1), Some("secrets/hec.token"));
        assert_eq!(file_of("{ type: bearer, token: { file: a/b } }"), Some("a/b"));
        assert_eq!(file_of("https://siem.example"), None);
    }
}
