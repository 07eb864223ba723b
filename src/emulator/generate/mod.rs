//! Makes records: every field of the console's record types, distributed as on a real console.
//!
//! Everything follows from the seed and from the moments asked for: the same seed gives the same bytes.

/// A JSON object of many keys: `json!` recurses once per token and cannot take ninety of them.
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
mod mitre;
mod scope;
mod threat;
mod unified_alert;
mod vulnerability;
mod world;

use serde_json::{Value, json};

use super::kind::Kind;
use super::random::Random;
use super::store::Row;
use super::time::{self, SECOND};
pub use world::FIRST_USER;
pub(super) use world::World;

/// A record on its way into the console, with what its body does not tell.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub kind: Kind,
    pub body: Value,
    pub account: u64,
    pub site: u64,
    pub group: u64,
    pub hidden: bool,
    /// When it was changed last, where the body does not tell.
    pub updated: Option<i64>,
}

impl Draft {
    fn new(kind: Kind, body: Value, account: u64, group: u64) -> Self {
        Self { kind, body, account, site: 0, group, hidden: false, updated: None }
    }
}

/// Makes records about one world.
#[derive(Debug)]
pub(super) struct Generator {
    pub world: World,
    random: Random,
    /// Keeps ids of one millisecond apart.
    made: u64,
    /// The last threats and alerts made: what activities are about.
    threats: Recent,
    alerts: Recent,
    /// Leaves out what consoles before the newest ones do not send.
    older: bool,
}

impl Generator {
    pub fn new(seed: u64, agents: usize, now: i64, older: bool) -> Self {
        let mut random = Random::new(seed, 1);
        let world = World::new(&mut random, agents, now);
        Self { world, random, made: 0, threats: Recent::default(), alerts: Recent::default(), older }
    }

    /// 17 to 19 digits that rise roughly with time: milliseconds, then a counter.
    fn id(&mut self, at: i64) -> u64 {
        const FIRST: i64 = 1_492_819_200_000;
        self.made += 1;
        let millis = (at.div_euclid(1_000) + self.random.within(-40..40) - FIRST).clamp(11_920_930, 1 << 40);
        ((millis as u64) << 23) | (self.made & 0x7f_ffff)
    }

    /// Accounts, sites, groups and users.
    pub fn scopes(&mut self) -> Vec<Draft> {
        scope::all(&self.world, &mut self.random)
    }

    /// The agent at a place in the world, as of `now`.
    pub fn agent(&mut self, place: usize, now: i64) -> Draft {
        agent::make(self, place, now)
    }

    pub fn activity(&mut self, at: i64) -> Draft {
        activity::make(self, at)
    }

    /// A threat detected at `at` in the state that it has at `now`.
    pub fn threat(&mut self, at: i64, now: i64) -> Draft {
        let mut draft = threat::make(self, at);
        let mut changed = at + self.random.within(SECOND..120 * SECOND);
        while changed < now && self.random.chance(0.7) {
            self.change(Kind::Threats, &mut draft.body, changed);
            changed += self.random.within(SECOND..8 * time::HOUR);
        }
        // Many threats are changed in one go: they share a moment, here a whole second.
        let together = changed - changed.rem_euclid(time::HOUR) + time::HOUR;
        if together < now && self.random.chance(0.2) {
            self.change(Kind::Threats, &mut draft.body, together);
        }
        draft
    }

    pub fn alert(&mut self, at: i64) -> Draft {
        alert::make(self, at)
    }

    /// A unified alert detected at `at` in the state that it has at `now`.
    pub fn unified_alert(&mut self, at: i64, now: i64) -> Draft {
        unified_alert::make(self, at, now)
    }

    /// A finding detected at `at` in the state that it has at `now`.
    pub fn vulnerability(&mut self, at: i64, now: i64) -> Draft {
        vulnerability::make(self, at, now)
    }

    /// Whether this is an older console.
    pub fn is_older(&self) -> bool {
        self.older
    }

    /// Lets time do to a record what it does on a console: a threat goes on in its life, an agent checks in.
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

    /// A new record like one that is there.
    pub fn alike(&mut self, kind: Kind, row: &Row, at: i64) -> Draft {
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
        Draft::new(kind, body, row.account, group)
    }

    /// A record made so large that its body has at least this many bytes.
    pub fn oversized(&mut self, kind: Kind, at: i64, bytes: usize) -> Draft {
        let mut draft = match kind {
            Kind::Agents => {
                let place = self.random.below(self.world.agents.len() as u64) as usize;
                let mut draft = self.agent(place, at);
                draft.body["id"] = Value::from(self.id(at).to_string());
                draft
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
                draft.body["networkInterfaces"] = Value::from(interfaces);
                return draft;
            }
            Kind::Alerts => &mut draft.body["sourceProcessInfo"]["commandline"],
            Kind::Activities => &mut draft.body["data"]["escapedMaliciousProcessArguments"],
            Kind::UnifiedAlerts => &mut draft.body["process"]["cmdLine"],
            Kind::Vulnerabilities => &mut draft.body["reason"],
            _ => &mut draft.body["threatInfo"]["maliciousProcessArguments"],
        };
        let argument = "--include \"C:\\\\Program Files\\\\Vendor\\\\module.dll\" ";
        *block = Value::from(argument.repeat(bytes / argument.len() + 1));
        draft
    }
}

/// The ids of the last records of a kind.
#[derive(Debug, Default)]
struct Recent {
    ids: Vec<u64>,
    next: usize,
}

impl Recent {
    fn remember(&mut self, id: u64) {
        const MOST: usize = 1_000;
        match self.ids.get_mut(self.next % MOST) {
            Some(old) => *old = id,
            None => self.ids.push(id),
        }
        self.next += 1;
    }

    /// One of them, or `otherwise` when there is none.
    fn pick(&self, random: &mut Random, otherwise: u64) -> u64 {
        if self.ids.is_empty() { otherwise } else { *random.pick(&self.ids) }
    }
}

/// Where a kind keeps the time of its last change.
pub(super) fn set_time(kind: Kind, record: &mut Value, at: i64) {
    let block = match kind {
        Kind::Threats => &mut record["threatInfo"],
        Kind::Alerts => &mut record["alertInfo"],
        Kind::UnifiedAlerts => {
            record["updatedAt"] = json!(time::print_millis(at));
            return;
        }
        // The console knows it, but does not tell.
        Kind::Vulnerabilities => return,
        _ => record,
    };
    block["updatedAt"] = json!(time::print(at));
}

/// Text, "" or null: consoles send all three for what is not there.
fn perhaps(random: &mut Random, there: f64, text: impl FnOnce() -> String) -> Value {
    if random.chance(there) {
        Value::from(text())
    } else if random.chance(0.5) {
        Value::from("")
    } else {
        Value::Null
    }
}

/// Text or null.
fn or_null(random: &mut Random, there: f64, text: impl FnOnce() -> String) -> Value {
    if random.chance(there) { Value::from(text()) } else { Value::Null }
}
