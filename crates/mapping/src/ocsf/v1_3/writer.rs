//! Writes the members of an event that 1.3.0 has, and keeps the others.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind as JsonKind, Value};

use super::super::event::enter;
use super::kind::{Class, Kind, Rule};
use super::object::Object;
use super::table;
use crate::json::{Json, escape};
use crate::names::DistinctNames;

/// The member of `unmapped` for the values that have no attribute in 1.3.0.
const KEPT: &str = "ocsf_1_9";

/// Writes an event. Returns `None` if the event lacks an attribute that its class requires.
pub(super) fn write<'a>(
    mut event: Object<'a>,
    classify: impl FnOnce(&mut Writer<'_>, &mut Object<'a>) -> &'static Class,
) -> Option<Vec<u8>> {
    let size: usize = event.members.iter().map(|member| member.name.len() + member.value.len() + 4).sum();
    let (mut out, mut kept) = (Vec::with_capacity(size + 512), Vec::with_capacity(1024));
    let (mut names, mut kept_names) = (DistinctNames::default(), DistinctNames::default());
    let [metadata, observables] = ["metadata", "observables"].map(|name| event.take(name));
    let mut writer = Writer {
        out: Json::new(&mut out, &mut names),
        kept: Json::new(&mut kept, &mut kept_names),
        key: key(event.get("unmapped")),
        path: String::with_capacity(128),
        observables: Value::new(observables.as_deref().unwrap_or_default()).elements().map(Observable::read).collect(),
        profiles: 0,
        severity: event.number("severity_id"),
    };
    writer.out.raw(b"{");
    writer.kept.raw(b"{");
    let class = classify(&mut writer, &mut event);
    let unmapped = event.take("unmapped");
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
    writer.observables();
    writer.unmapped(unmapped.as_deref());
    writer.out.raw(b"}");
    drop(writer);
    Some(out)
}

/// Returns a name that does not occur in `unmapped`. A record may have any key.
fn key(unmapped: Value<'_>) -> String {
    let mut key = KEPT.to_owned();
    while unmapped.raw().contains(&key) {
        key.push('_');
    }
    key
}

/// Returns the bit of a profile.
fn profile(name: &str) -> u16 {
    table::PROFILES.iter().position(|known| *known == name).map_or(0, |index| 1 << index)
}

struct Observable<'a> {
    element: Value<'a>,
    /// The path in the event of 1.9.0.
    name: Cow<'a, str>,
    value: Value<'a>,
    /// Whether 1.3.0 accepts the observable as it is.
    is_same: bool,
    place: Place,
}

/// The place of an observable's value in the event of 1.3.0.
enum Place {
    /// The value is at its path.
    Same,
    /// A different value at the path has moved elsewhere.
    Unknown,
    Moved(String),
}

impl<'a> Observable<'a> {
    fn read(element: Value<'a>) -> Self {
        let mut observable =
            Self { element, name: Cow::Borrowed(""), value: Value::default(), is_same: true, place: Place::Same };
        for (name, value) in element.entries() {
            match &*name {
                "name" => observable.name = value.text().unwrap_or_default(),
                "value" => observable.value = value,
                "type" => {}
                name => {
                    observable.is_same &= table::OBSERVABLE.row(name).is_none_or(|row| match &row.rule {
                        Rule::Same => true,
                        Rule::Values(gone) => !is_gone(gone, value.raw()),
                        Rule::Absent | Rule::Object(_) => false,
                    });
                }
            }
        }
        observable.is_same &= !observable.name.is_empty();
        observable
    }

    /// Notes the new place of the observable's value, if it is in `value`, which was at `path`. `moved` returns the new
    /// path, and gets the part after `path`.
    fn look_in(&mut self, path: &str, value: &str, moved: impl FnOnce(&str) -> String) {
        // Nearly all other paths fail this cheap check.
        if !matches!(self.name.as_bytes().get(path.len()), None | Some(b'.' | b'[')) {
            return;
        }
        let Some(rest) = self.name.strip_prefix(path) else { return };
        if holds(Value::new(value), rest, self.value) {
            self.place = Place::Moved(moved(rest));
        } else if matches!(self.place, Place::Same) {
            self.place = Place::Unknown;
        }
    }
}

pub(super) struct Writer<'o> {
    out: Json<'o>,
    /// The parts of the event that 1.3.0 lacks. It has the same open objects and lists as `out`.
    kept: Json<'o>,
    /// The name of `kept` in `unmapped`.
    key: String,
    /// The path of the open object in the event of 1.9.0.
    path: String,
    observables: Vec<Observable<'o>>,
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
            let (name, value) = (&*member.name, &*member.value);
            let Some(row) = kind.row(name) else {
                match &member.name {
                    Cow::Borrowed(name) => self.raw(name, value),
                    Cow::Owned(name) => self.raw(&escape(name), value),
                }
                member.is_written = true;
                continue;
            };
            match &row.rule {
                Rule::Absent => self.keep(name, value),
                Rule::Object(kind) => member.is_written = self.object_or_list(kind, name, value),
                Rule::Values(gone) => {
                    self.raw(name, &without(gone, value));
                    member.is_written = true;
                }
                Rule::Same => {
                    self.raw(name, value);
                    member.is_written = true;
                }
            }
            if member.is_written {
                self.profiles |= row.profile;
            }
        }
        kind.required.iter().all(|name| object.is_written(name))
            && (kind.one_of.is_empty() || kind.one_of.iter().any(|name| object.is_written(name)))
    }

    /// Writes a member whose name needs no escapes, such as the name of an attribute.
    pub(super) fn raw(&mut self, name: &str, value: &str) {
        self.out.name(name);
        self.out.raw(value.as_bytes());
    }

    /// Writes a member whose value is an object or a list. Returns whether 1.3.0 has any part of it.
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
        let profiles = self.profiles;
        let outside = enter(&mut self.path, name);
        let open = self.out.open(name);
        let kept = self.kept.open(name);
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
        self.profiles = profiles;
        self.keep(name, value);
        false
    }

    /// Writes a list. Elements that lose values are also kept. Returns whether 1.3.0 has any element.
    fn list(&mut self, kind: &Kind, name: &str, list: Value<'_>) -> bool {
        let outside = enter(&mut self.path, name);
        self.path.push_str("[]");
        let open = self.out.open_list(name);
        let kept = self.kept.open_list(name);
        for element in list.elements() {
            if element.kind() == JsonKind::Object {
                self.element(kind, &mut Object::read(element), element);
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

    /// Writes an element of a list. `object` has the members of the element.
    fn element(&mut self, kind: &Kind, object: &mut Object<'_>, element: Value<'_>) {
        let profiles = self.profiles;
        let open = self.out.open_element();
        let kept = self.kept.open_element();
        // These attributes identify the element.
        for name in ["uid", "name"] {
            let value = object.get(name);
            let is_absent = || kind.row(name).is_some_and(|row| matches!(row.rule, Rule::Absent));
            if value.kind() != JsonKind::Absent && !is_absent() {
                self.kept.name(name);
                self.kept.raw(value.raw().as_bytes());
            }
        }
        let named = self.kept.written().len();
        if self.members(kind, object) {
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
        self.profiles = profiles;
        self.kept.json_element(element.raw());
        self.note_kept(element.raw());
    }

    /// Keeps a member of the open object below `unmapped`.
    pub(super) fn keep(&mut self, name: &str, value: &str) {
        self.kept.name(name);
        self.kept.raw(value.as_bytes());
        let outside = enter(&mut self.path, name);
        self.note_kept(value);
        self.path.truncate(outside);
    }

    /// Keeps the rest of a member that was moved.
    pub(super) fn keep_rest(&mut self, name: &str, rest: &Object<'_>) {
        if !rest.members.is_empty() {
            self.keep(name, &rest.json());
        }
    }

    /// Notes that a value of the open object now has another path.
    pub(super) fn moved(&mut self, from: &str, to: &str, value: &str) {
        let outside = enter(&mut self.path, from);
        for observable in &mut self.observables {
            observable.look_in(&self.path, value, |rest| {
                let object = self.path.get(..outside).unwrap_or_default();
                let dot = if object.is_empty() { "" } else { "." };
                format!("{object}{dot}{to}{rest}")
            });
        }
        self.path.truncate(outside);
    }

    /// Notes that the value of the open path is kept.
    fn note_kept(&mut self, value: &str) {
        let (path, key) = (&self.path, &self.key);
        for observable in &mut self.observables {
            observable.look_in(path, value, |rest| format!("unmapped.{key}.{path}{rest}"));
        }
    }

    fn metadata(&mut self, value: &str) {
        if !value.starts_with('{') {
            return self.raw("metadata", value);
        }
        let mut metadata = Object::read(Value::new(value));
        let outside = enter(&mut self.path, "metadata");
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

    /// Writes the observables with the current paths of their values.
    fn observables(&mut self) {
        let open = self.out.open_list("observables");
        let kept = self.kept.open_list("observables");
        for Observable { element, name, value, is_same, place } in std::mem::take(&mut self.observables) {
            let event = || std::str::from_utf8(self.out.written()).unwrap_or_default();
            if matches!(place, Place::Unknown) && !holds(Value::new(event()), &name, value) {
                continue;
            }
            if is_same && !matches!(place, Place::Moved(_)) {
                self.out.json_element(element.raw());
                continue;
            }
            let mut object = Object::read(element);
            if let Place::Moved(place) = place {
                object.set("name", format!("\"{}\"", escape(&place)));
            }
            self.element(&table::OBSERVABLE, &mut object, element);
        }
        self.out.close(open);
        self.kept.close(kept);
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

/// Returns whether a value is at a path below `found`. `[]` may follow the names of lists.
fn holds(found: Value<'_>, path: &str, value: Value<'_>) -> bool {
    if found.kind() == JsonKind::Array {
        return found.elements().any(|element| holds(element, path, value));
    }
    let path = path.trim_start_matches(['[', ']', '.']);
    if path.is_empty() {
        return found.kind() != JsonKind::Absent && (value.escaped().is_none() || found.escaped() == value.escaped());
    }
    let (name, rest) = path.split_at(path.find(['[', '.']).unwrap_or(path.len()));
    holds(found.get(name), rest, value)
}

/// Returns whether the value is a number that 1.3.0 does not have.
fn is_gone(gone: &[u32], value: &str) -> bool {
    value.parse().is_ok_and(|number| gone.contains(&number))
}

/// Returns a number, or a list of numbers, with 99 (Other) in place of numbers that 1.3.0 does not have. Their captions
/// of 1.9.0 stay next to them.
fn without<'a>(gone: &[u32], value: &'a str) -> Cow<'a, str> {
    let list = Value::new(value);
    if list.elements().any(|element| is_gone(gone, element.raw())) {
        let numbers = list.elements().map(|element| if is_gone(gone, element.raw()) { "99" } else { element.raw() });
        return Cow::Owned(format!("[{}]", numbers.collect::<Vec<_>>().join(",")));
    }
    Cow::Borrowed(if is_gone(gone, value) { "99" } else { value })
}
