//! ArcSight's Common Event Format, made from an ECS event:
//! `CEF:0|vendor|product|version|class|name|severity|key=value key=value`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use super::cef_fields::{COMMON, Field, Form, of_stream};
use super::shorten::MARK;
use crate::record::{Kind, Stream, Timestamp, Value};

/// Longest name in the header, in characters.
const NAME: usize = 128;
/// A value is not shortened to fewer characters.
const LEAST: usize = 16;

/// What the header says about the console.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device<'a> {
    /// Its release; empty if it is not known.
    pub version: &'a str,
    pub stream: Stream,
}

/// A key of the extension with its value, which is not escaped.
#[derive(Debug)]
struct Entry<'a> {
    key: &'static str,
    label: Option<&'static str>,
    value: Cow<'a, str>,
}

/// The places of a stream's fields by their paths.
struct Paths {
    fields: Vec<&'static Field>,
    /// Index of the field, and rank of the path among its paths.
    by_path: HashMap<&'static str, Vec<(usize, usize)>>,
}

impl Paths {
    fn new(fields: impl Iterator<Item = &'static Field>) -> Self {
        let fields: Vec<_> = fields.collect();
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for (index, field) in fields.iter().enumerate() {
            for (rank, path) in field.paths.iter().enumerate() {
                by_path.entry(*path).or_default().push((index, rank));
            }
        }
        Self { fields, by_path }
    }
}

static PATHS: LazyLock<HashMap<Stream, Paths>> = LazyLock::new(|| {
    let paths = |stream| Paths::new(COMMON.iter().chain(of_stream(stream).unwrap_or_default()));
    Stream::ALL.iter().map(|stream| (*stream, paths(*stream))).collect()
});

/// The event as CEF of at most `room` bytes. If it is longer, `msg` is shortened first, then the other values from the
/// last one to the first, each as far as necessary; the ends are marked. `None` if it is still longer.
pub(super) fn write(event: Value<'_>, device: &Device<'_>, identity: &str, room: usize) -> Option<String> {
    let about = event.get("event");
    let action = about.get("action").text().unwrap_or(Cow::Borrowed(device.stream.name()));
    let message = event.get("message").text();
    let mut header = String::from("CEF:0|SentinelOne|Management|");
    escape_header(device.version, &mut header);
    header.push('|');
    escape_header(&action, &mut header);
    header.push('|');
    let name: String = message.as_deref().unwrap_or(&action).chars().take(NAME).collect();
    escape_header(&name, &mut header);
    header.push('|');
    header.push_str(severity(about));
    header.push('|');

    let mut entries = vec![Entry { key: "externalId", label: None, value: Cow::Borrowed(identity) }];
    entries.extend(values(event, device.stream));
    let is_error = about.get("kind").text().is_some_and(|kind| kind == "pipeline_error");
    let msg = match of_stream(device.stream) {
        Some(_) if !is_error => message,
        _ => Some(Cow::Borrowed(event.raw())),
    };
    entries.extend(msg.map(|value| Entry { key: "msg", label: None, value }));
    let whole = with_extension(&header, &entries);
    let excess = whole.len().saturating_sub(room);
    if excess == 0 {
        return Some(whole);
    }
    shorten(&mut entries, excess)?;
    Some(with_extension(&header, &entries))
}

fn with_extension(header: &str, entries: &[Entry<'_>]) -> String {
    let mut text = header.to_owned();
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        if let Some(label) = entry.label {
            text.push_str(entry.key);
            text.push_str("Label=");
            text.push_str(label);
            text.push(' ');
        }
        text.push_str(entry.key);
        text.push('=');
        escape_value(&entry.value, &mut text);
    }
    text
}

/// The severity of CEF for that of `event.*`.
fn severity(about: Value<'_>) -> &'static str {
    match about.get("severity").raw() {
        "21" => "3",
        "47" => "5",
        "73" => "8",
        "99" => "10",
        _ => "0",
    }
}

/// The values of the stream's fields, in their order.
fn values(event: Value<'_>, stream: Stream) -> Vec<Entry<'_>> {
    let Some(paths) = PATHS.get(&stream) else { return Vec::new() };
    // For each field the value with the lowest rank so far.
    let mut found: Vec<Option<(usize, Value<'_>)>> = vec![None; paths.fields.len()];
    let mut path = String::new();
    collect(event, paths, &mut path, &mut found);
    let mut entries = Vec::new();
    for (field, found) in paths.fields.iter().zip(found) {
        let entry = found.and_then(|(_, value)| entry(field, value));
        entries.extend(entry);
    }
    entries
}

fn collect<'a>(object: Value<'a>, paths: &Paths, path: &mut String, found: &mut [Option<(usize, Value<'a>)>]) {
    for (key, value) in object.entries() {
        let before = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&key);
        if value.kind() == Kind::Object {
            collect(value, paths, path, found);
        } else if !value.is_empty() {
            for &(index, rank) in paths.by_path.get(path.as_str()).into_iter().flatten() {
                if found[index].is_none_or(|(other, _)| rank < other) {
                    found[index] = Some((rank, value));
                }
            }
        }
        path.truncate(before);
    }
}

fn entry<'a>(field: &Field, value: Value<'a>) -> Option<Entry<'a>> {
    let Field { key, label, form, .. } = *field;
    let first = || match value.kind() {
        Kind::Array => value.elements().next().and_then(Value::text),
        _ => value.text(),
    };
    let plain = |value| Some(Entry { key, label, value });
    match form {
        Form::Text if value.kind() == Kind::Array => {
            let texts: Vec<_> = value.elements().filter_map(Value::text).collect();
            if texts.is_empty() { None } else { plain(Cow::Owned(texts.join(","))) }
        }
        Form::Text => plain(value.text()?),
        Form::Address { v6_key, v6_label } => {
            let address = first()?;
            match address.parse() {
                Ok(IpAddr::V4(_)) => plain(address),
                Ok(IpAddr::V6(_)) => Some(Entry { key: v6_key, label: Some(v6_label), value: address }),
                Err(_) => None,
            }
        }
        Form::Mac => plain(Cow::Owned(first()?.replace('-', ":"))),
        Form::Time => {
            let time = Timestamp::parse(&value.text()?).ok()?;
            plain(Cow::Owned(time.millis().to_string()))
        }
        Form::Direction => match &*value.text()? {
            "inbound" | "ingress" => plain(Cow::Borrowed("0")),
            "outbound" | "egress" => plain(Cow::Borrowed("1")),
            _ => None,
        },
    }
}

/// Shortens values, the last first, until they have `excess` bytes less. `None` if they are too short for that.
fn shorten(entries: &mut [Entry<'_>], mut excess: usize) -> Option<()> {
    for entry in entries.iter_mut().rev() {
        if excess == 0 {
            break;
        }
        if let Some(value) = cut(&entry.value, excess) {
            excess = excess.saturating_sub(escaped_size(&entry.value) - escaped_size(&value));
            entry.value = Cow::Owned(value);
        }
    }
    (excess == 0).then_some(())
}

fn escaped_size(value: &str) -> usize {
    let mut escaped = String::with_capacity(value.len());
    escape_value(value, &mut escaped);
    escaped.len()
}

/// The beginning of `value` with a mark, shorter by `excess` escaped bytes where that leaves [`LEAST`] characters.
/// `None` if it is too short to be cut.
fn cut(value: &str, excess: usize) -> Option<String> {
    let least = value.char_indices().nth(LEAST)?.0;
    let mut saved = 0;
    let mut end = value.len();
    for (index, character) in value.char_indices().rev() {
        if index < least || saved >= excess + MARK.len() {
            break;
        }
        saved += escaped_size(character.encode_utf8(&mut [0; 4]));
        end = index;
    }
    (saved > MARK.len()).then(|| format!("{}{MARK}", &value[..end]))
}

/// A header ends its parts with `|`. It has no line breaks.
fn escape_header(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' | '|' => out.extend(['\\', character]),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
}

fn escape_value(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' | '=' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            character if character.is_control() => out.push(' '),
            character => out.push(character),
        }
    }
}
