use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::findings::position_name;
use super::position::{MAIN, SNAPSHOT};
use super::{By, Findings, Keys, Pass, Reading, SilentAfter, Since, Window};
use crate::console::{Client, ConsoleSettings, Endpoint};
use crate::record::{Facts, Level, Scope, Stream, Timestamp};
use crate::settings::{Id, Period};

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
    /// When the lane is reported as silent.
    pub silent_after: SilentAfter,
    /// Activity types that are dropped, sorted.
    pub exclude_types: Vec<u32>,
    /// Activity types to pull, all when empty, sorted.
    pub types: Vec<u32>,
    /// Also pull hidden activities.
    pub include_hidden: bool,
    /// Each poll is a full inventory.
    pub snapshot: bool,
    /// Keys of an agent that do not count when they alone changed, sorted.
    pub volatile: Vec<String>,
    /// Also pull decommissioned agents.
    pub include_decommissioned: bool,
    /// A complete snapshot is followed by an event that says so.
    pub marker: bool,
    /// How long after their creation alerts are read again.
    pub lookback: Duration,
    /// Lists to fetch for each threat in addition to its record, sorted.
    pub include: Vec<Include>,
    /// Products of unified alerts; all when empty.
    pub products: Vec<String>,
    /// The console's view of unified alerts, where not all.
    pub view: Option<&'static str>,
    /// How findings are read.
    pub findings: Option<Findings>,
    /// Pulled once instead of polled indefinitely.
    pub window: Option<Window>,
    /// The time of the snapshot that the records of the window are named by.
    pub named_by: Option<Timestamp>,
}

/// `streams.threats.include`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Include {
    /// What analysts wrote about the threat: the newest 100 notes.
    Notes,
    /// What happened to the threat: the newest 200 items.
    Timeline,
}

impl Include {
    /// As settings, paths and events name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notes => "notes",
            Self::Timeline => "timeline",
        }
    }

    /// The most items that are kept.
    pub const fn limit(self) -> usize {
        match self {
            Self::Notes => 100,
            Self::Timeline => 200,
        }
    }
}

/// What an agent's check-in moves by itself, sorted.
pub const VOLATILE: [&str; 4] =
    ["containerizedWorkloadCounts", "fullDiskScanLastUpdatedAt", "lastActiveDate", "updatedAt"];

/// Names of the other passes in checkpoints.
const LOOKBACK: &str = "lookback";
const NET: &str = "net";

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Time between two polls of the alerts within `lookback`.
const LOOKBACK_EVERY: Duration = Duration::from_secs(600);
/// How often unified alerts are looked for by their detection.
const NET_EVERY: Duration = Duration::from_secs(900);
/// An hour for findings that are indexed late, and ten minutes for the indexing itself.
const FINDINGS_OVERLAP: Duration = Duration::from_secs(4200);

impl Pull {
    /// A stream with nothing but defaults.
    pub fn of(stream: Stream) -> Self {
        let (interval, since) = match stream {
            Stream::Threats | Stream::Alerts | Stream::UnifiedAlerts => (MINUTE, Since::Ago(Period(DAY))),
            Stream::Activities => (MINUTE / 2, Since::Ago(Period(DAY))),
            Stream::Agents | Stream::Groups => (15 * MINUTE, Since::Beginning),
            Stream::Vulnerabilities => (360 * MINUTE, Since::Beginning),
        };
        let is_finding = stream == Stream::Vulnerabilities;
        Self {
            stream,
            interval,
            since,
            overlap: if is_finding { FINDINGS_OVERLAP } else { 5 * MINUTE },
            silent_after: SilentAfter::Auto,
            exclude_types: Vec::new(),
            types: Vec::new(),
            include_hidden: false,
            snapshot: false,
            volatile: VOLATILE.map(str::to_owned).to_vec(),
            include_decommissioned: false,
            marker: false,
            lookback: 7 * DAY,
            include: Vec::new(),
            products: Vec::new(),
            view: None,
            findings: is_finding.then(Findings::default),
            window: None,
            named_by: None,
        }
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
            reading: Reading::New,
        };
        match self.stream {
            _ if self.window.is_some() => vec![main],
            Stream::Agents if self.snapshot => {
                let sort_by = "createdAt";
                let time_filter = "createdAt";
                let reading = Reading::Snapshot;
                vec![Pass { name: SNAPSHOT.into(), sort_by, time_filter, by: By::Creation, reading, ..main }]
            }
            Stream::Alerts => {
                let main = Pass { keys: Keys::Latest, ..main };
                let every = LOOKBACK_EVERY;
                let reach = self.lookback;
                let reading = Reading::Lookback;
                let lookback = Pass { name: LOOKBACK.into(), every, reach, reading, ..main.clone() };
                if reach.is_zero() { vec![main] } else { vec![main, lookback] }
            }
            Stream::UnifiedAlerts => {
                let Endpoint { sort_by, time_filter, .. } = Endpoint::by_creation(self.stream);
                // What was never updated, or became visible too late for the first pass.
                let by = By::Creation;
                let every = self.interval.max(NET_EVERY);
                let reach = self.overlap.max(DAY);
                let reading = Reading::ByCreation;
                let net = Pass { name: NET.into(), sort_by, time_filter, by, every, reach, reading, ..main.clone() };
                vec![main, net]
            }
            Stream::Vulnerabilities => {
                let pass = |scope: Option<Arc<Scope>>| Pass {
                    name: scope.as_deref().map_or(MAIN.into(), position_name),
                    keys: Keys::Latest,
                    reading: scope.map_or(Reading::AllFindings, Reading::FindingsOf),
                    ..main.clone()
                };
                self.findings.iter().flat_map(Findings::scopes).map(pass).collect()
            }
            _ => vec![main],
        }
    }

    /// The filters of the requests, except for the scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        self.filters(&self.types).into_iter().map(|(name, value)| format!("&{name}={value}")).collect()
    }

    /// Which records the console is asked for, as text for ledgers.
    pub fn asked(&self, client: &Client) -> String {
        format!("{}{}", client.scope(), self.narrowed_by())
    }

    /// The filters of a request, except for window, order and scope; `types` are the activity types.
    pub(super) fn filters(&self, types: &[u32]) -> Vec<(&'static str, String)> {
        let mut filters = Vec::new();
        if !types.is_empty() {
            filters.push(("activityTypes", types.iter().map(u32::to_string).collect::<Vec<_>>().join(",")));
        }
        if self.include_hidden {
            filters.push(("includeHidden", "true".to_owned()));
        }
        if self.include_decommissioned {
            filters.push(("isDecommissioned", "True,False".to_owned()));
        }
        if !self.products.is_empty() {
            filters.push(("detectionProduct", self.products.join(",")));
        }
        filters.extend(self.view.map(|view| ("viewType", view.to_owned())));
        filters.extend(self.findings.iter().flat_map(Findings::filters));
        filters
    }

    /// The same, but through the scopes that `console` names, one at a time: its groups, else its sites, else its
    /// accounts.
    #[must_use]
    pub fn with_scopes(mut self, console: &ConsoleSettings) -> Self {
        if let Some(findings) = &mut self.findings {
            let lists =
                [(Level::Group, &console.groups), (Level::Site, &console.sites), (Level::Account, &console.accounts)];
            if let Some((level, ids)) = lists.into_iter().find(|(_, ids)| !ids.is_empty()) {
                let scope = |id: &Id| Scope { level, id: id.as_str().into(), name: None };
                findings.scopes = ids.iter().map(|id| Arc::new(scope(id))).collect();
            }
        }
        self
    }

    /// The same, where the settings name no scopes, but also through those that the token was found to have.
    #[must_use]
    pub fn with_found_scopes(&self, found: Vec<Arc<Scope>>) -> Self {
        let findings = self.findings.clone().map(|findings| Findings { found, ..findings });
        Self { findings, ..self.clone() }
    }

    /// The same records, but only those of `window`, pulled once. Nothing comes late into a closed window, so there is
    /// no overlap, and a position keeps few keys however many records the window has.
    pub fn within(&self, window: Window) -> Self {
        self.part(window, window)
    }

    /// As [`Self::within`], for a part of a window. Records that are named by their snapshot get the name of the last
    /// snapshot before the end of the whole window, whatever the parts.
    pub fn part(&self, window: Window, whole: Window) -> Self {
        let named_by = self.snapshot.then(|| whole.to.aligned_to(self.interval));
        let since = Since::At(window.from);
        Self { window: Some(window), named_by, since, overlap: Duration::ZERO, ..self.clone() }
    }

    /// How the console is asked for these records.
    pub(super) fn endpoint(&self) -> Endpoint {
        if self.is_by_creation() { Endpoint::by_creation(self.stream) } else { Endpoint::of(self.stream) }
    }

    /// The time by which the console is asked for these records. It filters groups by their last change only.
    pub(super) fn by(&self) -> By {
        if self.is_by_creation() && self.stream != Stream::Groups { By::Creation } else { By::Order }
    }

    /// Findings have no time of their last change, alerts that never changed have none either, and snapshots are read
    /// by the time of creation: of these, every window is one by creation.
    fn is_by_creation(&self) -> bool {
        let is_always = self.snapshot || matches!(self.stream, Stream::UnifiedAlerts | Stream::Vulnerabilities);
        self.window.is_some_and(|window| is_always || window.by == By::Creation)
    }

    /// Whether the settings exclude a record by its type.
    pub(super) fn excludes(&self, facts: &Facts<'_>) -> bool {
        facts.activity_type.is_some_and(|kind| self.exclude_types.binary_search(&kind).is_ok())
    }

    /// Whether a changed record is sent again only if more than its volatile keys changed.
    pub fn drops_unchanged(&self) -> bool {
        self.stream == Stream::Agents && !self.snapshot && self.window.is_none() && !self.volatile.is_empty()
    }
}
