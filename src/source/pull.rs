use std::sync::Arc;
use std::time::Duration;

use super::chain::track_name;
use super::settings::VOLATILE;
use super::{By, Findings, Include, Keys, MAIN, Pass, Since, Vulnerabilities, Window};
use crate::console::Endpoint;
use crate::record::{Scope, Stream, Timestamp};
use crate::settings::Period;

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
    /// Each poll is a full inventory.
    pub snapshot: bool,
    /// Keys of an agent that do not count when they alone changed, sorted.
    pub volatile: Vec<String>,
    /// Also pull decommissioned agents.
    pub include_decommissioned: bool,
    /// A complete snapshot is followed by an event that says so.
    pub marker: bool,
    /// How long after their creation alerts are looked at again.
    pub lookback: Duration,
    /// What is fetched for each threat beside its record, sorted.
    pub include: Vec<Include>,
    /// Products of unified alerts; all when empty.
    pub products: Vec<String>,
    /// The console's view of unified alerts, where not all.
    pub view: Option<&'static str>,
    /// How findings are read.
    pub findings: Option<Findings>,
    /// Pulled once instead of polled for ever.
    pub window: Option<Window>,
    /// The time of the snapshot that the records of the window are named by.
    pub named_by: Option<Timestamp>,
}

/// Names the passes beside the first, and the snapshot, in checkpoints.
const LOOKBACK: &str = "lookback";
const SNAPSHOT: &str = "snapshot";
const NET: &str = "net";

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Time between two looks at the alerts of `lookback`.
const LOOKBACK_EVERY: Duration = Duration::from_secs(600);
/// How often unified alerts are looked for by their detection.
const NET_EVERY: Duration = Duration::from_secs(900);
/// An hour for findings that are indexed late, and ten minutes in which the console is still at it.
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
            findings: is_finding.then(|| Vulnerabilities::default().findings()),
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
            snapshot: false,
            chain: None,
        };
        match self.stream {
            _ if self.window.is_some() => vec![main],
            Stream::Agents if self.snapshot => {
                let (sort_by, time_filter) = ("createdAt", "createdAt");
                vec![Pass { name: SNAPSHOT.into(), sort_by, time_filter, by: By::Creation, snapshot: true, ..main }]
            }
            Stream::Alerts => {
                let main = Pass { keys: Keys::Latest, ..main };
                let (every, reach) = (LOOKBACK_EVERY, self.lookback);
                let lookback = Pass { name: LOOKBACK.into(), every, reach, ..main.clone() };
                if reach.is_zero() { vec![main] } else { vec![main, lookback] }
            }
            Stream::UnifiedAlerts => {
                let Endpoint { sort_by, time_filter, .. } = Endpoint::by_creation(self.stream);
                // What was never updated, or became visible too late for the first pass.
                let (by, every, reach) = (By::Creation, self.interval.max(NET_EVERY), self.overlap.max(DAY));
                let net = Pass { name: NET.into(), sort_by, time_filter, by, every, reach, ..main.clone() };
                vec![main, net]
            }
            Stream::Vulnerabilities => {
                let chain = |scope: Option<Arc<Scope>>| Pass {
                    name: scope.as_deref().map_or(MAIN.into(), track_name),
                    keys: Keys::Latest,
                    chain: Some(scope),
                    ..main.clone()
                };
                let chains = self.findings.iter().flat_map(Findings::chains);
                chains.map(chain).collect()
            }
            _ => vec![main],
        }
    }

    /// What narrows down the records that the console is asked for, besides its scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        self.filters(&self.types).into_iter().map(|(name, value)| format!("&{name}={value}")).collect()
    }

    /// What is asked for beside window, order and scope; `types` are the activity types.
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

    /// Whether a record is sent again only when something besides the volatile keys changed.
    pub fn drops_unchanged(&self) -> bool {
        self.stream == Stream::Agents && !self.snapshot && self.window.is_none() && !self.volatile.is_empty()
    }
}
