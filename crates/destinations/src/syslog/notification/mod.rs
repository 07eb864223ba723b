//! `content: integration`: the line that the console itself would send for an activity, in one of its two dialects.
//! CEF:0 is ArcSight's Common Event Format. CEF:2 begins like it, and goes on with `key=value` between pipes. They have
//! different readers.

mod alert;
mod facts;
mod keys;
mod names;
mod origin;
mod types;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::LazyLock;

use s1_forwarder_record::{Stream, Timestamp, Value};

use self::alert::Alert;
use self::facts::Facts;
use self::keys::{CEF_ONLY, KEYS, Key, LAST, OF_TYPES};
use super::cef_fields::Cut;
use super::shorten::{self, Entry, shorten_by, shorten_entries};

pub(super) use self::keys::format;
pub(super) use self::origin::{Dialect, Origin};

/// The subject of one notification of the console.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
pub(super) enum Notification<'a> {
    /// An activity, or a threat.
    Activity(Facts<'a>),
    UnifiedAlert(Alert<'a>),
}

impl<'a> Notification<'a> {
    /// Reads the subject of a record. `None` for a record that readers cannot tell from others: an activity without a
    /// type, an alert without an id.
    pub fn of(record: Value<'a>, origin: &'a Origin<'a>) -> Option<Self> {
        match origin.stream {
            Stream::UnifiedAlerts => Alert::of(record).map(Self::UnifiedAlert),
            _ => Facts::of(record, origin).map(Self::Activity),
        }
    }

    /// Returns the time of the event, which `rt` or `detectedAt` has.
    pub fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Activity(facts) => facts.time,
            Self::UnifiedAlert(alert) => alert.time(),
        }
    }

    /// Returns the line without the header of syslog, in at most `room` bytes. Each text of a longer line is shortened
    /// only as far as necessary. The free texts come first, from the last to the first, then the name, then other
    /// words.
    ///
    /// # Errors
    /// If the line takes more than `room` bytes, with the fewest bytes that it takes.
    pub fn line(&self, room: usize) -> Result<String, usize> {
        let line = match self {
            Self::Activity(facts) => Line::of(facts),
            Self::UnifiedAlert(alert) => Line::of_alert(alert),
        };
        shorten::fit(line, room, Line::shorten)
    }
}

/// A line as its parts, which are not escaped.
#[derive(Debug)]
struct Line<'a> {
    dialect: Dialect,
    /// The operating system of the endpoint, else the console's build or host. CEF:2 has only the operating system, and
    /// the type of an alert.
    slot: Option<Cow<'a, str>>,
    activity_type: i64,
    /// The name in the header of CEF:0.
    name: Cow<'a, str>,
    severity: u8,
    entries: Vec<Entry<'a>>,
}

fn entry_of<'a>(key: &'static str, cut: Cut, value: Cow<'a, str>) -> Entry<'a> {
    // A longer value is no id.
    let cut = if value.len() > shorten::MAX_EXACT && cut == Cut::Never { Cut::Late } else { cut };
    Entry { key, label: None, cut, value }
}

impl<'a> Line<'a> {
    fn of(facts: &Facts<'a>) -> Self {
        let origin = facts.origin;
        let os = if facts.has_endpoint() { facts.os() } else { None };
        let slot = match origin.dialect {
            Dialect::Cef => Some(os.unwrap_or(Cow::Borrowed(origin.build.unwrap_or(origin.console)))),
            Dialect::Cef2 => os,
        };
        let entries = match origin.dialect {
            Dialect::Cef => cef_entries(facts),
            Dialect::Cef2 => cef2_entries(facts, slot.is_some()),
        };
        Self {
            dialect: origin.dialect,
            slot,
            activity_type: facts.activity_type,
            name: names::of(facts),
            severity: facts.severity(),
            entries,
        }
    }

    fn of_alert(alert: &Alert<'a>) -> Self {
        Self {
            dialect: Dialect::Cef2,
            slot: Some(Cow::Owned(types::UNIFIED_ALERT.to_string())),
            activity_type: types::UNIFIED_ALERT,
            name: Cow::Borrowed(""),
            severity: 1,
            entries: alert.entries().map(|(key, cut, value)| entry_of(key, cut, value)).collect(),
        }
    }

    /// Shortens texts until `excess` escaped bytes are gone, or no text is left to truncate.
    fn shorten(&mut self, excess: usize) {
        let (header, value) = (self.dialect.header(), self.dialect.value());
        let mut excess = shorten_entries(&mut self.entries, Cut::Early, excess, |text| escaped(text, value));
        if self.dialect == Dialect::Cef {
            excess -= shorten_by(&mut self.name, excess, |text| escaped(text, Escape::CefHeader));
        }
        excess = shorten_entries(&mut self.entries, Cut::Late, excess, |text| escaped(text, value));
        if let Some(slot) = &mut self.slot {
            shorten_by(slot, excess, |text| escaped(text, header));
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.as_deref().map(|slot| escaped(slot, self.dialect.header()));
        let separator = match self.dialect {
            Dialect::Cef => {
                let name = escaped(&self.name, Escape::CefHeader);
                let (slot, activity_type, severity) = (slot.unwrap_or_default(), self.activity_type, self.severity);
                write!(formatter, "CEF:0|SentinelOne|Mgmt|{slot}|{activity_type}|{name}|{severity}|")?;
                ' '
            }
            Dialect::Cef2 => {
                formatter.write_str("CEF:2|SentinelOne|Mgmt|")?;
                if let Some(slot) = slot {
                    write!(formatter, "{slot}|")?;
                }
                '|'
            }
        };
        for (index, Entry { key, value, .. }) in self.entries.iter().enumerate() {
            if index > 0 {
                formatter.write_char(separator)?;
            }
            write!(formatter, "{key}={}", escaped(value, self.dialect.value()))?;
        }
        Ok(())
    }
}

/// The keys of CEF:0 about a threat, in the console's order.
const CEF_THREAT: &[&str] = &["rt", "fileHash", "filePath", "duid", "osName", "cat"];

/// The keys of CEF:0 about anything else, in the console's order.
const CEF_OTHER: &[&str] = &["suser", "duser", "userEmail", "ip", "duid", "osName", "cat", "rt"];

/// The keys that follow the keys of both lists.
const CEF_SCOPE: &[&str] =
    &["activityID", "activityType", "siteId", "siteName", "accountId", "accountName", "notificationScope"];

/// The keys of CEF:2 that CEF:0 has after its own keys: readers of CEF:0 know them.
const CEF_MORE: &[&str] = &[
    "suser",
    "fileName",
    "sourceHostName",
    "sourceUserName",
    "sourceOsType",
    "sourceAgentUuid",
    "sourceAgentId",
    "sourceGroupName",
    "sourceAddress",
    "sourceIpAddresses",
    "sourceMacAddresses",
    "threatID",
    "threatClassification",
    "threatDetectingEngine",
    "threatConfidenceLevel",
    "threatMitigationStatus",
    "threatStoryline",
    "fileHashSha256",
    "fileHashMd5",
    "oldValue",
    "newValue",
    "noteText",
];

/// The keys of CEF:0 in their order, for types that are about a threat and for the others.
static CEF_KEYS: LazyLock<[Vec<&Key>; 2]> = LazyLock::new(|| {
    [CEF_THREAT, CEF_OTHER].map(|own| {
        let more = CEF_SCOPE.iter().chain(CEF_MORE).filter(|name| !own.contains(name));
        let key = |name: &&str| CEF_ONLY.iter().chain(KEYS).chain(LAST).find(|key| key.name == *name);
        own.iter().chain(more).filter_map(key).collect()
    })
});

fn cef_entries<'a>(facts: &Facts<'a>) -> Vec<Entry<'a>> {
    let [threat, other] = &*CEF_KEYS;
    let keys = if facts.is_about_malware() { threat } else { other };
    keys.iter().copied().chain(of_type(facts.activity_type)).filter_map(|key| entry(key, facts)).collect()
}

/// Returns the entries of a line in CEF:2. A reader removes the part after the product, whatever it is. Without a slot,
/// that part is a key, so the vendor, which is a constant, comes first.
fn cef2_entries<'a>(facts: &Facts<'a>, has_slot: bool) -> Vec<Entry<'a>> {
    let keys = KEYS.iter().chain(of_type(facts.activity_type)).chain(LAST);
    let mut entries: Vec<_> = keys.filter_map(|key| entry(key, facts)).collect();
    if !has_slot {
        entries.sort_by_key(|entry| entry.key != "vendor");
    }
    entries
}

/// Returns the keys that only some types have.
fn of_type(activity_type: i64) -> impl Iterator<Item = &'static Key> {
    let of_type = OF_TYPES.iter().filter(move |(types, _)| types.iter().any(|types| types.contains(&activity_type)));
    of_type.flat_map(|(_, keys)| *keys)
}

fn entry<'a>(key: &Key, facts: &Facts<'a>) -> Option<Entry<'a>> {
    let value = key.value(facts)?;
    Some(entry_of(key.name, key.cut, value))
}

/// The part of a line that a text is in. It decides how characters are escaped that would end a value, or begin
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// A part of the header of CEF:0, which knows no escape for `=`.
    CefHeader,
    /// A value of CEF:0.
    CefValue,
    /// The part after the product of CEF:2.
    Cef2Header,
    /// A value of CEF:2, which knows no escapes: a pipe becomes a broken bar.
    Cef2Value,
}

impl Dialect {
    fn header(self) -> Escape {
        match self {
            Self::Cef => Escape::CefHeader,
            Self::Cef2 => Escape::Cef2Header,
        }
    }

    fn value(self) -> Escape {
        match self {
            Self::Cef => Escape::CefValue,
            Self::Cef2 => Escape::Cef2Value,
        }
    }
}

/// Escapes a text. An attacker may choose values: none ends its key, begins another key, or begins another line.
/// Readers look for the last `CEF:` with a digit.
fn escaped(text: &str, escape: Escape) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let is_marker = character == ':'
            && text[..at].ends_with("CEF")
            && text[at + 1..].trim_start_matches(is_blank).starts_with(char::is_numeric);
        match (character, escape) {
            _ if is_marker => escaped.push('_'),
            ('\\', Escape::CefHeader | Escape::CefValue) | ('|', Escape::CefHeader) | ('=', Escape::CefValue) => {
                escaped.extend(['\\', character])
            }
            ('|', Escape::Cef2Header | Escape::Cef2Value) => escaped.push('\u{a6}'),
            ('=', Escape::CefHeader | Escape::Cef2Header) => escaped.push('_'),
            ('\n', Escape::CefValue) => escaped.push_str("\\n"),
            ('\r', Escape::CefValue) => escaped.push_str("\\r"),
            (character, _) if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => {
                escaped.push(' ')
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Returns whether a reader may treat the character as a blank.
fn is_blank(character: char) -> bool {
    character.is_control() || character.is_whitespace()
}

#[cfg(test)]
mod tests;
