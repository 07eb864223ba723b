use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parameters::{Parameter, named};
use super::{Findings, SilentAfter, Since, Window};
use crate::console::{Client, ConsoleSettings};
use crate::record::{Facts, Level, Scope, Stream, Timestamp};
use crate::settings::Id;

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

impl Pull {
    /// The filters of the requests, except for the scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        self.filters(&self.types).into_iter().map(|(name, value)| format!("&{name}={value}")).collect()
    }

    /// Which records the console is asked for, as text for ledgers.
    pub fn asked(&self, client: &Client) -> String {
        format!("{}{}", client.scope(), self.narrowed_by())
    }

    /// The filters of a request for a list, likewise.
    pub(super) fn parameters(&self, types: &[u32]) -> impl Iterator<Item = Parameter> {
        named(self.filters(types))
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

    /// Whether the settings exclude a record by its type.
    pub(super) fn excludes(&self, facts: &Facts<'_>) -> bool {
        facts.activity_type.is_some_and(|kind| self.exclude_types.binary_search(&kind).is_ok())
    }

    /// Whether a changed record is sent again only if more than its volatile keys changed.
    pub fn drops_unchanged(&self) -> bool {
        !self.snapshot && self.window.is_none() && !self.volatile.is_empty()
    }
}
