//! Thousands of pipelines in one worker.

use std::time::{Duration, Instant};

use serde_json::json;

use super::kernel::{self, Usage};
use super::world::{Console, NullSink, Place, Worker, pipeline, wait_until};
use super::{Row, Size};

const HOSTS: usize = 100;
const SCRAPE: Duration = Duration::from_secs(15);

fn idle_place(lanes: usize, console: &Console, sink: &NullSink) -> Place {
    let place = Place::new();
    for number in 0..lanes {
        let stream = "activities: { interval: 60s, since: now }";
        place.pipeline(&format!("p{number:05}"), &pipeline(&console.host(number % HOSTS), stream, &sink.url(), ""));
    }
    place
}

/// The cost of a number of idle lanes.
pub struct Idle {
    /// On average while it is looked at.
    pub rss_mb: f64,
    /// Share of a core, and the part of it in the kernel.
    pub core: f64,
    pub system: f64,
    pub peak_rss_mb: f64,
    /// CPU time of one scrape in seconds, next to what the lanes use meanwhile.
    pub scrape: f64,
    /// CPU time of a compressed scrape in seconds.
    pub compressed_scrape: f64,
}

/// Looks at idle lanes for `time` once all have polled, and the first checks of their pipelines are over.
pub fn idle_lanes(lanes: usize, time: Duration) -> Idle {
    let console = Console::start(0, &[]);
    let sink = NullSink::start("take");
    watch_idle(&idle_place(lanes, &console, &sink), lanes, time)
}

/// Looks at the lanes of `place` as [`idle_lanes`] does.
pub fn watch_idle(place: &Place, lanes: usize, time: Duration) -> Idle {
    let worker = place.run(&[]);
    worker.wait_ready();
    settle(&worker, lanes);
    let Watched { used, seconds, rss } = watch(&worker, time);
    let core = used.cpu().as_secs_f64() / seconds;
    let compressed_scrape = scrape(&worker, core, || worker.ask_for_compressed_metrics());
    let scrape = scrape(&worker, core, || drop(worker.metrics()));
    Idle {
        scrape,
        compressed_scrape,
        rss_mb: rss as f64 / 1e6,
        core,
        system: used.system.as_secs_f64() / seconds,
        peak_rss_mb: used.peak_rss as f64 / 1e6,
    }
}

pub fn idle(size: Size) -> Vec<Row> {
    let lanes = size.of(10_000);
    let time = Duration::from_secs(if size.light { 60 } else { 120 });
    let Idle { rss_mb, core, system, peak_rss_mb, scrape, compressed_scrape } = idle_lanes(lanes, time);
    let figures = json!({ "lanes": lanes, "rss_mb": rss_mb, "core": core, "system": system,
        "seconds": time.as_secs(), "peak_rss_mb": peak_rss_mb });
    let wanted = if size.light { "≤ 150 MB and 2 % of a core (for 10,000)" } else { "≤ 150 MB and 2 % of a core" };
    let measured = format!("{rss_mb:.0} MB, {:.2} % ({:.2} % in the kernel)", core * 100.0, system * 100.0);
    let of_idle = Row::goal(
        &format!("{lanes} idle lanes, {HOSTS} hosts, 60 s interval, scraped every 15 s"),
        wanted,
        measured,
        rss_mb <= 150.0 && core <= 0.02,
        figures,
    );
    let measured = format!("{:.0} ms, compressed {:.0} ms", scrape * 1e3, compressed_scrape * 1e3);
    let of_scrape = Row::goal(
        &format!("a scrape of {lanes} lanes, CPU time"),
        "≤ 200 ms",
        measured,
        scrape.max(compressed_scrape) <= 0.2,
        json!({ "lanes": lanes, "scrape_seconds": scrape, "compressed_scrape_seconds": compressed_scrape }),
    );
    vec![of_idle, of_scrape]
}

/// CPU time of a scrape, without what the lanes use meanwhile.
fn scrape(worker: &Worker, core: f64, ask: impl Fn()) -> f64 {
    const SCRAPES: u32 = 20;
    let before = worker.process.so_far();
    let started_at = Instant::now();
    (0..SCRAPES).for_each(|_| ask());
    let used = (worker.process.so_far().cpu() - before.cpu()).as_secs_f64();
    (used - core * started_at.elapsed().as_secs_f64()).max(0.0) / f64::from(SCRAPES)
}

/// Waits until every lane has polled, and it is known of every pipeline when its token expires. A worker that starts
/// asks for that in its first minutes, and reads each ledger; later it does so every few hours.
fn settle(worker: &Worker, lanes: usize) {
    wait_until("every lane has polled, and its token is known", Duration::from_mins(20), || {
        std::thread::sleep(Duration::from_secs(2));
        let known = ["last_success_timestamp_seconds", "token_expiry_timestamp_seconds"];
        known.into_iter().all(|name| worker.metric(name).len() >= lanes)
    });
    // The last ledgers are read a little later.
    std::thread::sleep(Duration::from_secs(30));
}

/// What a worker uses while it is scraped.
struct Watched {
    used: Usage,
    seconds: f64,
    /// Resident memory in bytes, the average of once a second.
    rss: u64,
}

fn watch(worker: &Worker, time: Duration) -> Watched {
    let before = worker.process.so_far();
    let started_at = Instant::now();
    let mut sizes = Vec::new();
    while started_at.elapsed() < time {
        let next = Instant::now() + SCRAPE;
        while Instant::now() < next {
            std::thread::sleep(Duration::from_secs(1));
            sizes.push(kernel::rss(worker.process.id()));
        }
        worker.metrics();
    }
    let after = worker.process.so_far();
    let used = Usage { user: after.user - before.user, system: after.system - before.system, peak_rss: after.peak_rss };
    Watched { used, seconds: started_at.elapsed().as_secs_f64(), rss: sizes.iter().sum::<u64>() / sizes.len() as u64 }
}

pub fn busy(size: Size) -> Vec<Row> {
    let lanes = size.of(1_000);
    let console = Console::start(200_000, &["--span", "10d"]);
    let sink = NullSink::start("take");
    let place = Place::new();
    for number in 0..lanes {
        let stream = "activities: { since: 20d, include_hidden: true }";
        place.pipeline(&format!("p{number:05}"), &pipeline(&console.host(number % HOSTS), stream, &sink.url(), ""));
    }
    let worker = place.run(&["--memory-budget", "256MiB"]);
    worker.wait_ready();
    std::thread::sleep(Duration::from_secs(10));
    let before = worker.metric("events_delivered_total");
    std::thread::sleep(Duration::from_mins(1));
    let after = worker.metric("events_delivered_total");
    assert_eq!((before.len(), after.len()), (lanes, lanes));
    let mut delivered: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    delivered.sort_by(f64::total_cmp);
    let mean = delivered.iter().sum::<f64>() / lanes as f64;
    let share = delivered[0] / mean;
    let rss = worker.process.so_far().peak_rss as f64 / 1e6;
    let figures = json!({ "lanes": lanes, "mean": mean, "slowest": delivered[0], "fastest": delivered[lanes - 1], "peak_rss_mb": rss });
    let measured = format!(
        "{share:.2} (slowest {}, mean {mean:.0}, fastest {}; peak RSS {rss:.0} MB, budget 256 MiB)",
        delivered[0],
        delivered[lanes - 1]
    );
    vec![Row::goal(
        &format!("{lanes} equal busy lanes over a minute: the slowest compared with the mean"),
        "≥ 0.5",
        measured,
        share >= 0.5,
        figures,
    )]
}

pub fn start(size: Size) -> Vec<Row> {
    let files = size.of(10_000);
    let console = Console::start(0, &[]);
    let sink = NullSink::start("take");
    let place = idle_place(files, &console, &sink);
    let worker = place.run(&[]);
    wait_until("all files are loaded and the first request is out", Duration::from_mins(10), || {
        worker.ready() && !worker.metric("console_requests_total").is_empty()
    });
    let used = worker.process.so_far();
    let seconds = used.cpu().as_secs_f64();
    let measured = format!("{seconds:.2} s ({:.2} s in the kernel)", used.system.as_secs_f64());
    let figures = json!({ "files": files, "user_s": used.user.as_secs_f64(), "system_s": used.system.as_secs_f64() });
    let wanted = if size.light { "≤ 3 CPU-seconds (for 10,000)" } else { "≤ 3 CPU-seconds" };
    vec![Row::goal(
        &format!("start with {files} pipeline files, until all are loaded and a request is out"),
        wanted,
        measured,
        seconds <= 3.0,
        figures,
    )]
}
