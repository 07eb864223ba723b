//! The console's records: what appears and changes, when, and what of it is owed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::source::Since;

use crate::plan::{ConsolePlan, LanePlan, Plan};
use crate::world::lock;

pub const HOST: &str = "console.example";
pub const EXCLUDED: u32 = 27;
const MOST_UNREST: u32 = 40;

pub struct Nature {
    pub console: Console,
    state: Mutex<State>,
    overlap: Duration,
    too_late: f64,
    fat: f64,
    threats: bool,
    activities: bool,
}

struct State {
    random: Rng,
    /// Every version that ever stood, by key.
    versions: HashMap<u64, Version>,
    /// The version that stands now.
    standing: BTreeMap<(Kind, u64), Version>,
    latest: i64,
    unrest: u32,
}

#[derive(Debug, Clone)]
pub struct Version {
    pub id: u64,
    pub key: u64,
    /// What the stream is ordered by, in microseconds.
    pub time: i64,
    /// When it became visible.
    pub visible: i64,
    pub excluded: bool,
    pub bytes: usize,
    /// Decides, lane by lane, whether its sink refuses it for good.
    pub lot: f64,
}

impl Version {
    pub fn is_poison(&self, lane: &LanePlan) -> bool {
        self.lot < lane.poison
    }
}

impl Nature {
    pub fn new(plan: &Plan, random: Rng) -> Self {
        let console = Console::new(&Setup::new(plan.start.micros()));
        console.set_quirks(plan.console.quirks.clone());
        let ConsolePlan { too_late, fat, .. } = plan.console;
        let has = |stream| plan.lanes.iter().any(|lane| lane.stream == stream);
        let state = State { random, versions: HashMap::new(), standing: BTreeMap::new(), latest: 0, unrest: 0 };
        let nature = Self {
            console,
            state: Mutex::new(state),
            overlap: plan.overlap,
            too_late,
            fat,
            threats: has(Stream::Threats),
            activities: has(Stream::Activities),
        };
        let start = plan.start.micros();
        if let Since::At(since) = plan.since {
            // On the very edge of what is owed.
            (0..3).for_each(|_| nature.appear(since.micros(), start - micros(plan.span)));
        }
        for _ in 0..plan.history {
            let time = {
                let mut state = lock(&nature.state);
                match state.random.u32(..4) {
                    0 => state.latest.max(start - micros(plan.span)),
                    _ => start - state.random.i64(0..micros(plan.span)),
                }
            };
            nature.appear(time, start - micros(plan.span));
        }
        nature
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
            4..=7 if self.threats => self.change(now - late, now),
            _ => self.appear(now - late - jitter(), now),
        }
    }

    /// One record of each kind that no sink refuses.
    pub fn greet(&self, now: Timestamp) {
        for kind in [Kind::Threats, Kind::Activities] {
            let mut state = lock(&self.state);
            let id = 2_000_000_000_000_000_000 + state.random.u64(..1 << 40);
            self.put(&mut state, kind, id, now.micros(), now.micros());
            let State { versions, standing, .. } = &mut *state;
            if let Some(version) = standing.get_mut(&(kind, id)) {
                version.lot = 1.0;
                versions.insert(version.key, version.clone());
            }
        }
    }

    fn appear(&self, time: i64, visible: i64) {
        let mut state = lock(&self.state);
        let kind = match (self.threats, self.activities) {
            (true, true) => [Kind::Threats, Kind::Activities][state.random.usize(..2)],
            (true, false) => Kind::Threats,
            _ => Kind::Activities,
        };
        let id = loop {
            let id = 1_000_000_000_000_000_000 + state.random.u64(..1 << 40);
            if !state.standing.contains_key(&(kind, id)) {
                break id;
            }
        };
        self.put(&mut state, kind, id, time, visible);
    }

    /// Some threat changes: its version of `time` becomes visible.
    fn change(&self, time: i64, visible: i64) {
        let mut state = lock(&self.state);
        let threats = (Kind::Threats, 0)..=(Kind::Threats, u64::MAX);
        let count = state.standing.range(threats.clone()).count();
        if count == 0 {
            return;
        }
        let place = state.random.usize(..count);
        let Some((&(_, id), version)) = state.standing.range(threats).nth(place) else { return };
        let before = version.time;
        self.put(&mut state, Kind::Threats, id, time.max(before + 1), visible.max(before + 1));
    }

    fn put(&self, state: &mut State, kind: Kind, id: u64, time: i64, visible: i64) {
        state.latest = state.latest.max(time);
        let at = Timestamp::from_micros(time).to_string();
        let fat = state.random.f64() < self.fat;
        let filler = "x".repeat(state.random.usize(..200) + if fat { 3_000 } else { 0 });
        let excluded = kind == Kind::Activities && state.random.u32(..5) == 0;
        let activity_type = if excluded { EXCLUDED } else { 5 };
        let body = match kind {
            Kind::Threats => format!(
                r#"{{"id":"{id}","threatInfo":{{"createdAt":"2026-01-01T00:00:00Z","updatedAt":"{at}","threatName":"{filler}"}}}}"#
            ),
            _ => format!(
                r#"{{"activityType":{activity_type},"createdAt":"{at}","id":"{id}","updatedAt":"{at}","primaryDescription":"{filler}"}}"#
            ),
        };
        self.console.insert(kind, body.as_bytes()).unwrap();
        let key = match kind {
            Kind::Threats => Identity::of(HOST, Stream::Threats, &id.to_string(), &at).key(),
            _ => id,
        };
        let lot = state.random.f64();
        let version = Version { id, key, time, visible, excluded, bytes: body.len(), lot };
        state.standing.insert((kind, id), version.clone());
        state.versions.insert(key, version);
    }

    /// While a page is read something may happen too, though not for ever: each record makes more pages.
    pub fn happen_by_chance(&self, chance: f64, now: Timestamp) {
        let happens = {
            let mut state = lock(&self.state);
            let happens = state.unrest < MOST_UNREST && state.random.f64() < chance;
            state.unrest += u32::from(happens);
            happens
        };
        if happens {
            self.happen(now);
        }
    }

    pub fn version(&self, key: u64) -> Option<Version> {
        lock(&self.state).versions.get(&key).cloned()
    }

    /// What a lane that began at `since` owes by now (promise 2), as far as it concerns records before `before`.
    pub fn owed(&self, lane: &LanePlan, since: Timestamp, before: Timestamp) -> Vec<Version> {
        let kind = if lane.stream == Stream::Threats { Kind::Threats } else { Kind::Activities };
        let state = lock(&self.state);
        let standing = state.standing.range((kind, 0)..=(kind, u64::MAX)).map(|(_, version)| version);
        let owed = standing.filter(|version| {
            version.time >= since.micros()
                && version.time < before.micros()
                && version.visible - version.time <= micros(self.overlap)
                && !lane.leaves_out(version)
        });
        owed.cloned().collect()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap()
}
