//! ArcSight's Common Event Format, made from an ECS event:
//! `CEF:0|vendor|product|version|class|name|severity|key=value key=value`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{Kind, Stream, Timestamp, Value};

use super::cef_fields::{COMMON, Cut, Field, Form, of_stream};
use super::severity::Severity;
use super::shorten::{self, Entry, shorten_by, shorten_entries};

/// Longest name in the header, in characters.
const NAME: usize = 128;
/// The values about the console in the header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device<'a> {
    /// The console's release; empty if it is not known.
    pub version: &'a str,
    pub stream: Stream,
}

/// A message as its parts, which are not escaped.
#[derive(Debug)]
struct Message<'a> {
    version: &'a str,
    class: Cow<'a, str>,
    name: Cow<'a, str>,
    severity: &'static str,
    extension: Vec<Entry<'a>>,
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

/// Writes the event as CEF of at most `room` bytes. Each text of a longer event is shortened only as far as necessary,
/// and marked. The texts of [`Cut::Early`] are shortened first, from the last one, `msg`, to the first. The header's
/// name follows, then the values of [`Cut::Late`] from the last to the first.
///
/// # Errors
/// If the event takes more than `room` bytes, with the fewest bytes that it takes.
pub(super) fn write(event: Value<'_>, device: &Device<'_>, identity: &str, room: usize) -> Result<String, usize> {
    let about = event.get("event");
    let class = about.get("action").text().unwrap_or(Cow::Borrowed(device.stream.name()));
    let text = event.get("message").text();
    let name: String = text.as_deref().unwrap_or(&class).chars().take(NAME).collect();
    let mut extension = vec![entry_of("externalId", Cut::Never, Cow::Borrowed(identity))];
    extension.extend(values(event, device.stream));
    let is_error = about.get("kind").text().is_some_and(|kind| kind == "pipeline_error");
    let is_whole = is_error || of_stream(device.stream).is_none();
    if is_whole {
        extension.push(entry_of("msg", Cut::Never, Cow::Borrowed(event.raw())));
    } else if let Some(text) = text {
        extension.push(entry_of("msg", Cut::Early, text));
    }
    let name = Cow::Owned(name);
    let message = Message { version: device.version, class, name, severity: Severity::of_ecs(event).cef(), extension };
    shorten::fit(message, room, |message, excess| {
        if is_whole {
            message.shorten_json(excess);
        }
        message.shorten(message.to_string().len().saturating_sub(room));
    })
}

fn entry_of<'a>(key: &'static str, cut: Cut, value: Cow<'a, str>) -> Entry<'a> {
    Entry { key, label: None, cut, value }
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, class, name, severity, extension } = self;
        let version = escaped_header(version);
        let class = escaped_header(class);
        let name = escaped_header(name);
        write!(formatter, "CEF:0|SentinelOne|Management|{version}|{class}|{name}|{severity}|")?;
        for (index, Entry { key, label, value, .. }) in extension.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            formatter.write_str(space)?;
            if let Some(label) = label {
                write!(formatter, "{key}Label={label} ")?;
            }
            write!(formatter, "{key}={}", escaped_value(value))?;
        }
        Ok(())
    }
}

impl Message<'_> {
    /// Shortens texts until `excess` escaped bytes are gone, or no text is left to truncate.
    fn shorten(&mut self, excess: usize) {
        let excess = shorten_entries(&mut self.extension, Cut::Early, excess, escaped_value);
        let excess = excess - shorten_by(&mut self.name, excess, escaped_header);
        shorten_entries(&mut self.extension, Cut::Late, excess, escaped_value);
    }

    /// Shortens the event in `msg` as JSON, which stays JSON.
    fn shorten_json(&mut self, excess: usize) {
        let Some(Entry { value, .. }) = self.extension.last_mut() else { return };
        let size = |json: &str| escaped_value(json).len();
        let room = size(value).saturating_sub(excess);
        if let Some(json) = shorten::json(value.as_bytes(), Schema::Ecs, room, size) {
            *value = Cow::Owned(json);
        }
    }
}

/// Returns the values of the stream's fields, in their order.
fn values(event: Value<'_>, stream: Stream) -> Vec<Entry<'_>> {
    let Some(paths) = PATHS.get(&stream) else { return Vec::new() };
    // The value with the lowest rank so far, for each field.
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
    let Field { key, label, form, cut, .. } = *field;
    let first = || match value.kind() {
        Kind::Array => value.elements().next().and_then(Value::text),
        _ => value.text(),
    };
    let plain = |value| Some(Entry { key, label, cut, value });
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
                Ok(IpAddr::V6(_)) => Some(Entry { key: v6_key, label: Some(v6_label), cut, value: address }),
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

/// Escapes a text of the header, whose parts end with `|`. A line break becomes a blank.
fn escaped_header(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '|' => escaped.extend(['\\', character]),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

fn escaped_value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '=' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}
