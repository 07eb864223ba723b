//! Durations in settings, such as `5m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::kind::SettingKind;

/// A duration in settings: `500ms`, `60s`, `5m`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period(pub Duration);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// A number alone could mean seconds or minutes.
    #[error("a period needs a unit, such as {0}s or {0}m (ms, s, m, h, d)")]
    NoUnit(String),
    #[error("`{0}` is not a period such as 500ms, 60s, 5m, 12h or 30d")]
    NotAPeriod(String),
    #[error("`{0}` is longer than 100 years")]
    TooLong(String),
}

/// Units in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// 100 years in milliseconds. The sum with a current timestamp cannot overflow.
const MAX_MILLIS: u64 = 36_525 * 86_400_000;

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() {
            return Err(PeriodError::NotAPeriod(text.to_owned()));
        }
        let number_text = number;
        let number: u64 = number.parse().map_err(|_| PeriodError::TooLong(text.to_owned()))?;
        if unit.is_empty() && number != 0 {
            return Err(PeriodError::NoUnit(number_text.to_owned()));
        }
        let millis = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, millis)) => *millis,
            None if unit.is_empty() => 1,
            None => return Err(PeriodError::NotAPeriod(text.to_owned())),
        };
        match number.checked_mul(millis) {
            Some(total) if total <= MAX_MILLIS => Ok(Self(Duration::from_millis(total))),
            _ => Err(PeriodError::TooLong(text.to_owned())),
        }
    }
}

/// Prints the shortest exact form. Fractions of a millisecond are dropped.
impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return formatter.write_str("0s");
        }
        let exact = UNITS.iter().find(|(_, unit)| millis.is_multiple_of(*unit));
        let (name, unit) = exact.copied().unwrap_or(("ms", 1));
        write!(formatter, "{}{name}", millis / unit)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a period such as 60s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Period, E> {
        if number == 0 {
            return Ok(Period(Duration::ZERO));
        }
        Err(E::custom(format!("expected a period such as {number}s, found {number} without a unit (ms, s, m, h, d)")))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Period, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format!("expected a period such as 60s, found {number}"))),
        }
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "duration",
            "x-kind": SettingKind::Period,
            "type": "string",
            "description": "A length of time: 500ms, 60s, 5m, 12h, 30d.",
            "pattern": "^(0|[0-9]+(ms|s|m|h|d))$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_reads_and_prints() {
        for (text, millis) in
            [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("12h", 43_200_000), ("30d", 2_592_000_000), ("0", 0)]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.0, Duration::from_millis(millis), "{text}");
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period, "{text}");
        }
        assert_eq!(Period(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(Period(Duration::from_mins(2)).to_string(), "2m");
    }

    #[test]
    fn ambiguous_or_too_long_periods_are_refused_with_advice() {
        for (text, expected) in [
            ("60", "a period needs a unit, such as 60s or 60m (ms, s, m, h, d)"),
            ("1.5h", "`1.5h` is not a period such as 500ms, 60s, 5m, 12h or 30d"),
            ("-5s", "`-5s` is not a period such as 500ms, 60s, 5m, 12h or 30d"),
            ("5 minutes", "`5 minutes` is not a period such as 500ms, 60s, 5m, 12h or 30d"),
            ("", "`` is not a period such as 500ms, 60s, 5m, 12h or 30d"),
            ("99999999999999999999s", "`99999999999999999999s` is longer than 100 years"),
            ("40000d", "`40000d` is longer than 100 years"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap_err().to_string(), expected);
        }
        let number = serde_json::from_str::<Period>("60").unwrap_err().to_string();
        assert!(number.starts_with("expected a period such as 60s, found 60"), "{number}");
    }
}
