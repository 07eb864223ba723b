//! Writes the members of an event that 1.3.0 has, and keeps the others.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind as JsonKind, Value};

use super::kind::{Class, Kind, Rule};
use super::object::Object;
use super::table;
use crate::json::{Json, escape};
use crate::names::DistinctNames;

/// The member of `unmapped` with what 1.3.0 has no attribute for.
const KEPT: &str = "ocsf_1_9";

/// `None` if the event has not what its class demands.
pub(super) fn write<'a>(
    mut event: Object<'a>,
    classify: impl FnOnce(&mut Writer<'_>, &mut Object<'a>) -> &'static Class,
) -> Option<Vec<u8>> {
    let size: usize = event.members.iter().map(|member| member.name.len() + member.value.len() + 4).sum();
    let (mut out, mut kept) = (Vec::with_capacity(size + 512), Vec::new());
    let (mut names, mut kept_names) = (DistinctNames::default(), DistinctNames::default());
    let mut writer = Writer {
        out: Json::new(&mut out, &mut names),
        kept: Json::new(&mut kept, &mut kept_names),
        key: key(event.get("unmapped")),
        path: String::new(),
        moves: String::new(),
        profiles: 0,
        severity: event.number("severity_id"),
    };
    writer.out.raw(b"{");
    writer.kept.raw(b"{");
    let class = classify(&mut writer, &mut event);
    let [metadata, observables, unmapped] = ["metadata", "observables", "unmapped"].map(|name| event.take(name));
    if !writer.members(&class.kind, &mut event) {
        return None;
    }
    let security_control = profile("security_control");
    if writer.profiles & security_control != 0 && !event.is_written("action_id") {
        writer.out.choice("action", "0", "Unknown");
    }
    if let Some(metadata) = metadata {
        writer.metadata(&metadata);
    }
    if let Some(observables) = observables {
        writer.observables(&observables);
    }
    writer.unmapped(unmapped.as_deref());
    writer.out.raw(b"}");
    Some(out)
}

/// A name that `unmapped` does not have. A record may have any key.
fn key(unmapped: Value<'_>) -> String {
    let mut key = KEPT.to_owned();
    while unmapped.get(&key).kind() != JsonKind::Absent {
        key.push('_');
    }
    key
}

/// The bit of a profile.
fn profile(name: &str) -> u16 {
    table::PROFILES.iter().position(|known| *known == name).map_or(0, |index| 1 << index)
}

pub(super) struct Writer<'o> {
    out: Json<'o>,
    /// What 1.3.0 lacks. The same objects and lists are open as in `out`.
    kept: Json<'o>,
    /// The name of `kept` in `unmapped`.
    key: String,
    /// The path of the open object in the event of 1.9.0.
    path: String,
    /// What is not at its place any more, a line for each: the path, and after a tab the new one. Without a tab, the
    /// new one is below `unmapped`.
    moves: String,
    /// The profiles of the attributes that were written.
    profiles: u16,
    /// `severity_id` of the event.
    pub(super) severity: Option<u32>,
}

impl Writer<'_> {
    /// Writes the members of an object. Returns whether 1.3.0 accepts the object.
    fn members(&mut self, kind: &Kind, object: &mut Object<'_>) -> bool {
        self.adapt(kind, object);
        for member in &mut object.members {
            member.is_written = match kind.row(&member.name) {
                None => {
                    self.raw(&member.name, &member.value);
                    true
                }
                Some(row) => {
                    let is_written = match &row.rule {
                        Rule::Absent => {
                            self.keep(&member.name, &member.value);
                            false
                        }
                        Rule::Object(kind) => self.object_or_list(kind, &member.name, &member.value),
                        Rule::Values(gone) => {
                            self.raw(&member.name, &without(gone, &member.value));
                            true
                        }
                        Rule::Same => {
                            self.raw(&member.name, &member.value);
                            true
                        }
                    };
                    if is_written {
                        self.profiles |= row.profile;
                    }
                    is_written
                }
            };
        }
        kind.required.iter().all(|name| object.is_written(name))
            && (kind.one_of.is_empty() || kind.one_of.iter().any(|name| object.is_written(name)))
    }

    pub(super) fn raw(&mut self, name: &str, value: &str) {
        self.out.name(&escape(name));
        self.out.raw(value.as_bytes());
    }

    /// Returns whether something is left.
    fn object_or_list(&mut self, kind: &Kind, name: &str, value: &str) -> bool {
        match value.as_bytes().first() {
            Some(b'{') => self.object(kind, name, value),
            Some(b'[') => self.list(kind, name, Value::new(value)),
            _ => {
                self.raw(name, value);
                true
            }
        }
    }

    fn object(&mut self, kind: &Kind, name: &str, value: &str) -> bool {
        let (moves, profiles) = (self.moves.len(), self.profiles);
        let outside = self.enter(name);
        let open = self.out.open(&escape(name));
        let kept = self.kept.open(&escape(name));
        let fits = self.members(kind, &mut Object::read(Value::new(value)));
        self.path.truncate(outside);
        if fits {
            let is_written = !self.out.is_empty(open);
            self.out.close(open);
            self.kept.close(kept);
            return is_written;
        }
        self.out.discard(open);
        self.kept.discard(kept);
        self.moves.truncate(moves);
        self.profiles = profiles;
        self.keep(name, value);
        false
    }

    /// What is kept of a list are the elements that have lost something.
    fn list(&mut self, kind: &Kind, name: &str, list: Value<'_>) -> bool {
        let outside = self.enter(name);
        self.path.push_str("[]");
        let open = self.out.open_list(&escape(name));
        let kept = self.kept.open_list(&escape(name));
        for element in list.elements() {
            if element.kind() == JsonKind::Object {
                self.element(kind, element);
            } else {
                self.out.json_element(element.raw());
            }
        }
        self.path.truncate(outside);
        let is_written = !self.out.is_empty(open);
        self.out.close(open);
        self.kept.close(kept);
        is_written
    }

    fn element(&mut self, kind: &Kind, element: Value<'_>) {
        let (moves, profiles) = (self.moves.len(), self.profiles);
        let open = self.out.open_element();
        let kept = self.kept.open_element();
        // They say which element it was.
        for name in ["uid", "name"] {
            let value = element.get(name);
            let is_absent = kind.row(name).is_some_and(|row| matches!(row.rule, Rule::Absent));
            if value.kind() != JsonKind::Absent && !is_absent {
                self.kept.name(name);
                self.kept.raw(value.raw().as_bytes());
            }
        }
        let named = self.kept.written().len();
        if self.members(kind, &mut Object::read(element)) {
            self.out.close(open);
            if self.kept.written().len() > named {
                self.kept.close(kept)
            } else {
                self.kept.discard(kept)
            }
            return;
        }
        self.out.discard(open);
        self.kept.discard(kept);
        self.moves.truncate(moves);
        self.profiles = profiles;
        self.kept.json_element(element.raw());
        self.moves.push_str(self.path.strip_suffix("[]").unwrap_or(&self.path));
        self.moves.push('\n');
    }

    fn enter(&mut self, name: &str) -> usize {
        let outside = self.path.len();
        if outside > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        outside
    }

    /// Keeps a member of the open object below `unmapped`.
    pub(super) fn keep(&mut self, name: &str, value: &str) {
        self.kept.name(&escape(name));
        self.kept.raw(value.as_bytes());
        self.add_path(name);
        self.moves.push('\n');
    }

    /// Keeps what is left of a member that was moved.
    pub(super) fn keep_rest(&mut self, name: &str, rest: &Object<'_>) {
        if !rest.members.is_empty() {
            self.keep(name, &rest.json());
        }
    }

    /// Notes that a member of the open object has another path now.
    pub(super) fn moved(&mut self, from: &str, to: &str) {
        self.add_path(from);
        self.moves.push('\t');
        self.add_path(to);
        self.moves.push('\n');
    }

    fn add_path(&mut self, name: &str) {
        self.moves.push_str(&self.path);
        if !self.path.is_empty() {
            self.moves.push('.');
        }
        self.moves.push_str(name);
    }

    fn metadata(&mut self, value: &str) {
        if !value.starts_with('{') {
            return self.raw("metadata", value);
        }
        let mut metadata = Object::read(Value::new(value));
        let outside = self.enter("metadata");
        let open = self.out.open("metadata");
        let kept = self.kept.open("metadata");
        self.members(&table::METADATA, &mut metadata);
        let list = self.out.open_list("profiles");
        for (index, profile) in table::PROFILES.iter().enumerate() {
            if self.profiles & 1 << index != 0 {
                self.out.element(Escaped::plain(profile));
            }
        }
        self.out.close(list);
        self.out.close(open);
        self.kept.close(kept);
        self.path.truncate(outside);
    }

    /// Writes the observables with the paths that their values have now.
    fn observables(&mut self, value: &str) {
        let open = self.out.open_list("observables");
        let kept = self.kept.open_list("observables");
        for element in Value::new(value).elements() {
            let name = element.get("name").text().unwrap_or_default();
            let Some(place) = self.place(&name, element.get("value")) else { continue };
            if place == name {
                self.element(&table::OBSERVABLE, element);
            } else {
                let mut observable = Object::read(element);
                observable.set("name", format!("\"{}\"", escape(&place)));
                let observable = observable.json();
                self.element(&table::OBSERVABLE, Value::new(&observable));
            }
        }
        self.out.close(open);
        self.kept.close(kept);
    }

    /// Where a value of the event of 1.9.0 is. `None` if it is nowhere.
    fn place(&self, path: &str, value: Value<'_>) -> Option<String> {
        let mut is_moved = false;
        for line in self.moves.lines() {
            let (from, to) = line.split_once('\t').unwrap_or((line, ""));
            let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            let Some(rest) = rest else { continue };
            is_moved = true;
            let place = if to.is_empty() { format!("unmapped.{}.{path}", self.key) } else { format!("{to}{rest}") };
            if self.holds(&place, value) {
                return Some(place);
            }
        }
        (!is_moved || self.holds(path, value)).then(|| path.to_owned())
    }

    fn holds(&self, path: &str, value: Value<'_>) -> bool {
        let kept = path.strip_prefix("unmapped.").and_then(|path| path.strip_prefix(&*self.key)?.strip_prefix('.'));
        let (root, path) = kept.map_or((&self.out, path), |path| (&self.kept, path));
        holds(Value::new(std::str::from_utf8(root.written()).unwrap_or_default()), path, value)
    }

    fn unmapped(&mut self, unmapped: Option<&str>) {
        let object = unmapped.and_then(|value| value.strip_prefix('{')?.strip_suffix('}'));
        if let Some(other) = unmapped.filter(|_| object.is_none()) {
            self.keep("unmapped", other);
        }
        let kept = self.kept.written();
        if kept == b"{" {
            if let Some(unmapped) = unmapped {
                self.raw("unmapped", unmapped);
            }
            return;
        }
        self.out.name("unmapped");
        self.out.raw(b"{");
        self.out.raw(object.unwrap_or_default().trim_end().as_bytes());
        self.out.name(&self.key);
        self.out.raw(kept);
        self.out.raw(b"}}");
    }
}

/// Whether a value is at a path, in which `[]` may follow the names of lists.
fn holds(root: Value<'_>, path: &str, value: Value<'_>) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let found = root.get(name.strip_suffix("[]").unwrap_or(name));
    let is_it = |found: Value<'_>| match rest {
        Some(rest) => holds(found, rest, value),
        None => found.kind() != JsonKind::Absent && (value.escaped().is_none() || found.escaped() == value.escaped()),
    };
    if found.kind() == JsonKind::Array { found.elements().any(is_it) } else { is_it(found) }
}

/// A number, or a list of numbers, with 99 (Other) for those that 1.3.0 does not have. What 1.9.0 calls them stays
/// next to them.
fn without<'a>(gone: &[u32], value: &'a str) -> Cow<'a, str> {
    let is_gone = |value: &str| value.parse().is_ok_and(|number| gone.contains(&number));
    let list = Value::new(value);
    if list.elements().any(|element| is_gone(element.raw())) {
        let numbers = list.elements().map(|element| if is_gone(element.raw()) { "99" } else { element.raw() });
        return Cow::Owned(format!("[{}]", numbers.collect::<Vec<_>>().join(",")));
    }
    Cow::Borrowed(if is_gone(value) { "99" } else { value })
}
