use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::findings::DEFAULT_RESYNC;
use super::{Findings, Include, Pull, SilentAfter, Since};
use crate::record::Stream;
use crate::settings::{Period, SettingKind};

/// `streams:` of a pipeline file; only the streams named are pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// Threats, by the time of their last change.
    pub threats: Option<Threats>,
    /// The activity log.
    pub activities: Option<Activities>,
    /// Agents (endpoints): their changes, or the whole inventory again and again.
    pub agents: Option<Agents>,
    /// Alerts of STAR custom rules, and what analysts make of them.
    pub alerts: Option<Alerts>,
    /// Groups of endpoints, by the time of their last change.
    pub groups: Option<Groups>,
    /// Unified alerts: the detections of all products in one list.
    pub unified_alerts: Option<UnifiedAlerts>,
    /// Application findings.
    pub vulnerabilities: Option<Vulnerabilities>,
}

/// `streams.threats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Threats {
    /// Time between polls.
    pub interval: Option<Period>,
    /// Where the first run begins.
    pub since: Option<Since>,
    /// How late a record may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the
    /// lane's own rhythm) or `off`.
    pub silent_after: SilentAfter,
    /// Fetched for each threat that is sent, and put into its event: one more request each.
    pub include: Vec<Include>,
}

/// `streams.activities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Activities {
    /// Time between polls.
    pub interval: Option<Period>,
    /// Where the first run begins.
    pub since: Option<Since>,
    /// How late a record may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the
    /// lane's own rhythm) or `off`.
    pub silent_after: SilentAfter,
    /// Activity types that are not delivered.
    pub exclude_types: Vec<u32>,
    /// Activity types to pull. An empty list pulls all.
    pub types: Vec<u32>,
    /// Also pull activities that the console's own list hides.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub include_hidden: bool,
}

/// `streams.agents`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Agents {
    /// Time between polls, or between snapshots.
    pub interval: Option<Period>,
    /// Where the first run begins; in a snapshot, when the oldest agents were created.
    pub since: Option<Since>,
    /// How late a change may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the
    /// lane's own rhythm) or `off`.
    pub silent_after: SilentAfter,
    /// Changes as they come, or full inventories.
    pub mode: Mode,
    /// Keys of the record that change with every check-in of an agent: an agent in which nothing else changed is not
    /// sent again. An empty list turns this off, and every check-in is sent.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub volatile: Option<Vec<String>>,
    /// Also pull agents that were decommissioned.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub include_decommissioned: bool,
    /// With `mode: snapshot`: when a snapshot is complete, send an event that says so, with the number of agents.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub marker: bool,
}

/// `streams.agents.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Agents that changed since the last poll; all of them the first time.
    #[default]
    Changes,
    /// All agents, at every interval.
    Snapshot,
}

/// `streams.alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Time between polls for new alerts.
    pub interval: Option<Period>,
    /// Where the first run begins.
    pub since: Option<Since>,
    /// How late an alert may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the
    /// lane's own rhythm) or `off`.
    pub silent_after: SilentAfter,
    /// How long after its creation an alert is looked at again, every 10 minutes, for another status or verdict;
    /// `0s` turns this off.
    pub lookback: Option<Period>,
}

/// `streams.groups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    /// Time between polls.
    pub interval: Option<Period>,
    /// Where the first run begins.
    pub since: Option<Since>,
    /// How late a change may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// `auto` or `off`, which are the same here: this stream is never reported as silent.
    pub silent_after: SilentAfter,
}

/// `streams.unified_alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UnifiedAlerts {
    /// Time between polls.
    pub interval: Option<Period>,
    /// Where the first run begins.
    pub since: Option<Since>,
    /// How late an alert may become visible and still be caught.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// How long the console may show no new record before the lane is reported as silent: a period, `auto` (by the
    /// lane's own rhythm) or `off`.
    pub silent_after: SilentAfter,
    /// Products that detect, as the console spells them (EDR, CWS, STAR, Identity, …). An empty list pulls all.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub products: Vec<String>,
    /// The console's view to pull.
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
    pub(super) const fn word(self) -> Option<&'static str> {
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

/// `streams.vulnerabilities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vulnerabilities {
    /// Time between windows.
    pub interval: Option<Period>,
    /// Where the first run begins; `beginning` is everything open.
    pub since: Option<Since>,
    /// How far each window reaches back into the one before it.
    #[schemars(extend("x-kind" = SettingKind::RememberedPeriod))]
    pub overlap: Option<Period>,
    /// `auto` or `off`, which are the same here: this stream is never reported as silent.
    pub silent_after: SilentAfter,
    /// Severities to pull. An empty list pulls all.
    pub severities: Vec<FindingSeverity>,
    /// Also pull findings that are gone, as `status: Removed`.
    #[schemars(extend("default" = true))]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub include_removed: Option<bool>,
    /// Time between two sweeps over everything that is open.
    #[schemars(extend("default" = Period(DEFAULT_RESYNC)))]
    pub resync: Option<Period>,
}

/// A severity that findings can be asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingSeverity {
    /// 9.0 and more.
    #[serde(alias = "CRITICAL")]
    Critical,
    /// 7.0 to 8.9.
    #[serde(alias = "HIGH")]
    High,
    /// 4.0 to 6.9.
    #[serde(alias = "MEDIUM")]
    Medium,
    /// Below 4.0.
    #[serde(alias = "LOW")]
    Low,
}

impl FindingSeverity {
    /// As the console spells it.
    const fn word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

impl StreamSettings {
    /// The streams named, defaults filled in.
    pub fn pulls(&self) -> Vec<Pull> {
        let Self { threats, activities, agents, alerts, groups, unified_alerts, vulnerabilities } = self;
        let threats = threats.as_ref().map(|given| Pull {
            include: sorted(&given.include),
            ..pull(Stream::Threats, given.interval, given.since, given.overlap, given.silent_after)
        });
        let activities = activities.as_ref().map(|given| Pull {
            exclude_types: sorted(&given.exclude_types),
            types: sorted(&given.types),
            include_hidden: given.include_hidden,
            ..pull(Stream::Activities, given.interval, given.since, given.overlap, given.silent_after)
        });
        let agents = agents.as_ref().map(|given| {
            let usual = pull(Stream::Agents, given.interval, given.since, given.overlap, given.silent_after);
            Pull {
                snapshot: given.mode == Mode::Snapshot,
                volatile: given.volatile.as_deref().map_or(usual.volatile, sorted),
                include_decommissioned: given.include_decommissioned,
                marker: given.marker,
                ..usual
            }
        });
        let alerts = alerts.as_ref().map(|given| {
            let usual = pull(Stream::Alerts, given.interval, given.since, given.overlap, given.silent_after);
            Pull { lookback: given.lookback.map_or(usual.lookback, |period| period.0), ..usual }
        });
        let groups = groups
            .as_ref()
            .map(|given| pull(Stream::Groups, given.interval, given.since, given.overlap, given.silent_after));
        let unified_alerts = unified_alerts.as_ref().map(|given| Pull {
            products: given.products.clone(),
            view: given.view.word(),
            ..pull(Stream::UnifiedAlerts, given.interval, given.since, given.overlap, given.silent_after)
        });
        let vulnerabilities = vulnerabilities.as_ref().map(|given| Pull {
            findings: Some(findings(given)),
            ..pull(Stream::Vulnerabilities, given.interval, given.since, given.overlap, given.silent_after)
        });
        [threats, activities, agents, alerts, groups, unified_alerts, vulnerabilities].into_iter().flatten().collect()
    }
}

fn pull(
    stream: Stream,
    interval: Option<Period>,
    since: Option<Since>,
    overlap: Option<Period>,
    silent_after: SilentAfter,
) -> Pull {
    let usual = Pull::of(stream);
    let or = |given: Option<Period>, usual: Duration| given.map_or(usual, |period| period.0);
    Pull {
        interval: or(interval, usual.interval),
        since: since.unwrap_or(usual.since),
        overlap: or(overlap, usual.overlap),
        silent_after,
        ..usual
    }
}

fn findings(given: &Vulnerabilities) -> Findings {
    let usual = Findings::default();
    Findings {
        severities: given.severities.iter().map(|severity| severity.word()).collect::<Vec<_>>().join(","),
        include_removed: given.include_removed.unwrap_or(usual.include_removed),
        resync: given.resync.map_or(usual.resync, |period| period.0),
        ..usual
    }
}

fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}
