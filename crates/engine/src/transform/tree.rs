//! Interface of a parsed event for redaction, whichever library parsed the event.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use s1_forwarder_mapping::{REDACTED, write_text};
use s1_forwarder_record::{Escaped, MAX_EVENT_DEPTH, Reader};

/// A JSON value.
pub(super) trait Tree: Sized {
    /// Returns the value of a key, if this is an object.
    fn member(&mut self, key: &str) -> Option<&mut Self>;
    fn remove_member(&mut self, key: &str);
    /// Returns the keys of an object for which `is_wanted` holds.
    fn keys(&self, is_wanted: &dyn Fn(&str) -> bool) -> Vec<String>;
    /// Calls `visit` with all values of an object.
    fn for_each_member(&mut self, visit: &mut dyn FnMut(&mut Self));
    /// Gives the members of an object the names that `rename` returns. A name that is in use gets a number.
    fn rename_members(&mut self, rename: &dyn Fn(&str) -> Option<String>);
    /// Returns the elements, if this is a list.
    fn elements(&mut self) -> Option<&mut Vec<Self>>;
    fn is_object(&self) -> bool;
    fn is_null(&self) -> bool;
    fn is_text(&self) -> bool;
    /// Returns a text without quotes, and everything else as JSON.
    fn to_text(&self) -> String;
    fn of_text(text: String) -> Self;
    /// Returns the value of a number, `true`, `false` or `null`, as it is in JSON.
    fn of_scalar(text: &str) -> Self;
    fn of_list(elements: Vec<Self>) -> Self;
    fn empty_object() -> Self;
    /// Sets the value of a key, and returns the value that the key had.
    fn insert(&mut self, key: &str, value: Self) -> Option<Self>;
    /// Appends the value as JSON.
    fn write(&self, out: &mut Vec<u8>);

    fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Parses a value. The values of equal keys become a list under that key: a path leads to each of them. An object
    /// or a list with too many levels around it becomes `[redacted]`: rules do not search it.
    fn parse(text: &str) -> Option<Self> {
        parse(text, TooDeep::Redact)
    }

    /// Parses a value of which no program may lose a part. Returns `None` if the value has too many levels.
    #[cfg(feature = "remap")]
    fn parse_whole(text: &str) -> Option<Self> {
        parse(text, TooDeep::Refuse)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooDeep {
    Redact,
    #[cfg(feature = "remap")]
    Refuse,
}

fn parse<T: Tree>(text: &str, too_deep: TooDeep) -> Option<T> {
    let mut reader = Reader::new(text);
    let value = value(&mut reader, too_deep, MAX_EVENT_DEPTH)?;
    reader.end().ok()?;
    Some(value)
}

/// Reads the next value, which may have this number of `levels`.
fn value<T: Tree>(reader: &mut Reader<'_>, too_deep: TooDeep, levels: u32) -> Option<T> {
    match reader.peek()? {
        b'{' | b'[' if levels == 0 => {
            reader.skip().ok()?;
            (too_deep == TooDeep::Redact).then(|| T::of_text(REDACTED.to_owned()))
        }
        b'{' => object(reader, too_deep, levels - 1),
        b'[' => list(reader, too_deep, levels - 1),
        b'"' => {
            let text = reader.value().ok()?;
            Some(T::of_text(unescaped(text.get(1..text.len() - 1)?).into_owned()))
        }
        _ => reader.value().ok().map(T::of_scalar),
    }
}

/// Returns the text between quotes that the reader has checked, without its escapes.
fn unescaped(inner: &str) -> Cow<'_, str> {
    Escaped::plain(inner).decode()
}

fn object<T: Tree>(reader: &mut Reader<'_>, too_deep: TooDeep, levels: u32) -> Option<T> {
    let mut object = T::empty_object();
    // Values of each repeated key, but for the last one.
    let mut repeated: HashMap<String, Vec<T>> = HashMap::new();
    reader.consume(b'{');
    let mut is_open = !reader.consume(b'}');
    while is_open {
        let (key, is_escaped) = reader.key().ok()?;
        let key = if is_escaped { unescaped(key) } else { Cow::Borrowed(key) };
        let member = value(reader, too_deep, levels)?;
        if let Some(former) = object.insert(&key, member) {
            repeated.entry(key.into_owned()).or_default().push(former);
        }
        is_open = goes_on(reader, b'}')?;
    }
    for (key, mut values) in repeated {
        if let Some(last) = object.member(&key) {
            values.push(std::mem::replace(last, T::of_list(Vec::new())));
            *last = T::of_list(values);
        }
    }
    Some(object)
}

fn list<T: Tree>(reader: &mut Reader<'_>, too_deep: TooDeep, levels: u32) -> Option<T> {
    let mut elements = Vec::new();
    reader.consume(b'[');
    let mut is_open = !reader.consume(b']');
    while is_open {
        elements.push(value(reader, too_deep, levels)?);
        is_open = goes_on(reader, b']')?;
    }
    Some(T::of_list(elements))
}

/// Consumes a comma and returns true, or the closing bracket and returns false. Returns `None` if neither is next.
fn goes_on(reader: &mut Reader<'_>, closing: u8) -> Option<bool> {
    if reader.consume(b',') { Some(true) } else { reader.consume(closing).then_some(false) }
}

/// Any JSON value. A number is as it was received, however long it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Object(BTreeMap<String, Self>),
    List(Vec<Self>),
    Text(String),
    /// A number, `true`, `false` or `null`.
    Scalar(Box<str>),
}

impl Json {
    fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    fn as_object_mut(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::List(elements) = self { Some(elements) } else { None }
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(text) if &**text == "null")
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Returns a text without quotes, and everything else as JSON.
    fn text(&self) -> String {
        if let Self::Text(text) = self {
            return text.clone();
        }
        self.to_json()
    }

    fn of_scalar(text: &str) -> Self {
        Self::Scalar(text.into())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Object(members) => write_object(members, out, Self::write),
            Self::List(elements) => write_list(elements, out, Self::write),
            Self::Text(text) => write_text(out, text),
            Self::Scalar(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

fn write_object<K: AsRef<str>, V>(members: &BTreeMap<K, V>, out: &mut Vec<u8>, write: impl Fn(&V, &mut Vec<u8>)) {
    out.push(b'{');
    for (index, (key, member)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, key.as_ref());
        out.push(b':');
        write(member, out);
    }
    out.push(b'}');
}

fn write_list<V>(elements: &[V], out: &mut Vec<u8>, write: impl Fn(&V, &mut Vec<u8>)) {
    out.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(element, out);
    }
    out.push(b']');
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<Self>> for Json {
    fn from(elements: Vec<Self>) -> Self {
        Self::List(elements)
    }
}

impl From<BTreeMap<String, Self>> for Json {
    fn from(members: BTreeMap<String, Self>) -> Self {
        Self::Object(members)
    }
}

/// Returns a scalar for programs. A number that neither an integer of 64 bits nor a float holds is a text for them.
#[cfg(feature = "remap")]
fn vrl_scalar(text: &str) -> vrl::value::Value {
    use vrl::value::Value;

    if let Ok(integer) = text.parse::<i64>() {
        return Value::Integer(integer);
    }
    match text {
        "null" => Value::Null,
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        _ => {
            let float = text.parse::<f64>().ok().filter(|float| float.is_finite());
            float.map_or_else(|| text.into(), Value::from_f64_or_zero)
        }
    }
}

#[cfg(feature = "remap")]
fn write_vrl(value: &vrl::value::Value, out: &mut Vec<u8>) {
    use vrl::value::Value;

    match value {
        Value::Object(members) => write_object(members, out, write_vrl),
        Value::Array(elements) => write_list(elements, out, write_vrl),
        Value::Integer(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Bytes(_) | Value::String(_) => write_text(out, &value.to_string_lossy()),
        // Writing into a Vec cannot fail.
        _ => drop(serde_json::to_writer(out, value)),
    }
}

/// Both types have the same methods, but for those about texts and numbers.
macro_rules! impl_tree {
    ($value:ty, $is_text:path, $to_text:expr, $of_scalar:path, $write:path) => {
        impl Tree for $value {
            fn member(&mut self, key: &str) -> Option<&mut Self> {
                self.as_object_mut()?.get_mut(key)
            }

            fn remove_member(&mut self, key: &str) {
                if let Some(object) = self.as_object_mut() {
                    object.remove(key);
                }
            }

            fn keys(&self, is_wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
                let keys = self.as_object().into_iter().flat_map(|object| object.keys());
                keys.filter(|key| is_wanted(key.as_str())).map(|key| key.to_string()).collect()
            }

            fn for_each_member(&mut self, visit: &mut dyn FnMut(&mut Self)) {
                self.as_object_mut().into_iter().flat_map(|object| object.values_mut()).for_each(visit);
            }

            fn rename_members(&mut self, rename: &dyn Fn(&str) -> Option<String>) {
                let Some(object) = self.as_object_mut() else { return };
                if object.keys().all(|key| rename(key.as_str()).is_none()) {
                    return;
                }
                // The smallest number of each name that may be free: a record may have any number of keys that get one.
                let mut numbers = HashMap::new();
                for (key, value) in std::mem::take(object) {
                    let wanted = rename(key.as_str()).unwrap_or_else(|| key.to_string());
                    if !object.contains_key(wanted.as_str()) {
                        object.insert(wanted.into(), value);
                        continue;
                    }
                    let number = numbers.entry(wanted.clone()).or_insert(2);
                    while object.contains_key(format!("{wanted} {number}").as_str()) {
                        *number += 1;
                    }
                    object.insert(format!("{wanted} {number}").into(), value);
                }
            }

            fn elements(&mut self) -> Option<&mut Vec<Self>> {
                self.as_array_mut()
            }

            fn is_object(&self) -> bool {
                self.is_object()
            }

            fn is_null(&self) -> bool {
                self.is_null()
            }

            fn is_text(&self) -> bool {
                $is_text(self)
            }

            fn to_text(&self) -> String {
                $to_text(self)
            }

            fn of_text(text: String) -> Self {
                text.into()
            }

            fn of_scalar(text: &str) -> Self {
                $of_scalar(text)
            }

            fn of_list(elements: Vec<Self>) -> Self {
                elements.into()
            }

            fn empty_object() -> Self {
                BTreeMap::new().into()
            }

            fn insert(&mut self, key: &str, value: Self) -> Option<Self> {
                self.as_object_mut()?.insert(key.into(), value)
            }

            fn write(&self, out: &mut Vec<u8>) {
                $write(self, out);
            }
        }
    };
}

impl_tree!(Json, Json::is_text, Json::text, Json::of_scalar, Json::write);
#[cfg(feature = "remap")]
impl_tree!(
    vrl::value::Value,
    vrl::value::Value::is_bytes,
    |value: &vrl::value::Value| value.to_string_lossy().into_owned(),
    vrl_scalar,
    write_vrl
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<T: Tree>(text: &str) -> Option<String> {
        T::parse(text).map(|tree| tree.to_json())
    }

    /// This holds for numbers that no float holds, and for each value of a key that is there twice.
    #[test]
    fn nothing_is_lost_of_what_is_parsed() {
        for (text, expected) in [
            (r#" { "b" : [ 1e400 , -0.10 , true , null ] , "a" : { } } "#, r#"{"a":{},"b":[1e400,-0.10,true,null]}"#),
            (r#"{"a":1,"\u0061":[2],"a":{"a":3,"a":4}}"#, r#"{"a":[1,[2],{"a":[3,4]}]}"#),
            (r#"["\"\\\u00e9",98765432109876543210]"#, r#"["\"\\é",98765432109876543210]"#),
        ] {
            assert_eq!(read::<Json>(text).as_deref(), Some(expected));
        }
        for text in ["", "{", "[1,]", r#"{"a"}"#, "{} {}", r#""\x""#, "[1 2]"] {
            assert_eq!(read::<Json>(text), None, "{text}");
        }
    }

    #[cfg(feature = "remap")]
    #[test]
    fn a_number_beyond_floats_is_a_text_for_programs() {
        let read = read::<vrl::value::Value>;
        assert_eq!(read(r#"{"a":[1e400,1.5,7],"a":1}"#).as_deref(), Some(r#"{"a":[["1e400",1.5,7],1]}"#));
    }

    #[cfg(feature = "remap")]
    #[test]
    fn a_value_of_a_program_is_written_as_serde_json_does() {
        use vrl::value::Value;

        let texts = ["", "é", "a\"b\\c", "line\nbell\u{7}\u{8}\u{c}\u{7f}", "{\"a\":[\"\\\\\"]}"].map(Value::from);
        let others = [
            Value::Bytes(b"\xff\"\xc3".to_vec().into()),
            Value::from(i64::MIN),
            Value::from_f64_or_zero(1.0),
            Value::from_f64_or_zero(1e300),
            Value::from(regex::Regex::new("a\"?").unwrap()),
            Value::Null,
            true.into(),
            Vec::<Value>::new().into(),
            BTreeMap::new().into(),
        ];
        let list: Vec<Value> = texts.into_iter().chain(others).collect();
        let object: BTreeMap<_, _> = [("a\"".into(), list.clone().into()), ("".into(), list[1].clone())].into();
        for value in [Value::from(list), Value::from(object)] {
            assert_eq!(Tree::to_json(&value), serde_json::to_string(&value).unwrap());
        }
    }

    #[test]
    fn what_is_too_deep_is_redacted() {
        let nested = |levels: usize| "[".repeat(levels) + "\"secret\"" + &"]".repeat(levels);
        let most = MAX_EVENT_DEPTH as usize;
        assert_eq!(read::<Json>(&nested(most)), Some(nested(most)));
        for levels in [most + 1, 1_000_000] {
            assert_eq!(read::<Json>(&nested(levels)), Some(nested(most).replace("secret", REDACTED)));
        }
        #[cfg(feature = "remap")]
        assert_eq!((Json::parse_whole(&nested(most)).is_some(), Json::parse_whole(&nested(most + 1))), (true, None));
    }

    /// Renames as [`Tree::rename_members`] does, but the slow way.
    fn renamed(object: &BTreeMap<String, Json>, rename: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Json> {
        let mut renamed = BTreeMap::new();
        for (key, value) in object {
            let wanted = rename(key).unwrap_or_else(|| key.clone());
            let numbered = (2..).map(|number| format!("{wanted} {number}"));
            let name = std::iter::once(wanted.clone()).chain(numbered).find(|name| !renamed.contains_key(name));
            renamed.insert(name.unwrap(), value.clone());
        }
        renamed
    }

    proptest! {
        #[test]
        fn each_member_gets_the_first_name_that_is_free(
            members in prop::collection::btree_map("[a-c*](a|b| [234]){0,3}", any::<u8>(), 0..60),
        ) {
            let rename = |key: &str| key.contains('a').then(|| key.replace(['a', 'c'], "*"));
            let object: BTreeMap<_, _> = members.into_iter().map(|(key, value)| (key, Json::of_scalar(&value.to_string()))).collect();
            let expected = renamed(&object, rename);
            let mut tree = Json::Object(object);
            tree.rename_members(&rename);
            prop_assert_eq!(tree, Json::Object(expected));
        }
    }
}
