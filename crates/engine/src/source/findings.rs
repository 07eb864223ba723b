//! Reads application findings. They carry no time of their last change, so a poll reads a closed window of their dates.
//! At intervals, a poll sweeps over all findings instead. The console accepts one scope at a time, so a lane reads each
//! scope in polls of its own. A closed window is read in one poll, scope by scope.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_record::{Scope, Timestamp};
use tracing::{debug, info};

use crate::console::ConsoleError;

/// Pause between two pages: these lists are expensive for a console.
pub(super) const PAUSE_BETWEEN_PAGES: Duration = Duration::from_secs(1);
pub(super) const DEFAULT_RESYNC: Duration = Duration::from_hours(168);

/// Which findings are pulled, in which scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Severities as the console spells them, joined by commas; empty for all.
    pub(super) severities: String,
    pub include_removed: bool,
    /// Time between two sweeps.
    pub resync: Duration,
    /// Scopes that the settings name; empty for all that the token may see.
    pub(super) scopes: Vec<Arc<Scope>>,
    /// Scopes that the token was last found to have, if the settings name none and the console wants one at a time.
    pub(super) found: Vec<Arc<Scope>>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            severities: String::new(),
            include_removed: true,
            resync: DEFAULT_RESYNC,
            scopes: Vec::new(),
            found: Vec::new(),
        }
    }
}

impl Findings {
    /// Returns the parameter that narrows every list of findings.
    pub(super) fn filters(&self) -> Option<(&'static str, String)> {
        (!self.severities.is_empty()).then(|| ("severities", self.severities.clone()))
    }

    /// Returns the scopes, each of which has its own position. `None` stands for everything that the token may see. It
    /// comes last, and its polls also find out which scopes the token has.
    pub(super) fn scopes(&self) -> Vec<Option<Arc<Scope>>> {
        let all = self.scopes.is_empty().then_some(None);
        self.scopes.iter().chain(&self.found).cloned().map(Some).chain(all).collect()
    }
}

/// Names the position of a scope in checkpoints.
pub(super) fn position_name(scope: &Scope) -> CompactString {
    compact_str::format_compact!("{}={}", scope.level.parameter(), scope.id)
}

/// Returns whether a position is the position of one scope.
pub(super) fn is_of_scope(position_name: &str) -> bool {
    position_name.contains('=')
}

/// The lists that one poll reads one after the other.
#[derive(Debug)]
pub(super) struct FindingsScan {
    findings: Findings,
    /// The current list, and those after it.
    lists: VecDeque<(Option<Arc<Scope>>, Filter)>,
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    /// All open findings.
    All,
    /// Findings that changed.
    Updated,
    /// New findings: the API does not say whether a first detection counts as a change.
    Detected,
}

/// How a scan goes on after the console refused one of its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterRefusal {
    /// The scan goes on without this scope, which has no findings to read.
    SkipScope,
    /// The scan goes on with the accounts, or sites, that the token may see. The caller asks for them.
    SplitByScope,
    /// The poll ends with the refusal.
    Fail,
}

impl FindingsScan {
    /// Creates the scan of one scope: a sweep has one list, and any other scan two.
    pub fn new(findings: Findings, scope: Option<Arc<Scope>>, sweep: bool) -> Self {
        let filters: &[Filter] = if sweep { &[Filter::All] } else { &[Filter::Updated, Filter::Detected] };
        let lists = filters.iter().map(|filter| (scope.clone(), *filter)).collect();
        Self { findings, lists }
    }

    /// Creates the scan of the findings that were detected in a window, with a list for each scope.
    pub fn detected(findings: Findings) -> Self {
        let lists = findings.scopes().into_iter().map(|scope| (scope, Filter::Detected)).collect();
        Self { findings, lists }
    }

    /// Returns the scope of the current list.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.lists.front()?.0.as_ref()
    }

    /// Goes on to the next list. Returns false if there is none.
    pub fn advance(&mut self) -> bool {
        self.lists.pop_front();
        !self.lists.is_empty()
    }

    /// Returns the parameters of the current list, for a window [from, to] of a lane that owes nothing before `since`.
    pub fn query(&self, since: Timestamp, from: Timestamp, to: Timestamp) -> Vec<(&'static str, String)> {
        let filter = self.lists.front().map_or(Filter::All, |(_, filter)| *filter);
        let (at_least, from, at_most) = match filter {
            Filter::All => ("detectionDate__gte", since, None),
            Filter::Updated => ("riskUpdatedDate__gte", from, Some("riskUpdatedDate__lte")),
            Filter::Detected => ("detectionDate__gte", from, Some("detectionDate__lte")),
        };
        let mut query = Vec::new();
        query.extend((from > Timestamp::default()).then(|| (at_least, from.to_string())));
        query.extend(at_most.map(|name| (name, to.to_string())));
        let removals = self.findings.include_removed && !matches!(filter, Filter::All);
        query.push(("includeRemovals", removals.to_string()));
        query.extend(self.findings.filters());
        if let Some(scope) = self.scope() {
            query.push((scope.level.parameter(), scope.id.to_string()));
        }
        query
    }

    /// Decides what the poll does about a refusal. The poll skips a scope without licence, and goes through the scopes
    /// one by one when the token has several. `is_news` is set if the log did not mention the refusal before.
    pub fn refused(&mut self, error: &ConsoleError, is_news: bool) -> AfterRefusal {
        let (ConsoleError::Forbidden(reason) | ConsoleError::BadRequest(reason)) = error else {
            return AfterRefusal::Fail;
        };
        let lower = reason.to_lowercase();
        if lower.contains("not available for the scope") {
            let scope = self.scope().map(|scope| position_name(scope)).unwrap_or_default();
            if is_news {
                info!(%scope, %reason, "this scope has no application findings and is skipped");
            } else {
                debug!(%scope, %reason, "this scope has no application findings and is skipped");
            }
            return AfterRefusal::SkipScope;
        }
        if self.scope().is_none() && lower.contains("scope") {
            info!(%reason, "application findings are read scope by scope");
            return AfterRefusal::SplitByScope;
        }
        AfterRefusal::Fail
    }

    /// Replaces a window's list of all scopes with one list for each of `scopes`.
    pub fn split(&mut self, scopes: Vec<Arc<Scope>>) {
        self.lists = scopes.into_iter().map(|scope| (Some(scope), Filter::Detected)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PullSettings;
    use s1_forwarder_record::{Level, Stream};

    #[test]
    fn a_window_asks_twice_and_a_sweep_once() {
        let findings = Findings { severities: "HIGH".to_owned(), ..Findings::default() };
        let time = |text: &str| Timestamp::parse(text).unwrap();
        let since = Timestamp::default();
        let from = time("2026-01-01T00:00:00.000000Z");
        let to = time("2026-01-02T00:00:00.000000Z");
        let scope = Arc::new(Scope { level: Level::Site, id: "7".into(), name: None });
        let mut delta = FindingsScan::new(findings.clone(), Some(scope), false);
        let texts = |scan: &FindingsScan| {
            let query = scan.query(since, from, to);
            query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(
            texts(&delta),
            "riskUpdatedDate__gte=2026-01-01T00:00:00.000000Z&riskUpdatedDate__lte=2026-01-02T00:00:00.000000Z&includeRemovals=true&severities=HIGH&siteIds=7"
        );
        assert!(delta.advance());
        assert!(texts(&delta).starts_with("detectionDate__gte=2026-01-01T00:00:00.000000Z&detectionDate__lte"));
        assert!(!delta.advance());
        let mut sweep = FindingsScan::new(findings, None, true);
        assert_eq!(texts(&sweep), "includeRemovals=false&severities=HIGH");
        assert_eq!(sweep.query(from, to, to)[0], ("detectionDate__gte", "2026-01-01T00:00:00.000000Z".to_owned()));
        assert!(!sweep.advance());
    }

    /// A scope's position is found again by its name, whatever scopes are added or left out.
    #[test]
    fn scopes_are_read_one_after_the_other_and_each_has_a_track_of_its_own() {
        let with_scopes = |scopes: &str| {
            let settings = format!(r#"{{"url": "https://console.example", "token": "t"{scopes}}}"#);
            PullSettings::of(Stream::Vulnerabilities).with_scopes(&serde_json::from_str(&settings).unwrap())
        };
        let names = |pull: &PullSettings| pull.passes().iter().map(|pass| pass.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&with_scopes("")), ["main"]);
        assert_eq!(names(&with_scopes(r#", "accounts": ["100000000000000005"]"#)), ["accountIds=100000000000000005"]);
        assert_eq!(
            names(&with_scopes(r#", "accounts": ["100000000000000005"], "groups": ["100000000000000009"]"#)),
            ["groupIds=100000000000000009"]
        );
        let sites = with_scopes(
            r#", "accounts": ["100000000000000005"], "sites": ["100000000000000007", "100000000000000008"]"#,
        );
        assert_eq!(names(&sites), ["siteIds=100000000000000007", "siteIds=100000000000000008"]);

        let mut detected = FindingsScan::detected(sites.findings().unwrap().clone());
        let time = Timestamp::parse("2026-01-01T00:00:00.000000Z").unwrap();
        for (site, more) in [("100000000000000007", true), ("100000000000000008", false)] {
            let query = detected.query(time, time, time);
            let asked = |name| query.iter().find(|(asked, _)| *asked == name).map(|(_, value)| value.as_str());
            assert_eq!(
                (asked("siteIds"), asked("detectionDate__lte")),
                (Some(site), Some("2026-01-01T00:00:00.000000Z"))
            );
            assert_eq!(detected.advance(), more);
        }
    }
}
