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

use super::kind::Kind;
use super::store::Row;
use super::time::{self, SECOND};
pub(super) use generator::Generator;
pub(super) use record::{NewRecord, set_time};

impl Generator {
    /// Accounts, sites, groups and users.
    pub fn scopes(&mut self) -> Vec<NewRecord> {
        scope::all(&self.org, &mut self.random)
    }

    /// The agent of the organisation at `index`, in its state at `now`.
    pub fn agent(&mut self, index: usize, now: i64) -> NewRecord {
        agent::generate(self, index, now)
    }

    pub fn activity(&mut self, at: i64) -> NewRecord {
        activity::generate(self, at)
    }

    /// A threat detected at `at`, in its state at `now`.
    pub fn threat(&mut self, at: i64, now: i64) -> NewRecord {
        let mut record = threat::generate(self, at);
        let mut changed = at + self.random.within(SECOND..120 * SECOND);
        while changed < now && self.random.chance(0.7) {
            self.change(Kind::Threats, &mut record.body, changed);
            changed += self.random.within(SECOND..8 * time::HOUR);
        }
        // Bulk changes give many threats the same time, here a whole second.
        let together = changed - changed.rem_euclid(time::HOUR) + time::HOUR;
        if together < now && self.random.chance(0.2) {
            self.change(Kind::Threats, &mut record.body, together);
        }
        record
    }

    pub fn alert(&mut self, at: i64) -> NewRecord {
        alert::generate(self, at)
    }

    /// A unified alert detected at `at`, in its state at `now`.
    pub fn unified_alert(&mut self, at: i64, now: i64) -> NewRecord {
        unified_alert::generate(self, at, now)
    }

    /// A finding detected at `at`, in its state at `now`.
    pub fn vulnerability(&mut self, at: i64, now: i64) -> NewRecord {
        vulnerability::generate(self, at, now)
    }

    /// Changes a record in a random, realistic way: an analyst works on a threat, or an agent checks in.
    pub fn change(&mut self, kind: Kind, record: &mut Value, at: i64) {
        match kind {
            Kind::Threats => threat::change(&mut self.random, record, at),
            Kind::Agents => agent::check_in(&mut self.random, record, at),
            Kind::Alerts => alert::change(&mut self.random, record),
            Kind::UnifiedAlerts => unified_alert::change(&mut self.random, record),
            Kind::Vulnerabilities => vulnerability::change(&mut self.random, record, at, self.older),
            Kind::Groups => scope::change_group(&mut self.random, record),
            Kind::Sites | Kind::Accounts | Kind::Users | Kind::Activities => {}
        }
        set_time(kind, record, at);
    }

    /// A new record similar to an existing one.
    pub fn similar_to(&mut self, kind: Kind, row: &Row, at: i64) -> NewRecord {
        let mut body: Value = serde_json::from_slice(&row.body).unwrap_or_default();
        body["id"] = Value::from(self.id(at).to_string());
        body["createdAt"] = Value::from(time::print(at));
        if kind == Kind::Agents {
            body["uuid"] = Value::from(self.random.uuid());
            body["computerName"] = Value::from(format!("WS-{:05}", 50_000 + self.made % 50_000));
            body["isDecommissioned"] = Value::from(false);
        }
        set_time(kind, &mut body, at);
        let group = if kind == Kind::Agents { row.group } else { 0 };
        NewRecord::new(kind, body, row.account, group)
    }

    /// A record whose body has at least `bytes` bytes.
    pub fn oversized(&mut self, kind: Kind, at: i64, bytes: usize) -> NewRecord {
        let mut record = match kind {
            Kind::Agents => {
                let index = self.random.below(self.org.agents.len() as u64) as usize;
                let mut record = self.agent(index, at);
                record.body["id"] = Value::from(self.id(at).to_string());
                record
            }
            Kind::Alerts => self.alert(at),
            Kind::Activities => self.activity(at),
            Kind::UnifiedAlerts => self.unified_alert(at, at),
            Kind::Vulnerabilities => self.vulnerability(at, at),
            _ => self.threat(at, at),
        };
        let block = match kind {
            Kind::Agents => {
                let interfaces: Vec<Value> = (0..bytes / 150 + 1).map(|_| agent::interface(self, at)).collect();
                record.body["networkInterfaces"] = Value::from(interfaces);
                return record;
            }
            Kind::Alerts => &mut record.body["sourceProcessInfo"]["commandline"],
            Kind::Activities => &mut record.body["data"]["escapedMaliciousProcessArguments"],
            Kind::UnifiedAlerts => &mut record.body["process"]["cmdLine"],
            Kind::Vulnerabilities => &mut record.body["reason"],
            _ => &mut record.body["threatInfo"]["maliciousProcessArguments"],
        };
        let argument = "--include \"C:\\\\Program Files\\\\Vendor\\\\module.dll\" ";
        *block = Value::from(argument.repeat(bytes / argument.len() + 1));
        record
    }
}
