//! Declares typed records: one line per field, with its Rust name and the console's key.

use std::borrow::Cow;

use super::json::{JsonError, Reader};
use super::scan::is_same;
use super::value::{Value, unescape};

/// A JSON object of a record whose fields are known by name. `null`, `""`, `[]` and `{}` count as absent. Unknown keys,
/// and values of an unexpected shape, are kept in `other`: a record never fails because of its fields.
pub trait Block<'a>: Default {
    /// Number of fields in the block, including the fields of its blocks.
    const FIELDS: u16;

    /// Returns the number of the field at `index` in [`Self::keys`], or of the first field of the block at `index`.
    fn offset(index: usize) -> u16;

    /// Returns the keys of the fields.
    fn keys() -> &'static KeyTable;

    /// Returns the field or block of the key at `index` in [`Self::keys`].
    fn slot(&mut self, index: usize) -> Slot<'_, 'a>;

    /// Returns the values without a field: unknown keys, repeated keys, and other values in place of objects.
    fn other(&mut self) -> &mut Vec<(Cow<'a, str>, Value<'a>)>;

    /// Calls `visit` with each field and each block that a record may have. The arguments are its [`Member`]s from the
    /// outermost block to itself, and whether it is a block. `path` is the path of this block.
    fn describe(path: &mut Vec<Member>, visit: &mut dyn FnMut(&[Member], bool));

    /// Calls `visitor` with every value: fields in the order of declaration, then `other`.
    fn visit(&self, visitor: &mut impl Visitor<'a>);

    /// Returns whether the field `name` (in `snake_case`) exists and has a value that `is_left`.
    fn has_field(&self, name: &str, is_left: impl Fn(Value<'a>) -> bool) -> bool;

    /// Returns what [`Block::has_field`] returns, for the field with the console's key.
    fn has_key(&self, key: &str, is_left: impl Fn(Value<'a>) -> bool) -> bool;
}

/// Name (in `snake_case`) and console's key of a field or a block.
pub type Member = (&'static str, &'static str);

/// Receives the values of a block.
pub trait Visitor<'a> {
    /// Receives a field; `name` is in `snake_case`, `key` is the console's.
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>);

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>);

    /// Receives a value without a field, from [`Block::other`] of `owner`.
    fn other(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>);
}

/// The field of a block that a key belongs to.
#[derive(Debug)]
pub enum Slot<'s, 'a> {
    Field(&'s mut Value<'a>),
    /// A nested block: read in place when the value is an object.
    Block(&'s mut dyn ReadBlock<'a>),
    Unknown,
}

/// Reads a block from its opening brace on: the object-safe side of [`Block`].
pub trait ReadBlock<'a>: std::fmt::Debug {
    /// Returns whether the block was not read before: if a key is repeated, its first value counts.
    fn is_unread(&self) -> bool;

    /// Reads the block whose first field has the number `first_slot`.
    ///
    /// # Errors
    /// If the next value is not a JSON object.
    fn read(&mut self, reader: &mut Reader<'a>, first_slot: u16) -> Result<(), JsonError>;
}

/// Most fields of a record, including the fields of its blocks.
pub const MAX_FIELDS: u16 = 511;

/// Fills `block` from the next value, which must be an object. Its first field has the number `first_slot`.
///
/// # Errors
/// If the next value is not a JSON object.
pub fn read_block<'a, B: Block<'a>>(block: &mut B, reader: &mut Reader<'a>, first_slot: u16) -> Result<(), JsonError> {
    let table = B::keys();
    if !reader.consume(b'{') {
        return Err(reader.syntax_error());
    }
    if reader.consume(b'}') {
        return Ok(());
    }
    // Consoles send keys in alphabetical order, so the key after this one is most likely the next in the table.
    let mut expected = table.first;
    loop {
        let (key, index) = match reader.consume_key(table.keys[usize::from(expected)]) {
            Some(key) => (Cow::Borrowed(key), Some(usize::from(expected))),
            None => {
                let (key, is_escaped) = reader.key()?;
                let key = if is_escaped { unescape(key) } else { Cow::Borrowed(key) };
                let index = table.find(&key);
                (key, index)
            }
        };
        expected = index.map_or(expected, |index| table.next[index]);
        let is_object = reader.peek() == Some(b'{');
        let slot = index.map_or(0, |index| first_slot + B::offset(index));
        match index.map_or(Slot::Unknown, |index| block.slot(index)) {
            Slot::Field(field) if field.raw().is_empty() => {
                let value = Value::of_field(reader.value()?, slot);
                if !value.is_empty() {
                    *field = value;
                }
            }
            Slot::Block(inner) if is_object && inner.is_unread() => inner.read(reader, slot)?,
            _ => {
                let value = Value::new(reader.value()?);
                if !value.is_empty() {
                    block.other().push((key, value));
                }
            }
        }
        if reader.consume(b',') {
            continue;
        }
        return if reader.consume(b'}') { Ok(()) } else { Err(reader.syntax_error()) };
    }
}

/// Reads a block out of `text`, a value of a record `Outer` of its own. Its fields are numbered after the fields of
/// `Outer`.
///
/// # Errors
/// If the text does not begin with a JSON object.
pub fn read_inside<'a, Outer: Block<'a>, Inner: Block<'a> + ReadBlock<'a>>(text: &'a str) -> Result<Inner, JsonError> {
    const { assert!(Outer::FIELDS + Inner::FIELDS <= MAX_FIELDS) };
    let mut block = Inner::default();
    block.read(&mut Reader::new(text), Outer::FIELDS + 1)?;
    Ok(block)
}

/// A hash table of keys that is built at compile time. A record has a hundred keys: comparing each with a hundred names
/// would cost more than reading the record.
#[derive(Debug)]
pub struct KeyTable {
    slots: [u8; 512],
    keys: &'static [&'static str],
    /// The index of the first key in alphabetical order. `next` has the index of each key's successor; the last key has
    /// its own index there.
    first: u8,
    next: [u8; 256],
}

impl KeyTable {
    /// `keys` must be distinct and fewer than 255.
    pub const fn new(keys: &'static [&'static str]) -> Self {
        let mut slots = [0; 512];
        let mut index = 0;
        while index < keys.len() {
            let mut at = hash(keys[index].as_bytes());
            while slots[at] != 0 {
                at = (at + 1) % 512;
            }
            slots[at] = index as u8 + 1;
            index += 1;
        }
        let (first, next) = alphabetical(keys);
        Self { slots, keys, first, next }
    }

    /// Returns the list that the table was built from.
    pub fn names(&self) -> &'static [&'static str] {
        self.keys
    }

    /// Returns the index of `key` in the list that the table was built from.
    #[inline]
    pub fn find(&self, key: &str) -> Option<usize> {
        if key.is_empty() {
            return None;
        }
        let mut at = hash(key.as_bytes());
        loop {
            let index = (self.slots[at] as usize).checked_sub(1)?;
            let found = self.keys[index];
            if found.len() == key.len() && is_same(found.as_bytes(), key.as_bytes()) {
                return Some(index);
            }
            at = (at + 1) % 512;
        }
    }
}

/// Returns the values of [`KeyTable::first`] and [`KeyTable::next`].
const fn alphabetical(keys: &[&str]) -> (u8, [u8; 256]) {
    let mut first = 0;
    let mut next = [0; 256];
    let mut index = 0;
    while index < keys.len() {
        if is_before(keys[index], keys[first]) {
            first = index;
        }
        let mut other = 0;
        let mut nearest = index;
        while other < keys.len() {
            if is_before(keys[index], keys[other]) && (nearest == index || is_before(keys[other], keys[nearest])) {
                nearest = other;
            }
            other += 1;
        }
        next[index] = nearest as u8;
        index += 1;
    }
    (first as u8, next)
}

const fn is_before(one: &str, other: &str) -> bool {
    let one = one.as_bytes();
    let other = other.as_bytes();
    let mut at = 0;
    while at < one.len() && at < other.len() {
        if one[at] != other[at] {
            return one[at] < other[at];
        }
        at += 1;
    }
    one.len() < other.len()
}

const fn hash(key: &[u8]) -> usize {
    let last = key.len() - 1;
    let middle = key.len() / 2;
    let quarter = key.len() / 4;
    let mixed = key.len() * 31
        + key[0] as usize * 7
        + key[last] as usize * 13
        + key[middle] as usize * 61
        + key[quarter] as usize * 113
        + key[last - quarter] as usize * 29;
    mixed % 512
}

/// Returns the offset of each block after `own` fields, then the number of all fields. `inner` are the numbers of
/// fields of the blocks.
pub const fn offsets<const N: usize>(own: u16, inner: &[u16]) -> [u16; N] {
    let mut offsets = [own; N];
    let mut index = 0;
    while index < inner.len() {
        offsets[index + 1] = offsets[index] + inner[index];
        index += 1;
    }
    offsets
}

/// Declares blocks. Each field has a name in `snake_case`, which is also its name in the vendor namespace, and the
/// console's key. Fields that are blocks themselves come last.
macro_rules! block {
    ($(
        $(#[$attribute:meta])*
        $name:ident { $($field:ident = $key:literal,)* } $({ $($inner:ident: $kind:ident = $inner_key:literal,)* })?
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Default)]
        pub struct $name<'a> {
            $(#[doc = concat!("`", $key, "`")] pub $field: $crate::Value<'a>,)*
            $($(#[doc = concat!("`", $inner_key, "`")] pub $inner: $kind<'a>,)*)?
            /// Values without a field.
            pub other: Vec<(std::borrow::Cow<'a, str>, $crate::Value<'a>)>,
            pub(crate) present: bool,
        }

        const _: () = {
            use $crate::block::{Block, KeyTable, ReadBlock, Slot, Visitor, offsets, read_block};
            use $crate::{JsonError, Reader, Value};

            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy)]
            enum Member { $($field,)* $($($inner,)*)? }

            const OWN: u16 = <[&str]>::len(&[$($key),*]) as u16;
            const INNER: &[u16] = &[$($(<$kind<'static> as Block<'static>>::FIELDS,)*)?];
            const OFFSETS: [u16; INNER.len() + 1] = offsets(OWN, INNER);

            static KEYS: KeyTable = KeyTable::new(&[$($key,)* $($($inner_key,)*)?]);
            static MEMBERS: &[Member] = &[$(Member::$field,)* $($(Member::$inner,)*)?];

            impl<'a> Block<'a> for $name<'a> {
                const FIELDS: u16 = OFFSETS[INNER.len()];

                #[inline]
                fn offset(index: usize) -> u16 {
                    match index.checked_sub(usize::from(OWN)) {
                        Some(inner) => OFFSETS[inner],
                        None => index as u16,
                    }
                }

                #[inline]
                fn keys() -> &'static KeyTable {
                    &KEYS
                }

                #[inline]
                fn slot(&mut self, index: usize) -> Slot<'_, 'a> {
                    match MEMBERS[index] {
                        $(Member::$field => Slot::Field(&mut self.$field),)*
                        $($(Member::$inner => Slot::Block(&mut self.$inner),)*)?
                    }
                }

                #[inline]
                fn other(&mut self) -> &mut Vec<(std::borrow::Cow<'a, str>, Value<'a>)> {
                    &mut self.other
                }

                fn describe(
                    path: &mut Vec<$crate::block::Member>,
                    visit: &mut dyn FnMut(&[$crate::block::Member], bool),
                ) {
                    $(
                        path.push((stringify!($field), $key));
                        visit(path, false);
                        path.pop();
                    )*
                    $($(
                        path.push((stringify!($inner), $inner_key));
                        visit(path, true);
                        <$kind<'a> as Block<'a>>::describe(path, visit);
                        path.pop();
                    )*)?
                }

                fn visit(&self, visitor: &mut impl Visitor<'a>) {
                    $(if !self.$field.raw().is_empty() {
                        visitor.field(stringify!($field), $key, self.$field);
                    })*
                    $($(if self.$inner.present {
                        visitor.block(stringify!($inner), $inner_key, &self.$inner);
                    })*)?
                    for (key, value) in &self.other {
                        visitor.other(self, key, *value);
                    }
                }

                fn has_field(&self, name: &str, is_left: impl Fn(Value<'a>) -> bool) -> bool {
                    let _ = &is_left;
                    match name {
                        $(stringify!($field) => !self.$field.is_empty() && is_left(self.$field),)*
                        $($(stringify!($inner) => self.$inner.present,)*)?
                        _ => false,
                    }
                }

                fn has_key(&self, key: &str, is_left: impl Fn(Value<'a>) -> bool) -> bool {
                    let _ = &is_left;
                    let Some(index) = KEYS.find(key) else { return false };
                    match MEMBERS[index] {
                        $(Member::$field => !self.$field.is_empty() && is_left(self.$field),)*
                        $($(Member::$inner => self.$inner.present,)*)?
                    }
                }
            }

            impl<'a> ReadBlock<'a> for $name<'a> {
                #[inline]
                fn is_unread(&self) -> bool {
                    !self.present
                }

                fn read(&mut self, reader: &mut Reader<'a>, first_slot: u16) -> Result<(), JsonError> {
                    self.present = true;
                    read_block(self, reader, first_slot)
                }
            }
        };

        impl<'a> $name<'a> {
            /// Returns whether every field is absent or a boolean.
            pub fn is_empty(&self) -> bool {
                true $(&& matches!(self.$field.kind(), $crate::Kind::Absent | $crate::Kind::Bool))* $($(&& self.$inner.is_empty())*)?
            }

            /// Reads the block from the next value.
            ///
            /// # Errors
            /// If the next value is not a JSON object.
            pub fn read(reader: &mut $crate::Reader<'a>) -> Result<Self, $crate::JsonError> {
                let mut block = Self::default();
                const { assert!(<$name<'static> as $crate::block::Block<'static>>::FIELDS <= $crate::block::MAX_FIELDS) };
                $crate::block::ReadBlock::read(&mut block, reader, 1)?;
                Ok(block)
            }
        }
    )*};
}

pub(crate) use block;

#[cfg(test)]
mod tests {
    use super::*;

    block! {
        Outer { file_path = "filePath", id = "id", } { inner: Inner = "innerInfo", }
        Inner { name = "name", }
    }

    fn read(text: &str) -> Result<Outer<'_>, JsonError> {
        let mut reader = Reader::new(text);
        let outer = Outer::read(&mut reader)?;
        reader.end()?;
        Ok(outer)
    }

    #[test]
    fn known_keys_fill_fields_and_unknown_keys_are_kept() {
        let text =
            r#"{"filePath":"a","innerInfo":{"name":1,"x":[2]},"fileP\u0061th":"b","new":{"y":3},"empty":null,"id":""}"#;
        let outer = read(text).unwrap();
        assert_eq!(outer.file_path.raw(), "\"a\"");
        assert_eq!(outer.inner.name.raw(), "1");
        let other = |block: &Vec<(Cow<'_, str>, Value<'_>)>| {
            block.iter().map(|(key, value)| format!("{key}={}", value.raw())).collect::<Vec<_>>()
        };
        assert_eq!(other(&outer.inner.other), ["x=[2]"]);
        assert_eq!(other(&outer.other), ["filePath=\"b\"", "new={\"y\":3}"]);
        let knows = |name| outer.has_field(name, |_| true);
        assert!(knows("file_path") && knows("inner") && !knows("id") && !knows("new"));
        assert!(!outer.has_field("file_path", |_| false));
    }

    #[test]
    fn fields_are_numbered_those_of_inner_blocks_too() {
        let outer = read(r#"{"innerInfo":{"name":"c"},"id":"b","filePath":"a","filePath":"d"}"#).unwrap();
        let values = [outer.file_path, outer.id, outer.inner.name, outer.other[0].1];
        assert_eq!(values.map(Value::slot), [1, 2, 3, 0]);
        assert_eq!((Outer::FIELDS, outer.id.get("x").slot()), (3, 0));
    }

    #[test]
    fn each_key_is_followed_by_the_next_one_in_the_alphabet() {
        let table = Outer::keys();
        assert_eq!((table.first, &table.next[..3]), (0, &[1, 2, 2][..]), "filePath, id, innerInfo");
        let keys = KeyTable::new(&["b", "ba", "C", "a"]);
        assert_eq!((keys.first, &keys.next[..4]), (2, &[1, 1, 3, 0][..]));
    }

    /// The order of keys is only expected: another one is read in the same way.
    #[test]
    fn keys_are_read_in_any_order() {
        let entries = [r#""filePath":"a""#, r#""id":"b""#, r#""innerInfo":{"name":"c"}"#, r#""new":1"#];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let text = format!("{{{}}}", order.map(|index| entries[index]).join(","));
            let outer = read(&text).unwrap();
            let fields = [outer.file_path, outer.id, outer.inner.name, outer.other[0].1];
            assert_eq!(fields.map(|value| value.raw().to_owned()), ["\"a\"", "\"b\"", "\"c\"", "1"], "{text}");
        }
    }

    #[test]
    fn unexpected_shapes_are_kept_and_invalid_json_is_an_error() {
        let outer = read(r#"{"innerInfo":"text","innerInfo":{"name":"n"},"innerInfo":{"name":"m"}}"#).unwrap();
        assert_eq!(outer.inner.name.raw(), "\"n\"");
        assert_eq!(outer.other.len(), 2);
        assert!(
            read("{}").unwrap().is_empty() && read(r#"{"id":true,"innerInfo":{"name":false}}"#).unwrap().is_empty()
        );
        assert!(
            !outer.is_empty() && Inner::read(&mut Reader::new(r#"{"name":1}"#)).is_ok_and(|inner| !inner.is_empty())
        );
        assert!(read("{}").is_ok() && read(r#"{"filePath":[],"":1}"#).is_ok());
        for text in [
            "",
            "[]",
            "{",
            r#"{"id":}"#,
            r#"{"id":1"#,
            r#"{"id":1,}"#,
            r#"{"id":1 "x":2}"#,
            "{} {}",
            r#"{"innerInfo":{"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
