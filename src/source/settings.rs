use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chain::track_name;
use super::window::comma_list;
use super::{By, Findings, Keys, MAIN, Pass, Vulnerabilities, Window};
use crate::console::Endpoint;
use crate::record::{Scope, Stream, Timestamp};
use crate::settings::Period;

/// `streams:` of a pipeline file; only the streams named are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Threats, by the time of their last change.
    pub threats: Option<Threats>,
    /// The activity log.
    pub activities: Option<Activities>,
    /// Unified alerts: the detections of all products in one list.
    pub unified_alerts: Option<UnifiedAlerts>,
    /// Application findings.
    pub vulnerabilities: Option<Vulnerabilities>,
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

/// `streams.unified_alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnifiedAlerts {
    /// Time between polls; default 60s.
    pub interval: Option<Period>,
    /// Where the first run begins; default 1d.
    pub since: Option<Since>,
    /// How late an alert may become visible and still be caught; default 5m.
    pub overlap: Option<Period>,
    /// Products that detect, as the console spells them (EDR, CWS, STAR, Identity, …); default all.
    pub products: Vec<String>,
    /// The console's view to pull; default all.
    pub view: AlertView,
}

/// A view of the console's list of unified alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertView {
    /// Everything that the token may see.
    #[default]
    All,
    /// Endpoints.
    Endpoint,
    /// Identities.
    Identity,
    /// Cloud workloads and posture.
    Cloud,
    /// Custom rules (STAR).
    CustomAlerts,
    /// Other makers' products.
    ThirdParty,
    /// Data loss prevention; newer consoles.
    Dlp,
}

impl AlertView {
    /// The console's word, where it is not everything.
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Endpoint => Some("ENDPOINT"),
            Self::Identity => Some("IDENTITY"),
            Self::Cloud => Some("CLOUD"),
            Self::CustomAlerts => Some("CUSTOM_ALERTS"),
            Self::ThirdParty => Some("THIRD_PARTY"),
            Self::Dlp => Some("DLP"),
        }
    }
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
    /// A complete snapshot is followed by an event that says so.
    pub marker: bool,
    /// Products of unified alerts; all when empty.
    pub products: Vec<String>,
    /// The console's view of unified alerts, where not all.
    pub view: Option<&'static str>,
    /// How findings are read.
    pub findings: Option<Findings>,
}

/// How often unified alerts are looked for by their detection.
const NET_EVERY: Duration = Duration::from_secs(15 * 60);
const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_OVERLAP: Duration = Duration::from_secs(300);

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
        let unified_alerts = self.unified_alerts.as_ref().map(|alerts| Pull {
            interval: alerts.interval.map_or(Duration::from_secs(60), |period| period.0),
            products: alerts.products.clone(),
            view: alerts.view.word(),
            ..pull(Stream::UnifiedAlerts, alerts.since, alerts.overlap)
        });
        let base = || pull(Stream::Vulnerabilities, None, None);
        let vulnerabilities = self.vulnerabilities.as_ref().map(|findings| findings.pull(base()));
        threats.into_iter().chain(activities).chain(unified_alerts).chain(vulnerabilities).collect()
    }
}

impl Pull {
    /// A stream with nothing but defaults.
    pub fn of(stream: Stream) -> Self {
        pull(stream, None, None)
    }

    /// What narrows down the records that the console is asked for, besides its scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        let types = comma_list(&self.types);
        let hidden = if self.include_hidden { "&includeHidden=true" } else { "" };
        let findings = self.findings.as_ref().map(Findings::narrowed_by).unwrap_or_default();
        let view = self.view.map(|view| format!("&viewType={view}")).unwrap_or_default();
        let products = match self.products.is_empty() {
            true => String::new(),
            false => format!("&products={}", self.products.join(",")),
        };
        let types = if types.is_empty() { types } else { format!("&activityTypes={types}") };
        format!("{types}{hidden}{products}{view}{findings}")
    }

    /// The passes over the stream, the one that brings what is new first.
    pub fn passes(&self) -> Vec<Pass> {
        let Endpoint { sort_by, time_filter, .. } = self.endpoint();
        let main = Pass {
            name: MAIN.into(),
            sort_by,
            time_filter,
            by: self.by(),
            every: self.interval,
            reach: self.overlap,
            keys: Keys::Versions,
            snapshot: false,
            chain: None,
        };
        match (&self.findings, self.stream) {
            _ if self.window.is_some() => vec![main],
            (_, Stream::UnifiedAlerts) => {
                let Endpoint { sort_by, time_filter, .. } = Endpoint::by_creation(self.stream);
                // What was never updated, or became visible too late for the first pass.
                let (every, reach) = (self.interval.max(NET_EVERY), self.overlap.max(DAY));
                let net =
                    Pass { name: "net".into(), sort_by, time_filter, by: By::Creation, every, reach, ..main.clone() };
                vec![main, net]
            }
            (Some(findings), _) => {
                let chain = |scope: Option<Arc<Scope>>| Pass {
                    name: scope.as_deref().map_or(MAIN.into(), track_name),
                    keys: Keys::Latest,
                    chain: Some(scope),
                    ..main.clone()
                };
                findings.chains().into_iter().map(chain).collect()
            }
            _ => vec![main],
        }
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
        marker: false,
        products: Vec::new(),
        view: None,
        findings: None,
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
