//! How vulnerabilities are pulled: with one pass for each scope.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_record::{Scope, Stream};
use s1_forwarder_settings::{Period, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StreamOptions;
use super::pull_description::PullDescription;
use crate::source::findings::{DEFAULT_RESYNC, position_name};
use crate::source::position::MAIN_PASS;
use crate::source::protocols::FindingLists;
use crate::source::settings::stream_settings::{stream_settings, text};
use crate::source::{Findings, Pass, PassKeys, PassKind, PullSettings, SilentAfter, Since};

stream_settings! {
    /// `streams.vulnerabilities`.
    Vulnerabilities [
        "Time between windows.",
        "Where the first run begins; `beginning` is everything open.",
        "How far each window reaches back into the one before it.",
        never
    ]
    /// Severities to pull. An empty list pulls all.
    severities: Vec<FindingSeverity>,
    /// Also pull findings that are gone, as `status: Removed`.
    #[schemars(extend("default" = true))]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    include_removed: Option<bool>,
    /// Time between two sweeps over everything that is open.
    #[schemars(extend("default" = Period(DEFAULT_RESYNC)))]
    resync: Option<Period>,
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
    /// Returns the word as the console spells it.
    const fn word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

impl Vulnerabilities {
    pub(in crate::source) fn pull(&self) -> PullSettings {
        let usual = Findings::default();
        let findings = Findings {
            severities: self.severities.iter().map(|severity| severity.word()).collect::<Vec<_>>().join(","),
            include_removed: self.include_removed.unwrap_or(usual.include_removed),
            resync: self.resync.map_or(usual.resync, |period| period.0),
            ..usual
        };
        PullSettings { own: StreamOptions::Vulnerabilities(findings), ..self.common() }
    }
}

impl PullSettings {
    pub fn findings(&self) -> Option<&Findings> {
        if let StreamOptions::Vulnerabilities(findings) = &self.own { Some(findings) } else { None }
    }
}

pub(in crate::source) const DESCRIPTION: PullDescription = PullDescription {
    interval: Duration::from_hours(6),
    since: Since::Beginning,
    // An hour for findings that are indexed late, and ten minutes for the indexing itself.
    overlap: Duration::from_mins(70),
    protocol: &FindingLists,
    // Findings have no time of their last change.
    windows_by_creation: true,
    own: || StreamOptions::Vulnerabilities(Findings::default()),
    passes,
};

/// Returns a pass for each scope.
fn passes(pull: &PullSettings, main: Pass) -> Vec<Pass> {
    let pass = |scope: Option<Arc<Scope>>| Pass {
        name: scope.as_deref().map_or(MAIN_PASS.into(), position_name),
        keys: PassKeys::Latest,
        kind: scope.map_or(PassKind::AllFindings, PassKind::FindingsOf),
        ..main.clone()
    };
    pull.findings().into_iter().flat_map(Findings::scopes).map(pass).collect()
}
