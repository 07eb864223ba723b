//! One or two secrets in settings. During a rotation both may be valid.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::secret::SecretVisitor;

/// A secret, or a list of two. During a rotation at the other side either may be valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secrets {
    first: Secret,
    second: Option<Secret>,
}

impl Secrets {
    /// The name in `deserialize_newtype_struct`.
    pub const TYPE_NAME: &'static str = "Secrets";

    /// Returns the secret to use first. Objects that are shared by [`Secret::reference`] use this one.
    pub fn first(&self) -> &Secret {
        &self.first
    }

    /// Returns one or two secrets, in the given order.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl From<Secret> for Secrets {
    fn from(first: Secret) -> Self {
        Self { first, second: None }
    }
}

impl Serialize for Secrets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.second {
            None => self.first.serialize(serializer),
            Some(_) => serializer.collect_seq(self.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::TYPE_NAME, SecretsVisitor)
    }
}

struct SecretsVisitor;

/// A value that is not a list is read, and refused, as one secret.
impl<'de> Visitor<'de> for SecretsVisitor {
    type Value = Secrets;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SecretVisitor.expecting(formatter)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secrets, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Secrets, A::Error> {
        let wrong = |found: &str| de::Error::custom(format!("expected one secret or a list of two, found {found}"));
        let first = list.next_element()?.ok_or_else(|| wrong("an empty list"))?;
        let second = list.next_element()?;
        if list.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(wrong("more than two"));
        }
        if second.as_ref() == Some(&first) {
            return Err(wrong("the same secret twice"));
        }
        Ok(Secrets { first, second })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secrets, E> {
        SecretVisitor.visit_str(text).map(Secrets::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secrets, A::Error> {
        SecretVisitor.visit_map(map).map(Secrets::from)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Secrets, E> {
        SecretVisitor.visit_bool(value).map(Secrets::from)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Secrets, E> {
        SecretVisitor.visit_i64(value).map(Secrets::from)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Secrets, E> {
        SecretVisitor.visit_u64(value).map(Secrets::from)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Secrets, E> {
        SecretVisitor.visit_f64(value).map(Secrets::from)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Secrets, E> {
        SecretVisitor.visit_unit().map(Secrets::from)
    }

    fn visit_none<E: de::Error>(self) -> Result<Secrets, E> {
        SecretVisitor.visit_none().map(Secrets::from)
    }
}

impl JsonSchema for Secrets {
    fn schema_name() -> Cow<'static, str> {
        "Secrets".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({
            "title": "secret, or a list of two",
            "description": "A secret, or a list of two of which either may be the good one while the other is replaced.",
            "anyOf": [secret, { "type": "array", "items": secret, "minItems": 1, "maxItems": 2 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_secret_or_a_list_of_two() {
        let read = |text: &str| serde_json::from_str::<Secrets>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"env":"A"}"#).unwrap().iter().count(), 1);
        assert_eq!(read(r#"[{"env":"A"}]"#).unwrap(), read(r#"{"env":"A"}"#).unwrap());
        let two = read(r#"[{"env":"A"},{"file":"/b"}]"#).unwrap();
        assert_eq!(two.iter().map(Secret::reference).collect::<Vec<_>>(), ["env:A", "file:/b"]);
        assert_eq!(serde_json::to_string(&two).unwrap(), r#"[{"env":"A"},{"file":"/b"}]"#);
        for (wrong, part) in [
            ("[]", "an empty list"),
            (r#"[{"env":"A"},{"env":"B"},{"env":"C"}]"#, "more than two"),
            (r#"["c4nary","c4nary"]"#, "twice"),
            (r#"["c4nary",8141592653589793]"#, "a number"),
            ("8141592653589793", "a number"),
            (r#"{"c4nary":1}"#, "another key"),
            ("null", "nothing"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(part) && !error.contains("c4nary") && !error.contains("814159"), "{wrong}: {error}");
        }
    }
}
