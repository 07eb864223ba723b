//! How the typed records are written down: one line per field, its name and the console's key.

use std::borrow::Cow;

use super::json::{JsonError, Reader};
use super::value::{Value, unescape};

/// An object of a record whose fields are known by name. `null`, `""`, `[]` and `{}` are as good as absent. Whatever the console sends beside them, or in another shape,
/// is kept in `rest`: a record never fails because of its fields.
pub trait Block<'a>: Default {
    /// Where the value under `key` belongs.
    fn slot(&mut self, key: &str) -> Slot<'_, 'a>;

    /// What has no field: unknown keys, repeated keys, and values in place of objects.
    fn rest(&mut self) -> &mut Vec<(Cow<'a, str>, Value<'a>)>;

    /// Shows everything that has not been taken, in the order of declaration, the rest last.
    fn visit(&self, visitor: &mut impl Visitor<'a>);

    /// Whether a field of this name (in `snake_case`) still holds something.
    fn holds(&self, name: &str) -> bool;

    /// As [`Block::holds`], by the console's key.
    fn holds_key(&self, key: &str) -> bool;
}

/// Sees what is left of a block.
pub trait Visitor<'a> {
    /// A field: its name in `snake_case`, the console's key, its value.
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>);

    /// A block within the block.
    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>);

    /// An entry of the rest of `owner`.
    fn rest(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>);
}

/// The place of one key of a block.
#[derive(Debug)]
pub enum Slot<'s, 'a> {
    /// A field for any value.
    Field(&'s mut Value<'a>),
    /// A block: the reader reads it in place when the value is an object.
    Block(&'s mut dyn ReadBlock<'a>),
    /// No field has this key.
    Unknown,
}

/// Reads a block from its opening brace on: the object-safe side of [`Block`].
pub trait ReadBlock<'a>: std::fmt::Debug {
    /// False when the block was filled before: of repeated keys the first counts.
    fn is_new(&self) -> bool;

    /// # Errors
    /// When what follows is not an object in JSON.
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), JsonError>;
}

/// Fills `block` from the object that comes next.
pub fn read_block<'a>(block: &mut impl Block<'a>, reader: &mut Reader<'a>) -> Result<(), JsonError> {
    if !reader.pass(b'{') {
        return Err(reader.refusal());
    }
    if reader.pass(b'}') {
        return Ok(());
    }
    loop {
        let (key, is_escaped) = reader.key()?;
        let key = if is_escaped { unescape(key) } else { Cow::Borrowed(key) };
        let is_object = reader.peek() == Some(b'{');
        match block.slot(&key) {
            Slot::Field(field) if field.raw().is_empty() => {
                let value = Value::new(reader.value()?);
                if !value.is_empty() {
                    *field = value;
                }
            }
            Slot::Block(inner) if is_object && inner.is_new() => inner.read(reader)?,
            _ => {
                let value = Value::new(reader.value()?);
                if !value.is_empty() {
                    block.rest().push((key, value));
                }
            }
        }
        if reader.pass(b',') {
            continue;
        }
        return if reader.pass(b'}') { Ok(()) } else { Err(reader.refusal()) };
    }
}

/// Finds keys by a hash that is made when the program is compiled: a record has a hundred keys, and comparing each with
/// a hundred names would cost more than reading it.
#[derive(Debug)]
pub struct Keys {
    slots: [u8; 512],
    keys: &'static [&'static str],
}

impl Keys {
    /// `keys` are different, and fewer than 255.
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
        Self { slots, keys }
    }

    /// The index of `key`.
    #[inline]
    pub fn find(&self, key: &str) -> Option<usize> {
        if key.is_empty() {
            return None;
        }
        let mut at = hash(key.as_bytes());
        loop {
            let index = (self.slots[at] as usize).checked_sub(1)?;
            if self.keys[index] == key {
                return Some(index);
            }
            at = (at + 1) % 512;
        }
    }
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

/// Declares blocks: each field by its name in `snake_case`, which is also its name in the vendor namespace, and the
/// console's key; fields that are blocks themselves come last.
macro_rules! block {
    ($(
        $(#[$attribute:meta])*
        $name:ident { $($field:ident = $key:literal,)* } $({ $($inner:ident: $kind:ident = $inner_key:literal,)* })?
    )*) => {$(
        $(#[$attribute])*
        #[derive(Debug, Default)]
        pub struct $name<'a> {
            $(#[doc = concat!("`", $key, "`")] pub $field: $crate::record::Value<'a>,)*
            $($(#[doc = concat!("`", $inner_key, "`")] pub $inner: $kind<'a>,)*)?
            /// Everything else.
            pub rest: Vec<(std::borrow::Cow<'a, str>, $crate::record::Value<'a>)>,
            pub(in crate::record) present: bool,
        }

        const _: () = {
            use $crate::record::block::{Block, Keys, ReadBlock, Slot, Visitor, read_block};
            use $crate::record::{JsonError, Reader, Value};

            #[allow(non_camel_case_types)]
            #[derive(Clone, Copy)]
            enum Member { $($field,)* $($($inner,)*)? }

            static KEYS: Keys = Keys::new(&[$($key,)* $($($inner_key,)*)?]);
            static MEMBERS: &[Member] = &[$(Member::$field,)* $($(Member::$inner,)*)?];

            impl<'a> Block<'a> for $name<'a> {
                #[inline]
                fn slot(&mut self, key: &str) -> Slot<'_, 'a> {
                    let Some(index) = KEYS.find(key) else { return Slot::Unknown };
                    match MEMBERS[index] {
                        $(Member::$field => Slot::Field(&mut self.$field),)*
                        $($(Member::$inner => Slot::Block(&mut self.$inner),)*)?
                    }
                }

                fn rest(&mut self) -> &mut Vec<(std::borrow::Cow<'a, str>, Value<'a>)> {
                    &mut self.rest
                }

                fn visit(&self, visitor: &mut impl Visitor<'a>) {
                    $(if !self.$field.raw().is_empty() {
                        visitor.field(stringify!($field), $key, self.$field);
                    })*
                    $($(if self.$inner.present {
                        visitor.block(stringify!($inner), $inner_key, &self.$inner);
                    })*)?
                    for (key, value) in &self.rest {
                        visitor.rest(self, key, *value);
                    }
                }

                fn holds(&self, name: &str) -> bool {
                    match name {
                        $(stringify!($field) => !self.$field.is_empty(),)*
                        $($(stringify!($inner) => self.$inner.present,)*)?
                        _ => false,
                    }
                }

                fn holds_key(&self, key: &str) -> bool {
                    let Some(index) = KEYS.find(key) else { return false };
                    match MEMBERS[index] {
                        $(Member::$field => !self.$field.is_empty(),)*
                        $($(Member::$inner => self.$inner.present,)*)?
                    }
                }
            }

            impl<'a> ReadBlock<'a> for $name<'a> {
                fn is_new(&self) -> bool {
                    !self.present
                }

                fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), JsonError> {
                    self.present = true;
                    read_block(self, reader)
                }
            }
        };

        impl<'a> $name<'a> {
            /// Whether none of its fields says more than yes or no.
            pub fn is_empty(&self) -> bool {
                true $(&& matches!(self.$field.kind(), $crate::record::Kind::Absent | $crate::record::Kind::Bool))* $($(&& self.$inner.is_empty())*)?
            }

            /// Reads it from the object that comes next.
            ///
            /// # Errors
            /// When what comes next is not an object in JSON.
            pub fn read(reader: &mut $crate::record::Reader<'a>) -> Result<Self, $crate::record::JsonError> {
                let mut block = Self::default();
                $crate::record::block::ReadBlock::read(&mut block, reader)?;
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
    fn known_keys_have_fields_and_the_rest_is_kept() {
        let text =
            r#"{"filePath":"a","innerInfo":{"name":1,"x":[2]},"fileP\u0061th":"b","new":{"y":3},"empty":null,"id":""}"#;
        let mut outer = read(text).unwrap();
        assert_eq!(outer.file_path.raw(), "\"a\"");
        assert_eq!(outer.inner.name.raw(), "1");
        let rest = |block: &Vec<(Cow<'_, str>, Value<'_>)>| {
            block.iter().map(|(key, value)| format!("{key}={}", value.raw())).collect::<Vec<_>>()
        };
        assert_eq!(rest(&outer.inner.rest), ["x=[2]"]);
        assert_eq!(rest(&outer.rest), ["filePath=\"b\"", "new={\"y\":3}"]);
        assert!(outer.holds("file_path") && outer.holds("inner") && !outer.holds("id") && !outer.holds("new"));
        outer.file_path.take();
        assert!(!outer.holds("file_path"));
    }

    #[test]
    fn other_shapes_are_kept_and_broken_json_is_refused() {
        let outer = read(r#"{"innerInfo":"text","innerInfo":{"name":"n"},"innerInfo":{"name":"m"}}"#).unwrap();
        assert_eq!(outer.inner.name.raw(), "\"n\"");
        assert_eq!(outer.rest.len(), 2);
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
