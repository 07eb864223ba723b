//! The key `since` of a stream: a time, a period before now, or `now`.

use std::fmt;

use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `since`: where the first run of a lane begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", title = "start time", extend("x-kind" = SettingKind::Text))]
pub enum Since {
    /// A period before the first start.
    Ago(Period),
    /// A moment; in settings also a day in UTC.
    At(Timestamp),
    /// The first start.
    Now,
    /// All that the console still has.
    Beginning,
}

/// Writes the value as the key `since` has it.
impl fmt::Display for Since {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(period) => period.fmt(formatter),
            Self::At(time) => time.fmt(formatter),
            Self::Now => formatter.write_str("now"),
            Self::Beginning => formatter.write_str("beginning"),
        }
    }
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SinceVisitor)
    }
}

struct SinceVisitor;

impl Visitor<'_> for SinceVisitor {
    type Value = Since;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a period such as 30d, a time, `now` or `beginning`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Since, E> {
        let since = match text {
            "now" => Some(Since::Now),
            "beginning" => Some(Since::Beginning),
            _ => Timestamp::parse_or_day(text).map(Since::At).or_else(|_| text.parse().map(Since::Ago)).ok(),
        };
        since.ok_or_else(|| {
            E::custom(format!(
                "`{text}` is neither a period (30d), a time with zone (2026-01-31T00:00:00Z), a day in UTC (2026-01-31), `now` \
                 nor `beginning`"
            ))
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Since, E> {
        Err(E::custom(format!("expected a period such as {number}d, found {number} without a unit (ms, s, m, h, d)")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_the_times_that_flags_take() {
        let read = |text: &str| serde_json::from_value::<Since>(text.into()).map_err(|error| error.to_string());
        let day = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
        assert_eq!(read("2026-11-01"), Ok(Since::At(day)));
        assert_eq!(read("2026-11-01T00:00:00Z"), Ok(Since::At(day)));
        assert_eq!(read("30d").unwrap().to_string(), "30d");
        assert!(read("2026-11-01T00:00:00").unwrap_err().contains("a day in UTC (2026-01-31)"));
    }
}
