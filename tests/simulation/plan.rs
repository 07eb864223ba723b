//! What one seed decides before anything runs: settings, and which things go wrong how often.

use std::time::Duration;

use fastrand::Rng;
use s1_forwarder::emulator::{Fault, Faults, LastPage, Quirks, RetryAfter};
use s1_forwarder::record::{Stream, Timestamp};
use s1_forwarder::settings::Period;
use s1_forwarder::source::Since;

use crate::model::{Version, kind_of};

/// Decides which things a seed is about: each with its own probability, so that most schedules have few troubles at
/// once.
fn with(random: &mut Rng, chance: f64) -> bool {
    random.f64() < chance
}

fn pick<T: Copy>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())]
}

fn share(random: &mut Rng, whole: Duration, from: f64, to: f64) -> Duration {
    whole.mul_f64(from + random.f64() * (to - from))
}

/// A stretch of the schedule, counted from its begin.
#[derive(Debug, Clone)]
pub struct Window<T> {
    pub from: Duration,
    pub to: Duration,
    pub what: T,
}

/// The value whose window is open.
pub fn open<T>(windows: &[Window<T>], at: Duration) -> Option<&T> {
    windows.iter().find(|window| (window.from..window.to).contains(&at)).map(|window| &window.what)
}

#[derive(Debug)]
pub struct SimulationPlan {
    /// Moment of the begin by the console's clock.
    pub start: Timestamp,
    /// How far this machine's clock is ahead of the console's, in seconds.
    pub skew: i64,
    /// How long things happen and go wrong.
    pub active: Duration,
    pub overlap: Duration,
    pub since: Since,
    pub history: usize,
    pub births: usize,
    pub span: Duration,
    pub console: ConsolePlan,
    pub lanes: Vec<LanePlan>,
    pub store: StorePlan,
    pub budget: usize,
    pub checkpoint_interval: Duration,
    /// Kills and stops.
    pub blows: usize,
    /// Time between polls.
    pub interval: Duration,
    pub gentle: bool,
    pub random: Rng,
}

/// What the console counts in a part of the open time, in place of the number of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Exact,
    Off(i64),
    /// Sometimes one, sometimes the other.
    OffByChance,
    /// As many as were visible this long ago.
    Late(Duration),
    Refused,
    /// 500.
    Failing,
    /// Not above this number.
    Capped(u64),
}

#[derive(Debug)]
pub struct ConsolePlan {
    pub counts: Counts,
    pub rate: f64,
    pub timeout: Duration,
    pub latency: Duration,
    pub quirks: Quirks,
    pub faults: Faults,
    pub fault_periods: Vec<Window<Faults>>,
    /// Pages are never longer, whatever is asked for.
    pub page_cap: usize,
    /// How often a page comes empty, with a cursor to go on.
    pub empty_pages: f64,
    /// How often a list ends too early, at a page that is not its first one.
    pub early_ends: f64,
    /// How often something happens just before and just after a page is read.
    pub unrest: f64,
    /// How often a record becomes visible later than `overlap`.
    pub too_late: f64,
    pub fat: f64,
}

/// What the sink does to everything for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Dead,
    Silent,
    Throttled(Duration),
    Unauthorized,
    Misconfigured,
    RefusesAll,
}

#[derive(Debug, Clone)]
pub struct LanePlan {
    pub stream: Stream,
    /// Whether `mode` is `snapshot`.
    pub snapshot: bool,
    pub marker: bool,
    /// Time between two sweeps over findings, where there is more than the first.
    pub resync: Option<Duration>,
    pub sink: String,
    pub interval: Duration,
    pub exclude: Vec<u32>,
    pub events: usize,
    pub bytes: usize,
    pub event_bytes: usize,
    pub copies: usize,
    pub batch_timeout: Duration,
    pub concurrency: usize,
    pub retry: (Duration, Duration),
    pub latency: Duration,
    /// Chances of one attempt.
    pub refuse: f64,
    pub lose: f64,
    pub partial: f64,
    pub warn: f64,
    /// Whether the sink refuses single events of a batch by name, and not the batch.
    pub itemised: bool,
    pub poison: f64,
    pub max_events: usize,
    pub moods: Vec<Window<Behaviour>>,
    /// Whether the sink never accepts an event.
    pub dead_for_ever: bool,
}

#[derive(Debug)]
pub struct StorePlan {
    pub latency: Duration,
    pub fail: f64,
    pub fails: Vec<Window<()>>,
    /// Share of the writes that fail or are cut off, but are applied all the same.
    pub applied: f64,
    pub dead_letters_fail: f64,
}

impl SimulationPlan {
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let r = &mut random;
        let interval = Duration::from_secs(pick(r, &[30, 60, 120, 300, 900]));
        let polls = r.u32(4..18);
        let active = interval * polls;
        // In polls: a long overlap is read again and again, which takes time and shows nothing new.
        let overlap = interval.mul_f64(pick(r, &[0.5, 1.0, 3.0, 5.0, 8.0]));
        let calm_clock = !with(r, 0.15);
        // In polls: a clock that is far behind takes that long to settle.
        let skew = if with(r, 0.12) { pick(r, &[-20.0, -4.0, -0.3, 0.3, 4.0, 20.0]) } else { 0.0 };
        let skew = (interval.as_secs_f64() * skew) as i64;
        let span = Duration::from_secs(pick(r, &[600, 7_200, 86_400]));
        let since = match r.u32(..8) {
            0 => Since::Now,
            1 => Since::Ago(Period(span / 2)),
            2 => Since::At(Timestamp::from_micros(1_790_000_000_000_000 - 300_000_000)),
            _ => Since::Beginning,
        };
        let console = ConsolePlan::of(r, active, overlap, skew == 0 && !calm_clock);
        let lane_count = pick(r, &[1, 1, 2, 3, 4]);
        let mut lanes: Vec<_> = (0..lane_count).map(|index| LanePlan::of(r, index, interval, active)).collect();
        if lane_count > 1 && with(r, 0.1) {
            lanes[0].dead_for_ever = true;
        }
        let records: usize = pick(r, &[15, 30, 60, 120]) / lane_count.min(3);
        Self {
            start: Timestamp::from_micros(1_790_000_000_000_000 + r.i64(0..5_000_000)),
            skew,
            active,
            overlap,
            since,
            history: r.usize(0..=records),
            births: r.usize(5..=records.max(6)),
            span,
            console,
            lanes,
            store: StorePlan::of(r, active),
            budget: pick(r, &[96 << 10, 256 << 10, 1 << 20, 64 << 20]),
            checkpoint_interval: Duration::from_secs(if with(r, 0.25) { 5 } else { 0 }),
            blows: if with(r, 0.35) { 0 } else { r.usize(1..8) },
            gentle: with(r, 0.2),
            interval,
            random: r.fork(),
        }
    }
}

impl ConsolePlan {
    fn of(r: &mut Rng, active: Duration, overlap: Duration, wrong_clock: bool) -> Self {
        let mut faults = Faults::default();
        let mut add = |r: &mut Rng, chance: f64, fault: Fault, most: f64| {
            if with(r, chance) {
                let share = r.f64() * most;
                faults = std::mem::take(&mut faults).with(fault, share);
            }
        };
        for fault in [
            Fault::TooManyRequests(RetryAfter::Absent),
            Fault::TooManyRequests(RetryAfter::Seconds(2)),
            Fault::TooManyRequests(RetryAfter::Date(5)),
            Fault::InternalError,
            Fault::BadGateway,
            Fault::Unavailable,
            Fault::GatewayTimeout,
            Fault::ErrorsOnly,
            Fault::HarmlessErrors,
            Fault::ErrorsWithData,
            Fault::NullData,
            Fault::HtmlPage,
            Fault::Truncated,
            Fault::Dropped,
            Fault::SlowBody(Duration::from_secs(2)),
            Fault::SlowAnswer(Duration::from_secs(40)),
        ] {
            add(r, 0.1, fault, 0.3);
        }
        for fault in [Fault::Unauthorized, Fault::Forbidden] {
            add(r, 0.04, fault, 0.05);
        }
        for fault in [Fault::RefusedCursor, Fault::LostCursor, Fault::RepeatedCursor, Fault::ShortPage] {
            add(r, 0.25, fault, 0.5);
        }
        if wrong_clock {
            let ahead = i64::try_from(overlap.as_secs()).unwrap_or(0) + r.i64(60..7_200);
            let off = pick(r, &[ahead, ahead, -3_600, -30]);
            add(r, 1.0, Fault::WrongDate(off), 0.7);
        }
        faults.max_consecutive = pick(r, &[1, 3, 6, 30]);
        let mut fault_periods = Vec::new();
        for _ in 0..if with(r, 0.35) { r.usize(1..4) } else { 0 } {
            let fault = pick(
                r,
                &[
                    Fault::Unauthorized,
                    Fault::Forbidden,
                    Fault::NotFound,
                    Fault::TooManyRequests(RetryAfter::Seconds(30)),
                    Fault::Unavailable,
                    Fault::ErrorsOnly,
                    Fault::NullData,
                    Fault::NullData,
                    Fault::HtmlPage,
                    Fault::Truncated,
                    Fault::Dropped,
                    Fault::RefusedCursor,
                    Fault::LostCursor,
                    Fault::RepeatedCursor,
                    Fault::SlowAnswer(Duration::from_secs(50)),
                ],
            );
            let from = share(r, active, 0.0, 0.8);
            let to = from + share(r, active, 0.02, 0.3);
            let mut what = Faults::default();
            if with(r, 0.3) {
                let kind = kind_of(pick(r, &Stream::ALL));
                what = what.with_on(kind, fault, 1.0);
            } else {
                what = what.with(fault, 1.0);
            }
            what.max_consecutive = u32::MAX;
            fault_periods.push(Window { from, to, what });
        }
        let last_pages = [LastPage::Null, LastPage::Absent, LastPage::Empty, LastPage::NullText, LastPage::ExtraPage];
        let quirks = Quirks {
            last_page: pick(r, &last_pages),
            times_rounded_to_10_ms: with(r, 0.4),
            errors_null: with(r, 0.5),
            null_edges: with(r, 0.2),
            missing_alert_fields: if with(r, 0.2) { vec!["UnifiedAlert.labels".to_owned()] } else { Vec::new() },
            ..Quirks::default()
        };
        let counts = match r.u32(..10) {
            0 => Counts::Off(-1),
            1 => Counts::Off(3),
            2 => Counts::OffByChance,
            3 => Counts::Late(overlap.mul_f64(r.f64() * 1.5)),
            4 => Counts::Refused,
            5 => Counts::Failing,
            6 => Counts::Capped(2),
            _ => Counts::Exact,
        };
        Self {
            counts,
            rate: pick(r, &[1.0, 5.0, 100.0]),
            timeout: Duration::from_secs(pick(r, &[5, 30])),
            latency: Duration::from_millis(pick(r, &[1, 50, 500])),
            quirks,
            faults,
            fault_periods,
            page_cap: pick(r, &[1, 3, 10, 50, 1000, 1000]),
            empty_pages: if with(r, 0.2) { 0.4 } else { 0.0 },
            early_ends: if with(r, 0.4) { 0.2 } else { 0.0 },
            unrest: if with(r, 0.4) { r.f64() * 0.5 } else { 0.0 },
            too_late: if with(r, 0.2) { 0.1 } else { 0.0 },
            fat: if with(r, 0.2) { 0.1 } else { 0.0 },
        }
    }
}

impl LanePlan {
    /// Whether the lane's settings leave the record out.
    pub fn leaves_out(&self, version: &Version) -> bool {
        version.excluded && !self.exclude.is_empty()
    }

    fn of(r: &mut Rng, index: usize, interval: Duration, active: Duration) -> Self {
        // Agents in both modes.
        let (stream, snapshot) = match r.usize(..=Stream::ALL.len()) {
            place if place < Stream::ALL.len() => (Stream::ALL[place], false),
            _ => (Stream::Agents, true),
        };
        let mut moods = Vec::new();
        for _ in 0..if with(r, 0.35) { r.usize(1..4) } else { 0 } {
            let what = match r.u32(..8) {
                0 => Behaviour::Unauthorized,
                1 => Behaviour::Misconfigured,
                2 => Behaviour::RefusesAll,
                3 => Behaviour::Silent,
                4 => Behaviour::Throttled(Duration::from_secs(r.u64(1..90))),
                _ => Behaviour::Dead,
            };
            let from = share(r, active, 0.0, 0.8);
            moods.push(Window { from, to: from + share(r, active, 0.02, 0.4), what });
        }
        let trouble = with(r, 0.6);
        let chance = |r: &mut Rng, often: f64, most: f64| {
            if trouble && with(r, often) { r.f64() * most } else { 0.0 }
        };
        let resync = with(r, 0.5).then_some(interval * 3);
        // They send all that there is at once, and again and again: a lane that is asked to stop has its batches to see
        // off, in halves where the sink wants it so, and that must not take longer than it has to drain.
        let is_always_busy = snapshot || stream == Stream::Vulnerabilities;
        let latencies: &[u64] = if is_always_busy { &[1, 30] } else { &[1, 30, 700, 6_000] };
        let latency = pick(r, latencies);
        Self {
            stream,
            snapshot,
            marker: with(r, 0.7),
            resync,
            sink: format!("sink-{index}"),
            interval,
            exclude: if with(r, 0.2) { vec![27] } else { Vec::new() },
            events: pick(r, &[1, 3, 10, 50]),
            bytes: pick(r, &[1_000, 8_000, 1 << 20]),
            // The console shows every field of an alert that is asked for, null or not.
            event_bytes: pick(r, &[if stream == Stream::UnifiedAlerts { 4_000 } else { 1_500 }, 1 << 20]),
            copies: pick(r, &[1, 2]),
            batch_timeout: Duration::from_millis(pick(r, &[0, 100, 1_000, 5_000])),
            concurrency: pick(r, &[1, 1, 2, 4, 8]),
            retry: (Duration::from_millis(500), Duration::from_secs(pick(r, &[10, 60]))),
            latency: Duration::from_millis(latency),
            refuse: chance(r, 0.4, 0.5),
            lose: chance(r, 0.4, 0.4),
            partial: chance(r, 0.3, 0.6),
            warn: chance(r, 0.3, 0.5),
            itemised: with(r, 0.5),
            poison: chance(r, 0.4, 0.04),
            max_events: if with(r, 0.2) { 2 } else { usize::MAX },
            moods,
            dead_for_ever: false,
        }
    }
}

impl StorePlan {
    fn of(r: &mut Rng, active: Duration) -> Self {
        let mut fails = Vec::new();
        if with(r, 0.2) {
            let from = share(r, active, 0.0, 0.8);
            fails.push(Window { from, to: from + share(r, active, 0.02, 0.2), what: () });
        }
        Self {
            latency: Duration::from_millis(pick(r, &[0, 1, 20, 900])),
            fail: if with(r, 0.25) { r.f64() * 0.4 } else { 0.0 },
            fails,
            applied: pick(r, &[0.0, 0.5, 1.0]),
            dead_letters_fail: if with(r, 0.2) { 0.3 } else { 0.0 },
        }
    }
}
