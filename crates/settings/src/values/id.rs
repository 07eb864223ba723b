//! The ids of accounts, sites and groups in settings.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::kind::SettingKind;

/// An id of the console: decimal digits, kept as text, with or without quotes in YAML and JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Id(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error(
        "`{0}` is not an id of the console: ids are decimal numbers of 18 or 19 digits, such as 225494730938493804"
    )]
    NotDigits(String),
    /// The console answers 400 to a filter with such an id.
    #[error(
        "`{0}` is too short for an id of the console, which refuses ids below 100000000000000000 (18 digits): \
         was it shortened, or copied from another place?"
    )]
    TooShort(String),
    /// More than 64 bits.
    #[error("`{0}` is too long for an id of the console (18 or 19 digits)")]
    TooLong(String),
}

/// Smallest id. The console refuses filters with smaller ids.
const MIN_ID: u64 = 100_000_000_000_000_000;

impl Id {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim();
        if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(IdError::NotDigits(text.to_owned()));
        }
        match digits.parse::<u64>() {
            Ok(number) if number < MIN_ID || digits.starts_with('0') => Err(IdError::TooShort(text.to_owned())),
            Ok(_) => Ok(Self(digits.to_owned())),
            Err(_) => Err(IdError::TooLong(text.to_owned())),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an id of the console, such as 225494730938493804")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl JsonSchema for Id {
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "id",
            "x-kind": SettingKind::Text,
            "type": ["string", "integer"],
            "description": "An id of the console: 18 or 19 digits, quotes optional.",
            "pattern": "^[0-9]{18,20}$",
            "minimum": MIN_ID,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_exact_with_and_without_quotes() {
        for json in ["\"225494730938493804\"", "225494730938493804", "\" 225494730938493804 \""] {
            assert_eq!(serde_json::from_str::<Id>(json).unwrap().as_str(), "225494730938493804");
        }
        assert_eq!(serde_json::from_str::<Id>("9223372036854775807").unwrap().as_str(), "9223372036854775807");
    }

    #[test]
    fn ids_that_the_console_would_refuse_are_refused() {
        for (text, part) in [
            ("acme", "is not an id"),
            ("", "is not an id"),
            ("2.25494730938493804e17", "is not an id"),
            ("12345", "too short"),
            ("99999999999999999", "too short"),
            ("225494730938493804225494730938493804", "too long"),
        ] {
            assert!(text.parse::<Id>().unwrap_err().to_string().contains(part), "{text}");
        }
        assert!("100000000000000000".parse::<Id>().is_ok());
        assert!(serde_json::from_str::<Id>("-225494730938493804").is_err());
        assert!(serde_json::from_str::<Id>("2.25494730938493804e17").is_err());
    }
}
