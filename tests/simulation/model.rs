//! The console's records: what appears and changes, when, and what of it is owed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::record::{self, Identity, Stream, Timestamp};
use s1_forwarder::source::Since;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::plan::{ConsolePlan, LanePlan, SimulationPlan};
use crate::shared::lock;

pub const HOST: &str = "console.example";
pub const EXCLUDED: u32 = 27;
/// In place of an agent's id, in the event that ends a snapshot.
const MARKER: &str = "snapshot";
/// How long unified alerts are looked for by their detection.
const NET: Duration = Duration::from_hours(24);
const MAX_UNREST: u32 = 40;

pub struct Model {
    pub console: Console,
    state: Mutex<State>,
    overlap: Duration,
    too_late: f64,
    fat: f64,
    /// What the lanes pull.
    kinds: Vec<Kind>,
}

struct State {
    random: Rng,
    /// Every version that ever stood, by key.
    versions: HashMap<u64, Version>,
    /// The version that stands now.
    current: BTreeMap<(Kind, u64), Version>,
    latest: i64,
    unrest: u32,
}

#[derive(Debug, Clone)]
pub struct Version {
    pub id: u64,
    pub key: u64,
    /// What the stream is ordered by, in microseconds.
    pub time: i64,
    /// By which the versions of one record follow each other: when it changed.
    pub changed: i64,
    /// When the record was made.
    pub created: i64,
    /// When it became visible.
    pub visible: i64,
    /// When the first version of the record did.
    pub appeared: i64,
    /// Whether it says nothing of a change: only its creation can be asked for.
    pub undated: bool,
    pub excluded: bool,
    /// Decides, lane by lane, whether its sink refuses it permanently.
    pub lot: f64,
}

impl Version {
    pub fn is_poison(&self, lane: &LanePlan) -> bool {
        self.lot < lane.poison
    }

    /// Whether it is the event that ends a snapshot.
    pub fn is_marker(&self) -> bool {
        self.id == 0
    }
}

impl Model {
    pub fn new(plan: &SimulationPlan, random: Rng) -> Self {
        let console = Console::new(&Setup::new(plan.start.micros()));
        console.set_quirks(plan.console.quirks.clone());
        // Every console begins with these groups.
        console.ids(Kind::Groups).into_iter().for_each(|id| _ = console.remove(Kind::Groups, id));
        let ConsolePlan { too_late, fat, .. } = plan.console;
        let is_pulled = |kind: &Kind| plan.lanes.iter().any(|lane| kind_of(lane.stream) == *kind);
        let kinds = Stream::ALL.map(kind_of).into_iter().filter(is_pulled).collect();
        let state = State { random, versions: HashMap::new(), current: BTreeMap::new(), latest: 0, unrest: 0 };
        let model = Self { console, state: Mutex::new(state), overlap: plan.overlap, too_late, fat, kinds };
        let start = plan.start.micros();
        if let Since::At(since) = plan.since {
            // On the very edge of what is owed.
            (0..3).for_each(|_| model.appear(since.micros(), start - micros(plan.span)));
        }
        for _ in 0..plan.history {
            let time = {
                let mut state = lock(&model.state);
                match state.random.u32(..4) {
                    0 => state.latest.max(start - micros(plan.span)),
                    _ => start - state.random.i64(0..micros(plan.span)),
                }
            };
            model.appear(time, start - micros(plan.span));
        }
        model
    }

    /// Something happens to the records at `now`.
    pub fn happen(&self, now: Timestamp) {
        let now = now.micros();
        let (what, late, latest, several) = {
            let mut state = lock(&self.state);
            let late = match state.random.f64() {
                dice if dice < self.too_late => state.random.i64(micros(self.overlap)..4 * micros(self.overlap)),
                _ if state.random.u32(..3) > 0 => 0,
                _ => state.random.i64(0..=micros(self.overlap)),
            };
            (state.random.u32(..12), late, state.latest, state.random.usize(2..8))
        };
        let jitter = || lock(&self.state).random.i64(0..3_000);
        match what {
            // Ties, to the microsecond or to the ten milliseconds that the console compares.
            0 => (0..several).for_each(|_| self.appear(now - late, now)),
            1 => (0..several).for_each(|_| self.appear(now - late - 3 * jitter(), now)),
            2 if now - latest < micros(self.overlap) => self.appear(latest, now),
            3 => self.appear((now - late) / 1_000_000 * 1_000_000, now),
            4..=7 if self.kinds.iter().any(changes) => self.change(now - late, now),
            _ => self.appear(now - late - jitter(), now),
        }
    }

    /// One record of each kind that no sink refuses.
    pub fn greet(&self, now: Timestamp) {
        for kind in self.kinds.clone() {
            let mut state = lock(&self.state);
            let id = 2_000_000_000_000_000_000 + state.random.u64(..1 << 40);
            self.put(&mut state, kind, id, (now.micros(), now.micros()), now.micros());
            let State { versions, current, .. } = &mut *state;
            if let Some(version) = current.get_mut(&(kind, id)) {
                version.lot = 1.0;
                versions.insert(version.key, version.clone());
            }
        }
    }

    fn appear(&self, time: i64, visible: i64) {
        let mut state = lock(&self.state);
        let kind = self.kinds[state.random.usize(..self.kinds.len())];
        let id = loop {
            let id = 1_000_000_000_000_000_000 + state.random.u64(..1 << 40);
            if !state.current.contains_key(&(kind, id)) {
                break id;
            }
        };
        let created = match kind {
            // Detected long before they were imported: only their change can be asked for.
            Kind::UnifiedAlerts if state.random.bool() => time - state.random.i64(0..3 * micros(NET)),
            _ => time,
        };
        self.put(&mut state, kind, id, (created, time), visible);
    }

    /// Some record changes: its version of `time` becomes visible.
    fn change(&self, time: i64, visible: i64) {
        let mut state = lock(&self.state);
        let changing: Vec<_> = state
            .current
            .iter()
            .filter(|((kind, _), _)| changes(kind))
            .map(|((kind, id), version)| (*kind, *id, version.created, version.changed))
            .collect();
        if changing.is_empty() {
            return;
        }
        let (kind, id, created, before) = changing[state.random.usize(..changing.len())];
        let tick = tick(kind);
        self.put(&mut state, kind, id, (created, time.max(before + tick)), visible.max(before + tick));
    }

    fn put(&self, state: &mut State, kind: Kind, id: u64, (created, changed): (i64, i64), visible: i64) {
        let whole = |micros: i64| micros - micros.rem_euclid(tick(kind));
        let created = whole(created);
        let changed = whole(changed);
        let created_at = print(kind, created);
        let at = print(kind, changed);
        let fat = state.random.f64() < self.fat;
        let filler = "x".repeat(state.random.usize(..200) + if fat { 3_000 } else { 0 });
        let excluded = kind == Kind::Activities && state.random.u32(..5) == 0;
        let activity_type = if excluded { EXCLUDED } else { 5 };
        let undated = kind == Kind::UnifiedAlerts && created == changed && state.random.u32(..3) == 0;
        let before = state.current.get(&(kind, id));
        let appeared = before.map_or(visible, |before| before.appeared);
        let is_new = before.is_none();
        let body = match kind {
            Kind::UnifiedAlerts => {
                let updated_at = if undated { "null".to_owned() } else { format!(r#""{at}""#) };
                format!(
                    r#"{{"id":"{id}","detectedAt":"{created_at}","createdAt":"{created_at}","updatedAt":{updated_at},"status":"NEW","analystVerdict":"UNDEFINED","name":"{filler}"}}"#
                )
            }
            // The console does not tell when a finding changed.
            Kind::Vulnerabilities => format!(
                r#"{{"id":"{id}","cveId":"CVE-1","status":"Detected","detectionDate":"{created_at}","daysDetected":0,"lastScanDate":"{created_at}","reason":"{filler}"}}"#
            ),
            Kind::Threats => format!(
                r#"{{"id":"{id}","threatInfo":{{"createdAt":"{created_at}","updatedAt":"{at}","threatName":"{filler}"}}}}"#
            ),
            Kind::Alerts => format!(
                r#"{{"alertInfo":{{"alertId":"{id}","createdAt":"{created_at}","updatedAt":"{at}","incidentStatus":"{filler}"}}}}"#
            ),
            // An agent is another one only when something besides its times is.
            Kind::Agents | Kind::Groups => {
                format!(r#"{{"id":"{id}","createdAt":"{created_at}","updatedAt":"{at}","description":"{at}{filler}"}}"#)
            }
            Kind::Activities => format!(
                r#"{{"activityType":{activity_type},"createdAt":"{at}","id":"{id}","updatedAt":"{at}","primaryDescription":"{filler}"}}"#
            ),
            kind => panic!("the simulation writes no {kind:?}"),
        };
        if kind == Kind::Vulnerabilities && !is_new {
            let removed = state.random.u32(..4) == 0;
            let change = |finding: &mut Value| {
                finding["reason"] = format!("{at} {filler}").into();
                finding["status"] = if removed { "Removed" } else { "Detected" }.into();
            };
            assert!(self.console.update(kind, id, changed, change));
        } else {
            self.console.insert(kind, body.as_bytes()).unwrap();
        }
        let identity = |stream, version: &str| Identity::of(HOST, stream, &id.to_string(), version).key();
        let key = match kind {
            _ if !changes(&kind) => id,
            Kind::Alerts => identity(Stream::Alerts, &format!("{at} {filler} ")),
            Kind::UnifiedAlerts if undated => identity(Stream::UnifiedAlerts, "NEW UNDEFINED"),
            Kind::Vulnerabilities => {
                identity(Stream::Vulnerabilities, &content(&self.console.record(kind, id).unwrap()))
            }
            _ => identity(stream_of(kind), &at),
        };
        let time = if kind == Kind::Alerts { created } else { changed };
        state.latest = state.latest.max(time);
        let lot = state.random.f64();
        let version = Version { id, key, time, created, changed, visible, appeared, undated, excluded, lot };
        state.current.insert((kind, id), version.clone());
        state.versions.insert(key, version);
    }

    /// While a page is read something may happen too, though not indefinitely: each record makes more pages.
    pub fn happen_by_chance(&self, chance: f64, now: Timestamp) {
        let happens = {
            let mut state = lock(&self.state);
            let happens = state.unrest < MAX_UNREST && state.random.f64() < chance;
            state.unrest += u32::from(happens);
            happens
        };
        if happens {
            self.happen(now);
        }
    }

    /// The ids of all versions that ever stood, with their keys.
    pub fn history(&self, lane: &LanePlan) -> Vec<Version> {
        let kind = kind_of(lane.stream);
        let state = lock(&self.state);
        let ids = state.current.range((kind, 0)..=(kind, u64::MAX)).map(|((_, id), _)| *id);
        let ids: std::collections::HashSet<u64> = ids.collect();
        state.versions.values().filter(|version| ids.contains(&version.id)).cloned().collect()
    }

    /// The event of an agent, or the one at its end, in the snapshot that gave it this identity.
    pub fn in_snapshot(&self, record_id: &str, identity: Identity, every: Duration, now: Timestamp) -> Option<Version> {
        let mut time = now.plus(every).aligned_to(every);
        while snapshot_identity(record_id, time) != identity {
            time = time.minus(every);
            if now.since(time) > NET {
                return None;
            }
        }
        if record_id == MARKER {
            return Some(shown_in(time, MARKER, 0, time.micros(), time.micros()));
        }
        let agent = lock(&self.state).current.get(&(Kind::Agents, record_id.parse().ok()?)).cloned()?;
        Some(shown_in(time, record_id, agent.id, agent.created, agent.appeared))
    }

    /// How many records with times in `window` became visible only after `then`.
    pub fn visible_since(&self, kind: Kind, window: std::ops::Range<i64>, then: i64) -> u64 {
        let state = lock(&self.state);
        let current = state.current.range((kind, 0)..=(kind, u64::MAX)).map(|(_, version)| version);
        current.filter(|version| window.contains(&version.time) && version.visible > then).count() as u64
    }

    pub fn version(&self, key: u64) -> Option<Version> {
        lock(&self.state).versions.get(&key).cloned()
    }

    /// What a lane that began at `since` owes by now (promise 2), as far as it concerns records before `before`; in
    /// snapshots, what it owes of the one of that time.
    pub fn owed(&self, lane: &LanePlan, since: Timestamp, before: Timestamp) -> Vec<Version> {
        let mut owed = self.accountable(lane, since, before);
        owed.retain(|version| !lane.leaves_out(version));
        owed
    }

    /// What [`Self::owed`] returns, with what the lane's settings leave out: all that it must account for.
    pub fn accountable(&self, lane: &LanePlan, since: Timestamp, before: Timestamp) -> Vec<Version> {
        let kind = kind_of(lane.stream);
        let state = lock(&self.state);
        let current = state.current.range((kind, 0)..=(kind, u64::MAX)).map(|(_, version)| version);
        if lane.snapshot {
            // Each agent that was there when the snapshot began.
            let window = since.micros()..before.micros();
            let shown = current.filter(|agent| window.contains(&agent.created) && agent.appeared < before.micros());
            let shown =
                shown.map(|agent| shown_in(before, &agent.id.to_string(), agent.id, agent.created, agent.appeared));
            return shown.collect();
        }
        let is_in_time = |version: &Version| {
            let comes =
                |time: i64, within: Duration| time >= since.micros() && version.visible - time <= micros(within);
            match kind {
                // They are looked at again for a week.
                Kind::Alerts => version.time >= since.micros(),
                Kind::UnifiedAlerts => {
                    comes(version.created, NET) || !version.undated && comes(version.changed, self.overlap)
                }
                _ => comes(version.time, self.overlap),
            }
        };
        current.filter(|version| version.time < before.micros() && is_in_time(version)).cloned().collect()
    }
}

/// The emulator's name of a stream.
pub fn kind_of(stream: Stream) -> Kind {
    let name = format!("{stream:?}");
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("no records of {stream}"))
}

fn stream_of(kind: Kind) -> Stream {
    Stream::ALL.into_iter().find(|stream| kind_of(*stream) == kind).unwrap()
}

/// Whether records of this kind have versions.
fn changes(kind: &Kind) -> bool {
    stream_of(*kind).description().version != record::Version::Constant
}

/// The shortest time that this kind's times tell apart, in microseconds.
fn tick(kind: Kind) -> i64 {
    if kind == Kind::UnifiedAlerts { 1_000 } else { 1 }
}

/// A time as records of this kind have it.
fn print(kind: Kind, micros: i64) -> String {
    let text = Timestamp::from_micros(micros).to_string();
    match kind {
        Kind::UnifiedAlerts => format!("{}Z", &text[..text.len() - 4]),
        _ => text,
    }
}

/// What tells the versions of a finding apart: all of it save what moves by itself.
fn content(finding: &[u8]) -> String {
    let mut finding: BTreeMap<String, Value> = serde_json::from_slice(finding).unwrap();
    finding.retain(|key, _| !matches!(key.as_str(), "daysDetected" | "lastScanDate" | "lastScanResult"));
    let digest = Sha256::digest(serde_json::to_string(&finding).unwrap());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn snapshot_identity(record_id: &str, time: Timestamp) -> Identity {
    Identity::of(HOST, Stream::Agents, record_id, &time.seconds().to_string())
}

/// An agent, or the event at the end, as the snapshot of `time` shows it.
fn shown_in(time: Timestamp, record_id: &str, id: u64, created: i64, appeared: i64) -> Version {
    let key = snapshot_identity(record_id, time).key();
    let lot = (key % 1_000_000) as f64 / 1e6;
    let changed = time.micros();
    let excluded = false;
    let undated = false;
    Version { id, key, time: created, changed, created, visible: appeared, appeared, undated, excluded, lot }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}
