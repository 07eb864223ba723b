use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Window;
use super::window::comma_list;
use crate::record::{Stream, Timestamp};
use crate::settings::Period;

/// `streams:` of a pipeline file; only the streams named are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Threats, by the time of their last change.
    pub threats: Option<Threats>,
    /// The activity log.
    pub activities: Option<Activities>,
}

/// `streams.threats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Threats {
    /// Time between polls; default 60s.
    pub interval: Option<Period>,
    /// Where the first run begins; default 1d.
    pub since: Option<Since>,
    /// How late a record may become visible and still be caught; default 5m.
    pub overlap: Option<Period>,
}

/// `streams.activities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Activities {
    /// Time between polls; default 30s.
    pub interval: Option<Period>,
    /// Where the first run begins; default 1d.
    pub since: Option<Since>,
    /// How late a record may become visible and still be caught; default 5m.
    pub overlap: Option<Period>,
    /// Activity types that are dropped.
    pub exclude_types: Vec<u32>,
    /// Activity types to pull; default all.
    pub types: Vec<u32>,
    /// Also pull activities that the console's own list hides.
    pub include_hidden: bool,
}

/// `since`: where the first run of a lane begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
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

/// One stream's settings with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// The stream.
    pub stream: Stream,
    /// Time between polls.
    pub interval: Duration,
    /// Where the first run begins.
    pub since: Since,
    /// How late a record may become visible and still be caught.
    pub overlap: Duration,
    /// Activity types that are dropped, sorted.
    pub exclude_types: Vec<u32>,
    /// Activity types to pull, all when empty, sorted.
    pub types: Vec<u32>,
    /// Also pull hidden activities.
    pub include_hidden: bool,
    /// Pulled once instead of polled for ever.
    pub window: Option<Window>,
}

const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_OVERLAP: Duration = Duration::from_secs(300);

impl Pull {
    /// What narrows down the records that the console is asked for, besides its scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        let types = comma_list(&self.types);
        let hidden = if self.include_hidden { "&includeHidden=true" } else { "" };
        if types.is_empty() { hidden.to_owned() } else { format!("&activityTypes={types}{hidden}") }
    }
}

impl Settings {
    /// The streams named, defaults filled in.
    pub fn pulls(&self) -> Vec<Pull> {
        let threats = self.threats.as_ref().map(|threats| Pull {
            interval: threats.interval.map_or(Duration::from_secs(60), |period| period.0),
            ..pull(Stream::Threats, threats.since, threats.overlap)
        });
        let activities = self.activities.as_ref().map(|activities| Pull {
            interval: activities.interval.map_or(Duration::from_secs(30), |period| period.0),
            exclude_types: sorted(&activities.exclude_types),
            types: sorted(&activities.types),
            include_hidden: activities.include_hidden,
            ..pull(Stream::Activities, activities.since, activities.overlap)
        });
        threats.into_iter().chain(activities).collect()
    }
}

fn pull(stream: Stream, since: Option<Since>, overlap: Option<Period>) -> Pull {
    Pull {
        stream,
        interval: Duration::from_secs(60),
        since: since.unwrap_or(Since::Ago(Period(DAY))),
        overlap: overlap.map_or(DEFAULT_OVERLAP, |period| period.0),
        exclude_types: Vec::new(),
        types: Vec::new(),
        include_hidden: false,
        window: None,
    }
}

fn sorted(types: &[u32]) -> Vec<u32> {
    let mut types = types.to_vec();
    types.sort_unstable();
    types.dedup();
    types
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
        match text.as_str() {
            "now" => return Ok(Self::Now),
            "beginning" => return Ok(Self::Beginning),
            _ => {}
        }
        if let Ok(time) = Timestamp::parse(&text) {
            return Ok(Self::At(time));
        }
        let period =
            Period::deserialize(serde::de::value::StringDeserializer::<serde::de::value::Error>::new(text.clone()));
        period.map(Self::Ago).map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is neither a period (30d), a time with zone (2026-01-31T00:00:00Z), `now` nor `beginning`"
            ))
        })
    }
}
