use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stream_settings::{sorted, stream_settings, text};
use super::{Agents, Alerts, Include, Pull, SilentAfter, Since, UnifiedAlerts, Vulnerabilities};
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

stream_settings! {
    /// `streams.threats`.
    Threats [_, _, _, own]
    /// Fetched for each threat that is sent, and put into its event: one more request each.
    include: Vec<Include>,
}

impl Threats {
    fn pull(&self) -> Pull {
        Pull { include: sorted(&self.include), ..self.common() }
    }
}

stream_settings! {
    /// `streams.activities`.
    Activities [_, _, _, own]
    /// Activity types that are not delivered.
    exclude_types: Vec<u32>,
    /// Activity types to pull. An empty list pulls all.
    types: Vec<u32>,
    /// Also pull activities that the console's own list hides.
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    include_hidden: bool,
}

impl Activities {
    fn pull(&self) -> Pull {
        Pull {
            exclude_types: sorted(&self.exclude_types),
            types: sorted(&self.types),
            include_hidden: self.include_hidden,
            ..self.common()
        }
    }
}

stream_settings! {
    /// `streams.groups`.
    Groups [_, _, change, never]
}

impl StreamSettings {
    /// The streams named, defaults filled in.
    pub fn pulls(&self) -> Vec<Pull> {
        let Self { threats, activities, agents, alerts, groups, unified_alerts, vulnerabilities } = self;
        let pulls = [
            threats.as_ref().map(Threats::pull),
            activities.as_ref().map(Activities::pull),
            agents.as_ref().map(Agents::pull),
            alerts.as_ref().map(Alerts::pull),
            groups.as_ref().map(Groups::common),
            unified_alerts.as_ref().map(UnifiedAlerts::pull),
            vulnerabilities.as_ref().map(Vulnerabilities::pull),
        ];
        pulls.into_iter().flatten().collect()
    }
}
