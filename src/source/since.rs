use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::Timestamp;
use crate::settings::Period;

/// `since`: where the first run of a lane begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", title = "start time")]
pub enum Since {
    /// A period before the first start.
    Ago(Period),
    /// A moment.
    At(Timestamp),
    /// The first start.
    Now,
    /// All that the console still has.
    Beginning,
}

/// As settings write it.
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
        let text = String::deserialize(deserializer)?;
        let since = match text.as_str() {
            "now" => Some(Self::Now),
            "beginning" => Some(Self::Beginning),
            _ => Timestamp::parse(&text).map(Self::At).or_else(|_| text.parse().map(Self::Ago)).ok(),
        };
        since.ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is neither a period (30d), a time with zone (2026-01-31T00:00:00Z), `now` nor `beginning`"
            ))
        })
    }
}
