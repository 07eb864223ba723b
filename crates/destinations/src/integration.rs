//! The names that the destinations' own SentinelOne integrations have for the records of each stream.
//! docs/integrations.md lists them.

use s1_forwarder_record::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BuildError;

/// `content:` of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Events and names of the forwarder.
    #[default]
    Forwarder,
    /// The console's own records in the form and under the names of the destination's own SentinelOne integration.
    Integration,
}

impl Content {
    /// Returns the destination's `own` integration if the sink sends its content.
    pub(crate) fn integration(self, own: &'static Integration) -> Option<&'static Integration> {
        (self == Self::Integration).then_some(own)
    }

    /// Checks that no envelope is around the records of an integration.
    pub(crate) fn check_envelope(self, has_envelope: bool) -> Result<(), BuildError> {
        if self == Self::Integration && has_envelope {
            let problem = "excludes `content: integration`: the integration reads the keys of the record itself";
            return Err(BuildError::value("envelope", problem));
        }
        Ok(())
    }
}

/// The SentinelOne content of one destination.
#[derive(Debug, PartialEq, Eq)]
pub struct Integration {
    /// The type of its sink.
    pub sink: &'static str,
    /// Name of the integration in texts, such as "Splunk's app".
    pub title: &'static str,
    /// Word for the kind of `names`, such as "source type".
    pub what: &'static str,
    /// Names of the streams that the integration knows.
    pub names: &'static [(Stream, &'static str)],
    /// Clause that says what becomes of the objects that `include` puts into records; `None` if fields keep them.
    pub included: Option<&'static str>,
    /// Whether the integration has a place for `labels`.
    pub has_labels: bool,
    /// A stream whose events another stream reports too. A sink accepts only one of both.
    pub(crate) repeats: Option<Repeats>,
}

/// Two streams, of which `other` reports the events of `stream` as well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeats {
    stream: Stream,
    other: Stream,
    why: &'static str,
}

/// A name is the part of the data set after `sentinel_one.`.
pub(crate) const ELASTICSEARCH: Integration = Integration {
    sink: "elasticsearch",
    title: "Elastic's integration",
    what: "data set",
    names: &[
        (Stream::Threats, "threat"),
        (Stream::Activities, "activity"),
        (Stream::Agents, "agent"),
        (Stream::Alerts, "alert"),
        (Stream::Groups, "group"),
        (Stream::UnifiedAlerts, "unified_alert"),
        (Stream::Vulnerabilities, "application_risk"),
    ],
    included: Some("whose ingest pipeline leaves it out"),
    has_labels: true,
    repeats: None,
};

pub(crate) const SPLUNK_HEC: Integration = Integration {
    sink: "splunk_hec",
    title: "Splunk's app",
    what: "source type",
    names: &[
        (Stream::Threats, "sentinelone:channel:threats"),
        (Stream::Activities, "sentinelone:channel:activities"),
        (Stream::Agents, "sentinelone:channel:agents"),
        (Stream::Groups, "sentinelone:channel:groups"),
        (Stream::UnifiedAlerts, "sentinelone:channel:uam_alerts"),
        (Stream::Vulnerabilities, "sentinelone:channel:application_management:risks"),
    ],
    included: None,
    has_labels: true,
    repeats: None,
};

/// The names follow no pattern: they are the names of two of Microsoft's rules.
pub(crate) const AZURE_LOGS: Integration = Integration {
    sink: "azure_logs",
    title: "Microsoft's solution",
    what: "stream of a data collection rule",
    names: &[
        (Stream::Threats, "Custom-SentinelOneThreats_API"),
        (Stream::Activities, "Custom-SentinelOneActivities_CL"),
        (Stream::Agents, "Custom-SentinelOneAgents_CL"),
        (Stream::Alerts, "Custom-SentinelOneAlerts_API"),
        (Stream::Groups, "Custom-SentinelOneGroups_CL"),
        (Stream::UnifiedAlerts, "Custom-SentinelOneAlertsV2_CL"),
    ],
    included: Some("whose tables have no column for it: it is left out there"),
    has_labels: false,
    repeats: None,
};

pub(crate) const GOOGLE_SECOPS: Integration = Integration {
    sink: "google_secops",
    title: "Google SecOps",
    what: "log type",
    names: &[
        (Stream::Threats, "SENTINELONE_ALERT"),
        (Stream::Activities, "SENTINELONE_ACTIVITY"),
        (Stream::Alerts, "SENTINELONE_ALERT"),
    ],
    included: Some("whose parser does not read it: only the raw log has it"),
    has_labels: true,
    repeats: None,
};

/// The intake recognises the kind of a record by its keys.
pub(crate) const SEKOIA: Integration = Integration {
    sink: "sekoia",
    title: "Sekoia.io",
    what: "format",
    names: &[(Stream::Threats, "SentinelOne EDR"), (Stream::Activities, "SentinelOne EDR")],
    included: Some("whose parser does not read it: only the raw event has it"),
    has_labels: false,
    repeats: None,
};

/// The user attaches the schema to the source.
pub(crate) const PANTHER: Integration = Integration {
    sink: "panther",
    title: "Panther",
    what: "schema",
    names: &[(Stream::Activities, "SentinelOne.Activity")],
    included: None,
    has_labels: false,
    repeats: None,
};

pub(crate) const DATADOG: Integration = Integration {
    sink: "datadog",
    title: "Datadog's integration",
    what: "tag `endpoint`",
    names: &[
        (Stream::Threats, "threats"),
        (Stream::Activities, "activities"),
        (Stream::Alerts, "cloud_detection_alerts"),
    ],
    included: None,
    has_labels: true,
    repeats: None,
};

/// Sets the event ids of Cloud SIEM from the keys of the record.
const SUMO_PARSER: &str = "/Parsers/System/SentinelOne/SentinelOne MGMT API";

/// The parser knows no alerts. Cloud SIEM finds its mapping for them by an event id that the sender gives.
pub(crate) const SUMO: Integration = Integration {
    sink: "sumo",
    title: "Sumo Logic",
    what: "parser or event id",
    names: &[
        (Stream::Threats, SUMO_PARSER),
        (Stream::Activities, SUMO_PARSER),
        (Stream::Agents, SUMO_PARSER),
        (Stream::Alerts, "alerts"),
    ],
    included: None,
    has_labels: true,
    repeats: None,
};

/// The vendor and product of the lines that the console itself sends by syslog.
const SYSLOG_PRODUCT: &str = "SentinelOne Mgmt";

pub(crate) const SYSLOG: Integration = Integration {
    sink: "syslog",
    title: "the console's own syslog",
    what: "line",
    names: &[(Stream::Threats, SYSLOG_PRODUCT), (Stream::Activities, SYSLOG_PRODUCT)],
    included: Some("whose lines have no key for it: it is left out there"),
    has_labels: false,
    repeats: Some(Repeats {
        stream: Stream::Threats,
        other: Stream::Activities,
        why: "a detection is in both, and each change of a threat would be notified as another detection",
    }),
};

/// In its other dialect, in which the console notifies of unified alerts too.
pub(crate) const SYSLOG_CEF2: Integration = Integration {
    what: "line with `payload: cef2`",
    names: &[
        (Stream::Threats, SYSLOG_PRODUCT),
        (Stream::Activities, SYSLOG_PRODUCT),
        (Stream::UnifiedAlerts, SYSLOG_PRODUCT),
    ],
    ..SYSLOG
};

/// All integrations, in the order of the documentation. The first one of a sink is its default.
pub const INTEGRATIONS: [&Integration; 10] = [
    &ELASTICSEARCH,
    &SPLUNK_HEC,
    &AZURE_LOGS,
    &GOOGLE_SECOPS,
    &SEKOIA,
    &PANTHER,
    &DATADOG,
    &SUMO,
    &SYSLOG,
    &SYSLOG_CEF2,
];

impl Integration {
    /// Returns the name of the stream; `None` if the integration does not know the stream.
    pub fn name(&self, stream: Stream) -> Option<&'static str> {
        self.names.iter().find(|(known, _)| *known == stream).map(|(_, name)| *name)
    }

    /// Returns the name of the stream, as [`Self::name`] does.
    ///
    /// # Errors
    /// If the integration does not know the stream.
    pub(crate) fn name_of(&self, stream: Stream) -> Result<&'static str, BuildError> {
        self.name(stream).ok_or_else(|| self.unknown(&[stream.name()], ""))
    }

    /// Checks that the integration knows `streams`. `otherwise` is another way out, if there is one.
    pub(crate) fn check(&self, streams: &[Stream], otherwise: &str) -> Result<(), BuildError> {
        let unknown = streams.iter().filter(|stream| self.name(**stream).is_none());
        let unknown: Vec<&str> = unknown.map(|stream| stream.name()).collect();
        if !unknown.is_empty() {
            return Err(self.unknown(&unknown, otherwise));
        }
        match &self.repeats {
            Some(Repeats { stream, other, why }) if streams.contains(stream) && streams.contains(other) => {
                let (stream, other) = (stream.name(), other.name());
                let problem = format!("`{stream}` and `{other}` exclude each other here: {why}; name `{other}` alone");
                Err(BuildError::value("streams", problem))
            }
            _ => Ok(()),
        }
    }

    /// Returns the streams of `streams` that one sink can accept together.
    pub fn known_of(&self, streams: &[Stream]) -> Vec<Stream> {
        let is_repeated = |stream: Stream| {
            self.repeats.as_ref().is_some_and(|repeats| repeats.stream == stream && streams.contains(&repeats.other))
        };
        let known = streams.iter().copied().filter(|stream| self.name(*stream).is_some() && !is_repeated(*stream));
        known.collect()
    }

    fn unknown(&self, streams: &[&str], otherwise: &str) -> BuildError {
        let known: Vec<&str> = self.names.iter().map(|(stream, _)| stream.name()).collect();
        let problem = format!(
            "{} has no {} for {}: name the sink's `streams`, of {}{otherwise}",
            self.title,
            self.what,
            streams.join(", "),
            known.join(", ")
        );
        BuildError::value("streams", problem)
    }
}
