//! The settings of one stream with all defaults, as polls and lanes use them.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_record::{Level, Scope, Stream, Timestamp};
use s1_forwarder_settings::Id;

use crate::console::{Client, ConsoleSettings};
use crate::source::parameters::{Parameter, named};
use crate::source::{ActivityFilter, SilentAfter, Since, StreamOptions, UnifiedAlertFilter, Window};

/// One stream's settings with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSettings {
    /// The stream.
    pub stream: Stream,
    /// Time between polls.
    pub interval: Duration,
    /// Beginning of the first run.
    pub since: Since,
    /// Longest delay after which a record may become visible and still be caught.
    pub overlap: Duration,
    /// Time without new records after which the lane is reported as silent.
    pub silent_after: SilentAfter,
    /// The one account, site or group that the console is asked for; `None` if it is asked for several, or for all.
    pub scope: Option<Arc<Scope>>,
    /// Parameters that add records to a list.
    pub filters: Vec<(&'static str, String)>,
    /// Settings that only this stream has.
    pub own: StreamOptions,
    /// Window that is pulled once, instead of polls that go on indefinitely.
    pub window: Option<Window>,
    /// Time of the snapshot by which the records of the window are named.
    pub named_by: Option<Timestamp>,
}

impl PullSettings {
    /// Returns the filters of the requests, except for the scope, as text for ledgers.
    pub fn narrowed_by(&self) -> String {
        self.filters().map(|(name, value)| format!("&{name}={value}")).collect()
    }

    /// Returns the scope and the filters of the requests, as text for ledgers.
    pub fn asked(&self, client: &Client) -> String {
        format!("{}{}", client.scope(), self.narrowed_by())
    }

    fn filters(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.own.filters().into_iter().chain(self.filters.iter().cloned())
    }

    /// Returns the filters of a request for a list, as parameters of its query.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> {
        named(self.filters())
    }

    /// Narrows the pull to the scopes that `console` names. Groups are used first; without groups, sites; without
    /// sites, accounts. Findings are requested for one scope at a time.
    #[must_use]
    pub fn with_scopes(mut self, console: &ConsoleSettings) -> Self {
        let lists =
            [(Level::Group, &console.groups), (Level::Site, &console.sites), (Level::Account, &console.accounts)];
        let Some((level, ids)) = lists.into_iter().find(|(_, ids)| !ids.is_empty()) else { return self };
        let scope = |id: &Id| Arc::new(Scope { level, id: id.as_str().into(), name: None });
        let scopes: Vec<_> = ids.iter().map(scope).collect();
        if let [one] = &*scopes {
            self.scope = Some(one.clone());
        }
        if let StreamOptions::Vulnerabilities(findings) = &mut self.own {
            findings.scopes = scopes;
        }
        self
    }

    /// Returns the pull that also reads each of the scopes `found` for the token, if the settings name no scope.
    #[must_use]
    pub fn with_found_scopes(&self, found: Vec<Arc<Scope>>) -> Self {
        let mut pull = self.clone();
        if let StreamOptions::Vulnerabilities(findings) = &mut pull.own {
            findings.found = found;
        }
        pull
    }

    /// Returns the pull of the records of `window` alone, once. No record comes late into a closed window. So there is
    /// no overlap, and a position keeps few keys however many records the window has.
    pub fn within(&self, window: Window) -> Self {
        self.part(window, window)
    }

    /// Returns the pull of a part of a window, as [`Self::within`] does for a whole window. Records that are named by
    /// their snapshot get the name of the last snapshot before the end of the whole window, whatever the parts.
    pub fn part(&self, window: Window, whole: Window) -> Self {
        let named_by = self.is_snapshot().then(|| whole.to.aligned_to(self.interval));
        let since = Since::At(window.from);
        Self { window: Some(window), named_by, since, overlap: Duration::ZERO, ..self.clone() }
    }

    /// Returns the time after which a working lane has delivered a record, even if the console shows it late within the
    /// overlap. The lane reads the last `overlap` again within one and a half times `overlap`. One poll begins after
    /// the other.
    pub fn settles_after(&self) -> Duration {
        self.overlap + self.overlap / 2 + 2 * self.interval
    }

    /// Returns the pull for one sink. A sink that writes the console's own notifications accepts each unified alert
    /// once, when it is new. Only such a sink gets the threats of activities.
    #[must_use]
    pub fn for_sink(self: &Arc<Self>, sends_console_notifications: bool) -> Arc<Self> {
        let own = match &self.own {
            StreamOptions::UnifiedAlerts(alerts) if sends_console_notifications => {
                StreamOptions::UnifiedAlerts(UnifiedAlertFilter { new_only: true, ..alerts.clone() })
            }
            StreamOptions::Activities(activities) if activities.with_threats && !sends_console_notifications => {
                StreamOptions::Activities(ActivityFilter { with_threats: false, ..activities.clone() })
            }
            _ => return self.clone(),
        };
        Arc::new(Self { own, ..Self::clone(self) })
    }

    /// Narrows the pull to these records, if the console [can be asked for them](Self::can_ask_for).
    #[must_use]
    pub fn of_ids(mut self, ids: &[CompactString]) -> Self {
        if !ids.is_empty() && Self::can_ask_for(ids) {
            self.filters.push(("ids", ids.join(",")));
        }
        self
    }

    /// Returns whether the console can be asked for records with these ids. The console refuses an id that is not its
    /// own number, and unified alerts have no numbers.
    pub fn can_ask_for(ids: &[CompactString]) -> bool {
        let is_number = |id: &CompactString| id.bytes().all(|byte| byte.is_ascii_digit());
        ids.iter().all(|id| (18..=19).contains(&id.len()) && is_number(id))
    }

    /// Returns whether a changed record is sent again only if more than its volatile keys changed.
    pub fn drops_unchanged(&self) -> bool {
        !self.is_snapshot() && self.window.is_none() && !self.volatile().is_empty()
    }
}
