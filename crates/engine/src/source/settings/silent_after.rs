//! The key `silent_after` of a stream.

use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `streams.*.silent_after`: how long the console may show no new record before the lane is reported as silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", title = "auto, off or a period", extend("x-kind" = SettingKind::Text))]
pub enum SilentAfter {
    /// By the lane's own rhythm.
    #[default]
    Auto,
    /// After this time, whatever the rhythm is.
    Period(Period),
    /// Never.
    Off,
}

impl Serialize for SilentAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Period(period) => serializer.collect_str(period),
            Self::Off => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for SilentAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            period => period
                .parse()
                .map(Self::Period)
                .map_err(|_| serde::de::Error::custom(format!("`{text}` is neither a period (36h), `auto` nor `off`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_are_words_or_periods() {
        let read = |text: &str| serde_json::from_value::<SilentAfter>(text.into()).map_err(|error| error.to_string());
        for (text, expected) in [
            ("auto", SilentAfter::Auto),
            ("off", SilentAfter::Off),
            ("36h", SilentAfter::Period(Period(Duration::from_hours(36)))),
        ] {
            assert_eq!(read(text), Ok(expected));
            assert_eq!(serde_json::to_value(expected).unwrap(), text);
        }
        assert!(read("never").unwrap_err().contains("`auto` nor `off`"));
    }
}
