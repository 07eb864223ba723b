//! A long run: many pipelines between consoles and sinks that fail, while files and tokens change and the worker is
//! killed now and then. Nothing is lost, and what a process takes does not grow.
//!
//! `S1_FORWARDER_LONG_RUN_PIPELINES` and `S1_FORWARDER_LONG_RUN_SECONDS` set its size. `just long-run` is an hour with
//! a thousand pipelines; docs/dev/long-run.md has its result.

mod disturbances;
mod measure;
mod scene;
mod sinks;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::disturbances::Disturbances;
use self::measure::{Life, Sample, assert_like_a_new_one, tasks_at_rest};
use self::scene::Scene;
use crate::support::harness::setting;
use crate::support::process::{PATIENCE, Process, until_within};

/// How often the worker is killed, in the first two fifths of the run. What follows is one life, so that a slope means
/// something.
const KILLS: u32 = 5;

/// How much a run does. All periods follow from its two settings, so that many pipelines for a long time need about as
/// much of a machine as a few for seconds.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub pipelines: usize,
    pub time: Duration,
    /// Between two polls of a lane.
    pub interval: Duration,
    /// Between two disturbances.
    step: Duration,
    /// Between two samples.
    sample: Duration,
}

impl Size {
    fn from_environment() -> Self {
        let pipelines = setting("S1_FORWARDER_LONG_RUN_PIPELINES", 20);
        let time = Duration::from_secs(setting("S1_FORWARDER_LONG_RUN_SECONDS", 25) as u64);
        let interval = Duration::from_millis(60 * pipelines as u64);
        Self {
            pipelines,
            time,
            interval: interval.clamp(Duration::from_secs(1), Duration::from_secs(60)),
            step: (time / 60).min(Duration::from_secs(4)),
            sample: (time / 120).min(Duration::from_secs(10)),
        }
    }

    /// How late a record may become visible.
    pub fn overlap(&self) -> Duration {
        4 * self.interval
    }

    pub fn consoles(&self) -> usize {
        (self.pipelines / 100).clamp(2, 10)
    }

    /// When the worker is killed for the n-th time, from 1.
    fn kill(&self, number: u32) -> Duration {
        self.time * 2 * number / (5 * KILLS)
    }

    /// Whether consoles refuse tokens before the new ones are there. A lane then waits for one to five minutes.
    fn refuses_early(&self) -> bool {
        self.time >= Duration::from_mins(10)
    }

    /// How long the last records may take. One that no count shows is found when its time is closed, one and a half
    /// overlaps later.
    fn patience(&self) -> Duration {
        let refused = if self.refuses_early() { 6 * PATIENCE } else { PATIENCE };
        2 * self.overlap() + 10 * self.interval + refused
    }
}

#[ignore = "a long run: `just long-run`"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_and_nothing_is_lost_in_a_long_run() {
    let size = Size::from_environment();
    let mut scene = Scene::new(size).await;
    let mut disturbances = Disturbances::new(size.refuses_early());
    let mut worker = start(&scene, size).await;
    let mut life = Life::default();
    let mut kills = 0;
    // What had arrived when the last process began: only this may come again because of a kill.
    let mut before = BTreeMap::new();
    let started_at = Instant::now();
    let mut step = interval(size.step);
    let mut sample = interval(size.sample);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = 0_usize;
    while started_at.elapsed() < size.time {
        tokio::select! {
            _ = step.tick() => disturbances.step(&mut scene),
            _ = sample.tick() => {
                let taken = Sample::take(&mut worker, started_at.elapsed().as_secs_f64()).await;
                life.add(taken);
                samples += 1;
                if samples.is_multiple_of(12) {
                    assert_eq!(worker.get("/").await.0, 200);
                    println!("{}", taken.text());
                }
            }
        }
        if kills < KILLS && started_at.elapsed() >= size.kill(kills + 1) {
            worker.kill().await;
            before = arrived_at_last(&scene).await;
            kills += 1;
            life = Life::default();
            worker = start(&scene, size).await;
        }
    }
    assert_eq!(kills, KILLS);

    disturbances.end(&mut scene);
    scene.calm();
    let drained = Instant::now();
    let (arrived, account) = loop {
        sleep(size.sample).await;
        let arrived = scene.arrived();
        let account = scene.account(&arrived);
        let Some(missing) = account.missing.first() else { break (arrived, account) };
        assert!(drained.elapsed() < size.patience(), "{} are missing: {missing} …", account.missing.len());
    };
    println!("everything had arrived {} s after the faults", drained.elapsed().as_secs());
    assert!(account.strange.is_empty(), "{} were never there: {}", account.strange.len(), account.strange[0]);
    let (lost_answers, after_kills) = repeats(&arrived, &scene.unanswered(), &before);
    println!(
        "{} pipelines with {} lanes for {} s, {kills} kills, {:?}",
        size.pipelines,
        scene.lanes(),
        size.time.as_secs(),
        disturbances.counts,
    );
    println!(
        "{} events were owed and arrived, and {} versions that newer ones replaced; {lost_answers} came again after a \
         lost answer, {after_kills} after a kill",
        account.owed,
        account.arrived - account.owed,
    );
    let scrape = worker.metrics().await.0;
    let cpu = scrape.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")).unwrap();
    println!("the last process used {cpu} s of CPU time, and at most {} MiB", worker.peak_rss() >> 20);
    life.assert_flat();
    let old = tasks_at_rest(&mut worker, size.interval).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let mut worker = start(&scene, size).await;
    running(&mut worker, &scene, size).await;
    assert_like_a_new_one(old, tasks_at_rest(&mut worker, size.interval).await);
}

/// What has arrived when the sinks have entered all that a killed process had sent. A busy machine takes a while.
async fn arrived_at_last(scene: &Scene) -> BTreeMap<String, u32> {
    let mut arrived = scene.arrived();
    loop {
        sleep(Duration::from_secs(1)).await;
        let later = scene.arrived();
        if later == arrived {
            return later;
        }
        arrived = later;
    }
}

/// A worker that listens. With a thousand files on a busy machine that takes a while.
async fn start(scene: &Scene, size: Size) -> Process {
    let worker = scene.harness.worker();
    until_within(size.patience(), "the worker listens", async || {
        worker.log_text().contains("\"listening\"").then_some(())
    })
    .await;
    worker
}

/// Waits until each lane has polled.
async fn running(worker: &mut Process, scene: &Scene, size: Size) {
    until_within(size.patience(), "all lanes run", async || {
        sleep(size.sample).await;
        let metrics = worker.metrics().await;
        (metrics.samples("last_success_timestamp_seconds").count() == scene.lanes()).then_some(())
    })
    .await;
}

/// How many events came again because an answer was lost, and because of a kill. Each kill may repeat an event once,
/// and only one that had arrived `before` the last process began.
fn repeats(
    arrived: &BTreeMap<String, u32>,
    unanswered: &BTreeMap<String, u32>,
    before: &BTreeMap<String, u32>,
) -> (u32, u32) {
    let mut lost_answers = 0;
    let mut after_kills = 0;
    for (event, count) in arrived {
        let lost = unanswered.get(event).copied().unwrap_or_default().min(count - 1);
        let repeated = count - 1 - lost;
        let allowed = if before.contains_key(event) { KILLS } else { 0 };
        assert!(repeated <= allowed, "{event} came {count} times, {lost} answers to it were lost");
        lost_answers += lost;
        after_kills += repeated;
    }
    (lost_answers, after_kills)
}
