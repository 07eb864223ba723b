//! The keys of `streams:` in a pipeline file, and how each stream is pulled.

pub mod pull_settings;
pub mod silent_after;
pub mod since;
pub mod stream_settings;

use std::time::Duration;

use s1_forwarder_record::{Facts, Stream};
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::protocols::List;
use crate::source::streams::pull_description::{DAY, MINUTE, PullDescription, only_main};
use crate::source::streams::{agents, alerts, unified_alerts, vulnerabilities};
use crate::source::{
    ActivityFilter, ActivityInclude, Agents, Alerts, Enrichment, PullSettings, SilentAfter, Since, StreamOptions,
    ThreatInclude, UnifiedAlerts, Vulnerabilities,
};
use stream_settings::{sorted, stream_settings, text};

/// Declares the streams of a pipeline file: the key, the type of its settings, and how it is pulled.
macro_rules! streams {
    ($($(#[doc = $doc:literal])+ $key:ident: $settings:ident = $pulled:path,)+) => {
        /// `streams:` of a pipeline file; only the streams named are pulled.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct StreamSettings {
            $($(#[doc = $doc])+ pub $key: Option<$settings>,)+
        }

        impl StreamSettings {
            /// Returns the pulls of the streams that the settings name, with defaults filled in.
            pub fn pulls(&self) -> Vec<PullSettings> {
                [$(self.$key.as_ref().map($settings::pull)),+].into_iter().flatten().collect()
            }
        }

        pub(super) const fn description_of(stream: Stream) -> &'static PullDescription {
            match stream {
                $(Stream::$settings => &$pulled,)+
            }
        }
    };
}

streams! {
    /// Threats, by the time of their last change.
    threats: Threats = THREATS,
    /// The activity log.
    activities: Activities = ACTIVITIES,
    /// Agents (endpoints): their changes, or the whole inventory again and again.
    agents: Agents = agents::DESCRIPTION,
    /// Alerts of STAR custom rules, and what analysts make of them.
    alerts: Alerts = alerts::DESCRIPTION,
    /// Groups of endpoints, by the time of their last change.
    groups: Groups = GROUPS,
    /// Unified alerts: the detections of all products in one list.
    unified_alerts: UnifiedAlerts = unified_alerts::DESCRIPTION,
    /// Application findings.
    vulnerabilities: Vulnerabilities = vulnerabilities::DESCRIPTION,
}

const THREATS: PullDescription = PullDescription {
    interval: MINUTE,
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_mins(5),
    protocol: &List,
    windows_by_creation: false,
    own: || StreamOptions::Threats(Vec::new()),
    passes: only_main,
};

stream_settings! {
    /// `streams.threats`.
    Threats [_, _, _, own]
    /// Fetched for each threat that is sent, and put into its event: one more request each.
    include: Vec<ThreatInclude>,
}

impl Threats {
    fn pull(&self) -> PullSettings {
        PullSettings { own: StreamOptions::Threats(sorted(&self.include)), ..self.common() }
    }
}

impl PullSettings {
    /// Returns the data that is fetched in addition to the records; `None` if there is none.
    pub fn addition(&self) -> Option<Enrichment<'_>> {
        match &self.own {
            StreamOptions::Threats(include) if !include.is_empty() => Some(Enrichment::Lists(include)),
            StreamOptions::Activities(activities) if activities.with_threats => Some(Enrichment::Threats),
            _ => None,
        }
    }
}

const ACTIVITIES: PullDescription = PullDescription {
    interval: Duration::from_secs(30),
    since: Since::Ago(Period(DAY)),
    overlap: Duration::from_mins(5),
    protocol: &List,
    windows_by_creation: false,
    own: || StreamOptions::Activities(ActivityFilter::default()),
    passes: only_main,
};

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
    /// Fetched for activities, and put into the lines of a `syslog` sink with `content: integration`: one more request
    /// for up to 100 threats. Other sinks do not get it.
    include: Vec<ActivityInclude>,
}

impl Activities {
    fn pull(&self) -> PullSettings {
        let own = ActivityFilter {
            exclude_types: sorted(&self.exclude_types),
            types: sorted(&self.types),
            with_threats: self.include.contains(&ActivityInclude::Threat),
        };
        let filters = self.include_hidden.then(|| ("includeHidden", "true".to_owned())).into_iter().collect();
        PullSettings { filters, own: StreamOptions::Activities(own), ..self.common() }
    }
}

impl PullSettings {
    pub fn activities(&self) -> Option<&ActivityFilter> {
        if let StreamOptions::Activities(activities) = &self.own { Some(activities) } else { None }
    }

    /// Returns [`ActivityFilter::exclude_types`]; empty for other streams.
    pub fn excluded_types(&self) -> &[u32] {
        self.activities().map_or(&[], |activities| &activities.exclude_types)
    }

    /// Returns the pull without exclusions: it has the records that the settings exclude by their type, too.
    #[must_use]
    pub fn without_exclusions(&self) -> Self {
        let mut pull = self.clone();
        if let StreamOptions::Activities(activities) = &mut pull.own {
            activities.exclude_types.clear();
        }
        pull
    }

    /// Returns whether the settings exclude a record by its type.
    pub(super) fn excludes(&self, facts: &Facts<'_>) -> bool {
        facts.activity_type.is_some_and(|kind| self.excluded_types().binary_search(&kind).is_ok())
    }

    /// Returns the pull of the records that the console lists and the program drops; `None` if there are none.
    pub(super) fn excluded(&self) -> Option<Self> {
        let own = StreamOptions::Activities(self.activities()?.excluded()?);
        Some(Self { own, ..self.clone() })
    }
}

const GROUPS: PullDescription = PullDescription {
    interval: Duration::from_mins(15),
    since: Since::Beginning,
    overlap: Duration::from_mins(5),
    protocol: &List,
    windows_by_creation: false,
    own: || StreamOptions::Nothing,
    passes: only_main,
};

stream_settings! {
    /// `streams.groups`.
    Groups [_, _, change, never]
}

impl Groups {
    fn pull(&self) -> PullSettings {
        self.common()
    }
}
