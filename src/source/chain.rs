//! How application findings are read: they carry no time of their last change, so a poll is a closed window of their dates,
//! or now and then a sweep over all of them; scope by scope, since the console takes one at a time.

use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use super::{Pull, Since};
use crate::console::{self, Client, ConsoleError};
use crate::record::{Level, Scope, Timestamp, Value, parse_page};
use crate::settings::Period;

/// Between two pages: these lists are hard work for a console.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// After a sweep the first window begins so long before it.
pub(super) const BEFORE_SWEEP: Duration = Duration::from_secs(24 * 3600);
/// A list of accounts or sites.
const SCOPES_BYTES: usize = 16 * 1024 * 1024;
const DEFAULT_RESYNC: Duration = Duration::from_secs(7 * 86_400);

/// `streams.vulnerabilities`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vulnerabilities {
    /// Time between windows; default 6h.
    pub interval: Option<Period>,
    /// Where the first run begins; default `beginning`, which is everything open.
    pub since: Option<Since>,
    /// How far each window reaches back into the one before it; default 70m.
    pub overlap: Option<Period>,
    /// Severities to pull; default all.
    pub severities: Vec<FindingSeverity>,
    /// Also pull findings that are gone, as `status: Removed`; default true.
    pub include_removed: Option<bool>,
    /// Time between two sweeps over everything that is open; default 7d.
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

/// What a pull of findings is narrowed to, and which scopes it goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// As the console spells them, joined by commas; all when empty.
    severities: String,
    include_removed: bool,
    /// Time between two sweeps.
    pub(super) resync: Duration,
    /// One after the other; none is all that the token sees.
    scopes: Vec<Arc<Scope>>,
}

impl Vulnerabilities {
    /// With its defaults filled in.
    pub(super) fn findings(&self) -> Findings {
        let word = |severity: &FindingSeverity| match severity {
            FindingSeverity::Critical => "CRITICAL",
            FindingSeverity::High => "HIGH",
            FindingSeverity::Medium => "MEDIUM",
            FindingSeverity::Low => "LOW",
        };
        Findings {
            severities: self.severities.iter().map(word).collect::<Vec<_>>().join(","),
            include_removed: self.include_removed.unwrap_or(true),
            resync: self.resync.map_or(DEFAULT_RESYNC, |period| period.0),
            scopes: Vec::new(),
        }
    }
}

impl Findings {
    /// What narrows down every list of them.
    pub(super) fn filters(&self) -> Option<(&'static str, String)> {
        (!self.severities.is_empty()).then(|| ("severities", self.severities.clone()))
    }

    /// The scopes that are read one after the other, each with a position of its own.
    pub(super) fn chains(&self) -> Vec<Option<Arc<Scope>>> {
        if self.scopes.is_empty() { vec![None] } else { self.scopes.iter().cloned().map(Some).collect() }
    }
}

impl Pull {
    /// The same through the scopes that `console` names, one at a time: its sites, else its accounts, else its groups.
    #[must_use]
    pub fn through(mut self, console: &console::Settings) -> Self {
        if let Some(findings) = &mut self.findings {
            let lists =
                [(Level::Group, &console.groups), (Level::Site, &console.sites), (Level::Account, &console.accounts)];
            if let Some((level, ids)) = lists.into_iter().find(|(_, ids)| !ids.is_empty()) {
                let scope = |id: &crate::settings::Id| Scope { level, id: id.as_str().into(), name: None };
                findings.scopes = ids.iter().map(|id| Arc::new(scope(id))).collect();
            }
        }
        self
    }
}

/// The name of the track of a scope.
pub(super) fn track_name(scope: &Scope) -> CompactString {
    compact_str::format_compact!("{}={}", scope.level.parameter(), scope.id)
}

/// The lists that one poll reads one after the other.
#[derive(Debug)]
pub(super) struct Chain {
    findings: Findings,
    scopes: Vec<Option<Arc<Scope>>>,
    scope: usize,
    filters: &'static [Filter],
    filter: usize,
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    /// Everything that is open.
    All,
    /// What has changed.
    Updated,
    /// What is new: whether a first detection also counts as a change is not documented.
    Detected,
}

impl Chain {
    /// The lists of one scope.
    pub fn new(findings: Findings, scope: Option<Arc<Scope>>, sweep: bool) -> Self {
        let filters: &[Filter] = if sweep { &[Filter::All] } else { &[Filter::Updated, Filter::Detected] };
        Self { findings, scopes: vec![scope], scope: 0, filters, filter: 0 }
    }

    /// What was detected in a window, through all scopes.
    pub fn detected(findings: Findings) -> Self {
        let scopes = findings.chains();
        Self { findings, scopes, scope: 0, filters: &[Filter::Detected], filter: 0 }
    }

    /// The scope of the list that is read.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.scopes.get(self.scope)?.as_ref()
    }

    /// Goes on to the next list; false when there is none.
    pub fn advance(&mut self) -> bool {
        self.filter += 1;
        self.filter < self.filters.len() || self.next_scope()
    }

    fn next_scope(&mut self) -> bool {
        (self.filter, self.scope) = (0, self.scope + 1);
        self.scope < self.scopes.len()
    }

    /// What narrows down the list: `from` is where the window begins, `since` what the lane owes at all, `to` its end.
    pub fn query(&self, since: Timestamp, from: Timestamp, to: Timestamp) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        let mut at_least = |name: &'static str, time: Timestamp| {
            if time > Timestamp::default() {
                query.push((name, time.to_string()));
            }
        };
        let filter = self.filters.get(self.filter).copied().unwrap_or(Filter::All);
        match filter {
            Filter::All => at_least("detectionDate__gte", since),
            Filter::Updated => at_least("riskUpdatedDate__gte", from),
            Filter::Detected => at_least("detectionDate__gte", from),
        }
        match filter {
            Filter::All => {}
            Filter::Updated => query.push(("riskUpdatedDate__lte", to.to_string())),
            Filter::Detected => query.push(("detectionDate__lte", to.to_string())),
        }
        let removals = self.findings.include_removed && !matches!(filter, Filter::All);
        query.push(("includeRemovals", removals.to_string()));
        query.extend(self.findings.filters());
        if let Some(scope) = self.scope() {
            query.push((scope.level.parameter(), scope.id.to_string()));
        }
        query
    }

    /// What a refusal means for the poll: a scope without licence is passed over (`news`: nothing was told of it before); a
    /// token of several scopes is told to go through them one by one. The error when it means neither.
    pub async fn refused(&mut self, client: &Client, error: ConsoleError, news: bool) -> Result<After, ConsoleError> {
        let (ConsoleError::Forbidden(reason) | ConsoleError::BadRequest(reason)) = &error else { return Err(error) };
        let lower = reason.to_lowercase();
        if lower.contains("not available for the scope") {
            let scope = self.scope().map(|scope| track_name(scope).to_string()).unwrap_or_default();
            if news {
                info!(%scope, %reason, "no application findings for this scope: it is passed over");
            } else {
                debug!(%scope, %reason, "passed over");
            }
            return Ok(if self.next_scope() { After::Next } else { After::End });
        }
        if self.scope().is_none() && self.scopes.len() == 1 && lower.contains("scope") {
            self.scopes = scopes(client).await?.into_iter().map(Some).collect();
            info!(scopes = self.scopes.len(), %reason, "application findings are read scope by scope");
            return Ok(if self.scopes.is_empty() { After::End } else { After::Next });
        }
        Err(error)
    }
}

/// How a poll goes on after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// With the next list.
    Next,
    /// That was the last.
    End,
}

/// The accounts that the token sees, or its sites when it may not see accounts.
async fn scopes(client: &Client) -> Result<Vec<Arc<Scope>>, ConsoleError> {
    let list =
        async |path: &str| client.list(client.turn().await, path, &[("limit", "1000")], SCOPES_BYTES, None).await;
    let (level, body) = match list("accounts").await {
        Err(ConsoleError::Forbidden(_)) => (Level::Site, list("sites").await?),
        answer => (Level::Account, answer?),
    };
    let page = parse_page(&body).map_err(|error| ConsoleError::transient(error.to_string()))?;
    let mut found = Vec::new();
    for record in page.records {
        let record = Value::new(std::str::from_utf8(record).unwrap_or_default());
        // Sites are a list within an object.
        let inner = record.get("sites");
        let mut add = |one: Value<'_>| {
            if let Some(id) = one.get("id").text() {
                let (id, name) = (id.to_compact_string(), one.get("name").text().map(|name| name.to_compact_string()));
                found.push(Arc::new(Scope { level, id, name }));
            }
        };
        if inner.is_empty() { add(record) } else { inner.elements().for_each(add) }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;

    #[test]
    fn a_window_asks_twice_and_a_sweep_once() {
        let pull = Vulnerabilities { severities: vec![FindingSeverity::High], ..Vulnerabilities::default() };
        let findings = pull.findings();
        let time = |text: &str| Timestamp::parse(text).unwrap();
        let (since, from, to) =
            (Timestamp::default(), time("2026-01-01T00:00:00.000000Z"), time("2026-01-02T00:00:00.000000Z"));
        let scope = Arc::new(Scope { level: Level::Site, id: "7".into(), name: None });
        let mut delta = Chain::new(findings.clone(), Some(scope), false);
        let texts = |chain: &Chain| {
            let query = chain.query(since, from, to);
            query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(
            texts(&delta),
            "riskUpdatedDate__gte=2026-01-01T00:00:00.000000Z&riskUpdatedDate__lte=2026-01-02T00:00:00.000000Z&includeRemovals=true&severities=HIGH&siteIds=7"
        );
        assert!(delta.advance());
        assert!(texts(&delta).starts_with("detectionDate__gte=2026-01-01T00:00:00.000000Z&detectionDate__lte"));
        assert!(!delta.advance());
        let mut sweep = Chain::new(findings, None, true);
        assert_eq!(texts(&sweep), "includeRemovals=false&severities=HIGH");
        assert_eq!(sweep.query(from, to, to)[0], ("detectionDate__gte", "2026-01-01T00:00:00.000000Z".to_owned()));
        assert!(!sweep.advance());
    }

    /// A scope's track is found again by its name, whatever scopes are added or left out.
    #[test]
    fn scopes_are_read_one_after_the_other_and_each_has_a_track_of_its_own() {
        let through = |scopes: &str| {
            let settings = format!(r#"{{"url": "https://console.example", "token": "t"{scopes}}}"#);
            Pull::of(Stream::Vulnerabilities).through(&serde_json::from_str(&settings).unwrap())
        };
        let names = |pull: &Pull| pull.passes().iter().map(|pass| pass.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&through("")), ["main"]);
        assert_eq!(names(&through(r#", "accounts": ["100000000000000005"]"#)), ["accountIds=100000000000000005"]);
        assert_eq!(
            names(&through(r#", "accounts": ["100000000000000005"], "groups": ["100000000000000009"]"#)),
            ["groupIds=100000000000000009"]
        );
        let sites =
            through(r#", "accounts": ["100000000000000005"], "sites": ["100000000000000007", "100000000000000008"]"#);
        assert_eq!(names(&sites), ["siteIds=100000000000000007", "siteIds=100000000000000008"]);

        let mut detected = Chain::detected(sites.findings.unwrap());
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
