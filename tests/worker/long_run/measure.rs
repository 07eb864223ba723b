//! What a process takes while it lives, and whether it grows.

use std::fmt::Write;
use std::time::Duration;

use crate::support::process::Process;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    values: [f64; MEASURES.len()],
}

/// Something that must not grow.
struct Measure {
    name: &'static str,
    /// What it may grow by: a share of its first value, and `noise`.
    share: f64,
    noise: f64,
}

/// A process that leaks a task or a connection for each reload, or a kilobyte for each poll, exceeds these within an
/// hour. What is allowed is noise: of memory, pages that the allocator has not returned yet; of descriptors and tasks,
/// connections that are busy or kept for a while; of threads, tokio's for files, which end after ten seconds without
/// work. A busy machine makes all of them larger.
const MEASURES: [Measure; 4] = [
    Measure { name: "RSS (MiB)", share: 0.05, noise: 3.0 },
    Measure { name: "descriptors", share: 0.05, noise: 20.0 },
    Measure { name: "threads", share: 0.05, noise: 10.0 },
    Measure { name: "tasks", share: 0.02, noise: 20.0 },
];

/// From here on a slope means something. A shorter life is judged by its first and last third, with more noise.
const LONG: Duration = Duration::from_mins(15);

/// Medians that are made of the samples of a life, so that one busy moment counts little.
const BLOCKS: usize = 18;

impl Sample {
    pub async fn take(worker: &mut Process, at: f64) -> Self {
        let rss = worker.kernel_count("VmRSS") as f64 / 1024.0;
        let descriptors = worker.open_files() as f64;
        let threads = worker.kernel_count("Threads") as f64;
        let tasks = worker.metrics().await.samples("tasks").next().unwrap().1;
        Self { at, values: [rss, descriptors, threads, tasks] }
    }

    pub fn text(&self) -> String {
        let values = MEASURES.iter().zip(self.values).map(|(measure, value)| format!("{value:.0} {}", measure.name));
        format!("{:5.1} min: {}", self.at / 60.0, values.collect::<Vec<_>>().join(", "))
    }
}

/// The tasks of a process that only polls: the least of several looks over `time`. A connection, which may be kept for
/// over a minute, has a task and a descriptor; these cancel out.
pub async fn tasks_at_rest(worker: &mut Process, time: Duration) -> f64 {
    const LOOKS: u32 = 20;
    let mut least = f64::INFINITY;
    for _ in 0..LOOKS {
        tokio::time::sleep(time / LOOKS).await;
        let Sample { values: [_, descriptors, _, tasks], .. } = Sample::take(worker, 0.0).await;
        least = least.min(tasks - descriptors);
    }
    least
}

/// After a long life a worker has as many tasks as one that has just started.
pub fn assert_like_a_new_one(old: f64, new: f64) {
    println!("tasks at rest, less descriptors: {old} after the run, {new} in a new process");
    assert!(old <= 1.02 * new + 10.0, "{old} tasks at rest after the run, {new} in a new process");
}

/// The samples of one process, from its start to its end.
#[derive(Debug, Default)]
pub struct Life(Vec<Sample>);

/// How one measure went over a life.
struct Course {
    first: f64,
    last: f64,
    /// Change in an hour, and its standard error.
    slope: f64,
    error: f64,
}

impl Life {
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Medians of the life after its first fifth, in which it fills caches and pools.
    fn blocks(&self) -> Vec<Sample> {
        let start = self.0[0].at;
        let end = self.0[self.0.len() - 1].at;
        let warm = start + (end - start) / 5.0;
        let warm: Vec<_> = self.0.iter().copied().filter(|sample| sample.at >= warm).collect();
        let size = warm.len().div_ceil(BLOCKS).max(1);
        warm.chunks(size).map(middle).collect()
    }

    fn length(&self) -> Duration {
        let ends = self.0.first().zip(self.0.last());
        ends.map_or(Duration::ZERO, |(first, last)| Duration::from_secs_f64(last.at - first.at))
    }

    /// Prints a table of the life, and a line for each measure. Panics when one of them grew.
    pub fn assert_flat(&self) {
        let (text, grown) = self.judge();
        println!("{text}");
        assert!(grown.is_empty(), "{grown:?} grew:\n{text}");
    }

    /// The table and the lines, and the names of the measures that grew.
    fn judge(&self) -> (String, Vec<&'static str>) {
        let blocks = self.blocks();
        let mut text = format!("a life of {:.1} minutes\n| minute |", self.length().as_secs_f64() / 60.0);
        MEASURES.iter().for_each(|measure| write!(text, " {} |", measure.name).unwrap());
        text += "\n| --- | --- | --- | --- | --- |\n";
        for block in &blocks {
            let values: Vec<_> = block.values.iter().map(|value| format!("{value:.0}")).collect();
            writeln!(text, "| {:.1} | {} |", block.at / 60.0, values.join(" | ")).unwrap();
        }
        let mut grown = Vec::new();
        for (index, measure) in MEASURES.iter().enumerate() {
            let course = Course::of(&blocks, index);
            let (is_flat, rule) = course.judge(measure, self.length() >= LONG);
            let percent = 100.0 * course.slope / course.first;
            writeln!(
                text,
                "{}: {:+.1} an hour ({percent:+.1} %, standard error {:.1}), {:.1} at first, {:.1} at last; {rule}",
                measure.name, course.slope, course.error, course.first, course.last,
            )
            .unwrap();
            if !is_flat {
                grown.push(measure.name);
            }
        }
        (text, grown)
    }
}

impl Course {
    fn of(blocks: &[Sample], index: usize) -> Self {
        let value = |sample: &Sample| sample.values[index];
        let third = blocks.len().div_ceil(3);
        let (slope, error) = line(blocks.iter().map(|block| (block.at / 3600.0, value(block))));
        Self {
            first: median(blocks[..third].iter().map(value)),
            last: median(blocks[blocks.len() - third..].iter().map(value)),
            slope,
            error,
        }
    }

    /// Whether it is flat, and by which rule.
    ///
    /// The slope of a long life may exceed the limit by twice its standard error, which is noise as often as not. The
    /// slope of a minute, made an hour's, would be nothing but noise. There the last third is compared with the first
    /// one. Pools of connections and memory still fill, hence twice the limit.
    fn judge(&self, measure: &Measure, is_long: bool) -> (bool, String) {
        if is_long {
            let limit = self.first * measure.share + measure.noise;
            return (self.slope - 2.0 * self.error <= limit, format!("allowed: {limit:.1} an hour"));
        }
        let limit = self.first * (1.0 + 2.0 * measure.share) + 2.0 * measure.noise;
        (self.last <= limit, format!("allowed at last: {limit:.1}"))
    }
}

fn middle(samples: &[Sample]) -> Sample {
    let mut values = [0.0; MEASURES.len()];
    for (index, value) in values.iter_mut().enumerate() {
        *value = median(samples.iter().map(|sample| sample.values[index]));
    }
    Sample { at: median(samples.iter().map(|sample| sample.at)), values }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The slope of the line of least squares, and its standard error.
fn line(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let points: Vec<_> = points.collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let x = mean(|point| point.0);
    let y = mean(|point| point.1);
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    (slope, (rest / (count - 2.0).max(1.0) / spread).sqrt())
}

#[test]
fn a_line_has_its_slope_and_noise_has_none() {
    let (slope, error) = line((0..10).map(|n| (f64::from(n), 3.0 * f64::from(n) + 1.0)));
    assert!((slope - 3.0).abs() < 1e-9 && error < 1e-9, "{slope} {error}");
    let (slope, error) = line((0..100).map(|n| (f64::from(n), f64::from(n % 2))));
    assert!(slope.abs() < 2.0 * error, "{slope} {error}");
    let life = |grows: f64| {
        let sample =
            |n: u32| Sample { at: f64::from(n) * 20.0, values: [100.0 + grows * f64::from(n); MEASURES.len()] };
        Life((0..100).map(sample).collect())
    };
    assert!(life(0.01).judge().1.is_empty());
    // 0.2 in 20 seconds are 36 in an hour.
    assert_eq!(life(0.2).judge().1.len(), MEASURES.len());
}
