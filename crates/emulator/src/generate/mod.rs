//! Generates records with all fields of the console's record types and realistic distributions.
//!
//! The seed and the requested times determine everything: the same seed gives the same bytes.

/// A JSON object with many keys. `json!` recurses once per token and exceeds the limit with ninety keys.
macro_rules! object {
    ($($key:literal: $value:expr),* $(,)?) => {{
        let mut keys = serde_json::Map::new();
        $(keys.insert($key.to_owned(), serde_json::Value::from($value));)*
        serde_json::Value::Object(keys)
    }};
}

mod activity;
mod agent;
mod alert;
mod content;
mod generator;
mod mitre;
mod organization;
mod record;
mod scope;
mod threat;
mod unified_alert;
mod vulnerability;

use serde_json::Value;

use super::kind::kinds;
use super::store::Row;
use super::time;
pub(super) use generator::Generator;
pub(super) use record::{NewRecord, set_time};

kinds! {
    /// `/activities`
    Activities: activity::ACTIVITIES,
    /// `/threats`
    Threats: threat::THREATS,
    /// `/agents`
    Agents: agent::AGENTS,
    /// `/cloud-detection/alerts`
    Alerts: alert::ALERTS,
    /// `/groups`
    Groups: scope::GROUPS,
    /// `/sites`
    Sites: scope::SITES,
    /// `/accounts`
    Accounts: scope::ACCOUNTS,
    /// `/users`
    Users: scope::USERS,
    /// `/unifiedalerts/graphql`
    UnifiedAlerts: unified_alert::UNIFIED_ALERTS,
    /// `/application-management/risks`
    Vulnerabilities: vulnerability::VULNERABILITIES,
}

impl Generator {
    /// Returns the accounts, sites, groups and users.
    pub fn scopes(&mut self) -> Vec<NewRecord> {
        scope::all(&self.org, &mut self.random)
    }

    /// Returns the agent of the organisation at `index`, in its state at `now`.
    pub fn agent(&mut self, index: usize, now: i64) -> NewRecord {
        agent::generate(self, index, now)
    }

    /// Changes a record in a random, realistic way: an analyst works on a threat, or an agent checks in.
    pub fn change(&mut self, kind: Kind, record: &mut Value, at: i64) {
        if let Some(change) = kind.description().change {
            change(self, record, at);
        }
        set_time(kind, record, at);
    }

    /// Returns a record whose body has at least `bytes` bytes; `None` if the kind has no large records.
    pub fn oversized(&mut self, kind: Kind, at: i64, bytes: usize) -> Option<NewRecord> {
        kind.description().oversized.map(|oversized| oversized(self, at, bytes))
    }

    /// Returns a new record similar to an existing one.
    pub fn similar_to(&mut self, kind: Kind, row: &Row, at: i64) -> NewRecord {
        let mut body: Value = serde_json::from_slice(&row.body).unwrap_or_default();
        body["id"] = Value::from(self.id(at).to_string());
        body["createdAt"] = Value::from(time::print(at));
        if let Some(renew) = kind.description().special.renew {
            renew(self, &mut body);
        }
        set_time(kind, &mut body, at);
        NewRecord::new(kind, body, row.account, 0)
    }
}
