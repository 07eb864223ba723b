//! Threads for programs that customers write: a slow program must not hold up the runtime, which pulls, delivers and
//! answers for all lanes. The threads start when there is a job, and no caller waits for them at the end.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tracing::Span;

/// Most threads, so that programs take that much of the machine at most.
const MAX_THREADS: usize = 2;
/// The threads' nice value: a tenth of the processor where others want all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs, and the jobs of one pipeline in their order. Each pipeline has the same share of the processor, however
/// many lanes it has. Cloned handles share the threads, which end with the last handle.
#[derive(Debug, Clone, Default)]
pub struct ProgramThreads(Arc<Handle>);

/// The threads hold only the queue, not this handle.
#[derive(Debug, Default)]
struct Handle(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    turns: Turns<Job>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    closed: bool,
}

/// The waiting jobs, and whose turn it is. Pipelines with the fewest running jobs come first, and among them the
/// pipeline that has used the least processor time.
struct Turns<J> {
    pipelines: HashMap<Arc<str>, Share<J>>,
    /// The jobs of all pipelines that wait.
    waiting: usize,
    /// Processor time of the pipeline of the last turn. A pipeline without a job starts here, so an idle pipeline saves
    /// up no turns.
    had: Duration,
}

/// The jobs of one pipeline.
struct Share<J> {
    jobs: VecDeque<J>,
    /// The number of the pipeline's jobs that run.
    running: usize,
    /// Processor time that the pipeline has used.
    had: Duration,
}

impl<J> Default for Turns<J> {
    fn default() -> Self {
        Self { pipelines: HashMap::new(), waiting: 0, had: Duration::ZERO }
    }
}

impl<J> Turns<J> {
    fn push(&mut self, pipeline: &Arc<str>, job: J) {
        let had = self.had;
        let new = || Share { jobs: VecDeque::new(), running: 0, had };
        self.pipelines.entry(pipeline.clone()).or_insert_with(new).jobs.push_back(job);
        self.waiting += 1;
    }

    /// Removes and returns the next job, with its pipeline.
    fn begin(&mut self) -> Option<(Arc<str>, J)> {
        let waiting = self.pipelines.iter_mut().filter(|(_, share)| !share.jobs.is_empty());
        let (pipeline, share) = waiting.min_by_key(|(_, share)| (share.running, share.had))?;
        let job = share.jobs.pop_front()?;
        share.running += 1;
        self.had = self.had.max(share.had);
        self.waiting -= 1;
        Some((pipeline.clone(), job))
    }

    /// Notes that a job of the pipeline has ended, after `took` of processor time.
    fn end(&mut self, pipeline: &str, took: Duration) {
        if let Some(share) = self.pipelines.get_mut(pipeline) {
            share.running -= 1;
            share.had += took;
        }
        // Its next job comes at once, so what it has had too much is not forgotten before all others have had as much.
        let had = self.had;
        self.pipelines.retain(|_, share| share.running > 0 || !share.jobs.is_empty() || share.had > had);
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// The job did not return.
#[derive(Debug)]
pub enum JobError {
    /// No thread can be started.
    NoThread(io::Error),
    Panicked(Box<dyn Any + Send>),
}

impl ProgramThreads {
    /// Runs a job of a pipeline after the pipeline's earlier jobs. If the caller stops waiting, a job that has not
    /// begun never begins. If it has begun, its thread drops the result.
    ///
    /// # Errors
    /// If no thread can be started, or the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        pipeline: &Arc<str>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let (sender, receiver) = oneshot::channel();
        let span = Span::current();
        let job = move || {
            if !sender.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| span.in_scope(job)));
                // The caller may have stopped waiting.
                let _ = sender.send(result);
            }
        };
        self.0.0.push(pipeline, Box::new(job)).map_err(JobError::NoThread)?;
        match receiver.await {
            Ok(result) => result.map_err(JobError::Panicked),
            Err(_) => Err(JobError::NoThread(io::Error::other("the threads have ended"))),
        }
    }
}

impl Queue {
    fn push(self: &Arc<Self>, pipeline: &Arc<str>, job: Job) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.idle <= state.turns.waiting && state.threads < MAX_THREADS {
            let queue = self.clone();
            match thread::Builder::new().name("program".to_owned()).spawn(move || queue.work()) {
                Ok(_) => state.threads += 1,
                // A thread that runs already does the job.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        state.turns.push(pipeline, job);
        self.changed.notify_one();
        Ok(())
    }

    fn work(&self) {
        // Only this thread has the lower priority. If it cannot be set, programs run all the same.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut state = self.state.lock();
        while !state.closed {
            if let Some((pipeline, job)) = state.turns.begin() {
                drop(state);
                let started_at = processor_time();
                job();
                let took = processor_time().saturating_sub(started_at);
                state = self.state.lock();
                state.turns.end(&pipeline, took);
            } else {
                state.idle += 1;
                self.changed.wait(&mut state);
                state.idle -= 1;
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let abandoned = std::mem::take(&mut state.turns);
        drop(state);
        self.0.changed.notify_all();
        drop(abandoned);
    }
}

/// Returns the processor time that this thread has used.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn pipeline() -> Arc<str> {
        "acme".into()
    }

    /// Returns a job that blocks its thread until the returned sender sends, or is dropped.
    #[allow(clippy::disallowed_types, reason = "the job is to block its thread")]
    fn blocking() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, ended) = mpsc::channel();
        let job = move || {
            // An error means that the test has dropped its end.
            let _ = ended.recv();
        };
        (end, job)
    }

    #[tokio::test]
    async fn jobs_run_on_two_threads_of_low_priority_that_start_with_the_first_job() {
        let threads = ProgramThreads::default();
        assert_eq!(threads.0.0.state.lock().threads, 0);
        let names = || thread::current().name().map(str::to_owned);
        for _ in 0..3 {
            assert_eq!(threads.run(&pipeline(), names).await.unwrap().as_deref(), Some("program"));
        }
        let running: Vec<_> = (0..5)
            .map(|_| {
                let (end, job) = blocking();
                let threads = threads.clone();
                (end, tokio::spawn(async move { threads.run(&pipeline(), job).await }))
            })
            .collect();
        tokio::task::yield_now().await;
        while threads.0.0.state.lock().turns.waiting > 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(threads.0.0.state.lock().threads, MAX_THREADS);
        for (end, job) in running {
            drop(end);
            timeout(LONG, job).await.unwrap().unwrap().unwrap();
        }
        #[cfg(target_os = "linux")]
        {
            let nice = threads.run(&pipeline(), || rustix::process::getpriority_process(None).unwrap()).await.unwrap();
            assert!(nice >= NICE, "{nice}");
            assert!(rustix::process::getpriority_process(None).unwrap() < NICE, "only these threads");
        }
    }

    /// The lane of a job may end, and so may the process.
    #[tokio::test]
    async fn nobody_waits_for_a_job_that_does_not_end() {
        let threads = ProgramThreads::default();
        let ends: Vec<_> = (0..MAX_THREADS)
            .map(|_| {
                let (end, job) = blocking();
                let threads = threads.clone();
                let waiting = tokio::spawn(async move { threads.run(&pipeline(), job).await });
                (end, waiting)
            })
            .collect();
        tokio::task::yield_now().await;
        let (start, mut started) = tokio::sync::mpsc::channel::<()>(1);
        let abandoned =
            timeout(Duration::from_millis(20), threads.run(&pipeline(), move || start.try_send(()).is_ok())).await;
        assert!(abandoned.is_err(), "both threads are busy");
        for (end, waiting) in ends {
            waiting.abort();
            let _ = waiting.await;
            drop(end);
        }
        assert_eq!(timeout(LONG, threads.run(&pipeline(), || 7)).await.unwrap().unwrap(), 7, "the threads go on");
        assert_eq!(started.recv().await, None, "what nobody waits for any more does not begin");
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_neither_its_thread_nor_another_job() {
        let threads = ProgramThreads::default();
        for _ in 0..MAX_THREADS + 1 {
            let panicked = threads.run(&pipeline(), || panic!("a mistake")).await;
            assert!(matches!(panicked, Err(JobError::Panicked(_))));
        }
        assert_eq!(threads.run(&pipeline(), || 7).await.unwrap(), 7);
    }

    /// Returns the milliseconds that each pipeline had of both threads, after `of_each_thread` milliseconds of each
    /// thread. `pipelines` has the name of each pipeline, its number of lanes, and the milliseconds of a lane's turn. A
    /// lane asks for its next turn as soon as its last one has ended.
    fn shares(pipelines: &[(&str, usize, u64)], of_each_thread: u64) -> HashMap<Arc<str>, u64> {
        let mut turns = Turns::default();
        for (name, lanes, takes) in pipelines {
            (0..*lanes).for_each(|_| turns.push(&Arc::from(*name), *takes));
        }
        let mut had = HashMap::new();
        // When each thread is free again, and what it does until then.
        let mut threads = [const { (0, None::<(Arc<str>, u64)>) }; MAX_THREADS];
        loop {
            let (now, ended) = threads.iter_mut().min_by_key(|(until, _)| *until).unwrap();
            if *now > of_each_thread {
                return had;
            }
            if let Some((pipeline, took)) = ended.take() {
                *had.entry(pipeline.clone()).or_default() += took;
                turns.end(&pipeline, Duration::from_millis(took));
                turns.push(&pipeline, took);
            }
            let (pipeline, takes) = turns.begin().unwrap();
            *now += takes;
            *ended = Some((pipeline, takes));
        }
    }

    #[test]
    fn a_pipeline_has_its_share_whatever_number_of_lanes_another_has() {
        let had = shares(&[("slow", 112, 100), ("victim", 1, 5)], 100_000);
        assert!(had["victim"] > 95_000, "one of the two threads is always the other pipeline's: {had:?}");
        let had = shares(&[("slow", 16, 60), ("other", 16, 100), ("many", 112, 20), ("victim", 1, 20)], 100_000);
        assert!(had.values().all(|had| had.abs_diff(50_000) < 2_000), "{had:?}");
        let had = shares(&[("alone", 16, 60)], 100_000);
        assert!(had["alone"] > 199_000, "both threads if nobody else wants one: {had:?}");
    }

    #[test]
    fn the_jobs_of_a_pipeline_begin_in_their_order_and_nobody_saves_up_turns() {
        let mut turns = Turns::default();
        let busy: Arc<str> = "busy".into();
        let late: Arc<str> = "late".into();
        for job in 0..100 {
            turns.push(&busy, job);
            assert_eq!(turns.begin(), Some((busy.clone(), job)));
            turns.end(&busy, Duration::from_secs(1));
        }
        (100..110).for_each(|job| turns.push(&busy, job));
        (0..10).for_each(|job| turns.push(&late, job));
        let mut order = Vec::new();
        while let Some((pipeline, job)) = turns.begin() {
            turns.end(&pipeline, Duration::from_secs(1));
            order.push(job);
        }
        let of = |is: fn(&i32) -> bool| order.iter().copied().filter(is).collect::<Vec<i32>>();
        assert_eq!((of(|job| *job >= 100), of(|job| *job < 100)), ((100..110).collect(), (0..10).collect()));
        let before_the_third = order.iter().position(|job| *job == 102).unwrap();
        assert!(before_the_third <= 7, "who comes late has not all turns first: {order:?}");
        assert!(turns.pipelines.len() <= 1, "who has no job is forgotten");
    }
}
