//! Threads for programs that customers write: a slow program must not hold up the runtime, which pulls, delivers and
//! answers for everybody. They are started when there is something to do, and nobody waits for them at the end.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{io, thread};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::Span;

/// Most threads, so that programs take that much of the machine at most.
const MAX_THREADS: usize = 2;
/// The threads' nice value: a tenth of the processor where others want all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs in their order. Cloned handles share the threads, which end with the last handle.
#[derive(Debug, Clone, Default)]
pub struct ProgramThreads(Arc<Handle>);

/// The threads have the queue only.
#[derive(Debug, Default)]
struct Handle(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for a job.
    idle: usize,
    closed: bool,
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
    /// Runs a job after those that came before it. If the caller stops waiting, a job that has not begun never does,
    /// and the result of one that has is dropped where it ran.
    ///
    /// # Errors
    /// When no thread can be started, or the job panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, JobError> {
        let (sender, receiver) = oneshot::channel();
        let span = Span::current();
        let job = move || {
            if !sender.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| span.in_scope(job)));
                // Nobody may wait any more.
                let _ = sender.send(result);
            }
        };
        self.0.0.push(Box::new(job)).map_err(JobError::NoThread)?;
        match receiver.await {
            Ok(result) => result.map_err(JobError::Panicked),
            Err(_) => Err(JobError::NoThread(io::Error::other("the threads have ended"))),
        }
    }
}

impl Queue {
    fn push(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.idle <= state.jobs.len() && state.threads < MAX_THREADS {
            let queue = self.clone();
            match thread::Builder::new().name("program".to_owned()).spawn(move || queue.work()) {
                Ok(_) => state.threads += 1,
                // The other thread does it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return Err(error),
            }
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    fn work(&self) {
        // Of this thread only. Without it programs run all the same.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut state = self.state.lock();
        while !state.closed {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
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
        let abandoned = std::mem::take(&mut state.jobs);
        drop(state);
        self.0.changed.notify_all();
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A job that runs until its end is sent.
    #[allow(clippy::disallowed_types, reason = "the job is to block its thread")]
    fn blocking() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, ended) = mpsc::channel();
        let job = move || {
            // The other end is dropped.
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
            assert_eq!(threads.run(names).await.unwrap().as_deref(), Some("program"));
        }
        let running: Vec<_> = (0..5)
            .map(|_| {
                let (end, job) = blocking();
                let threads = threads.clone();
                (end, tokio::spawn(async move { threads.run(job).await }))
            })
            .collect();
        tokio::task::yield_now().await;
        while threads.0.0.state.lock().jobs.len() > 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(threads.0.0.state.lock().threads, MAX_THREADS);
        for (end, job) in running {
            drop(end);
            timeout(LONG, job).await.unwrap().unwrap().unwrap();
        }
        #[cfg(target_os = "linux")]
        {
            let nice = threads.run(|| rustix::process::getpriority_process(None).unwrap()).await.unwrap();
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
                let waiting = tokio::spawn(async move { threads.run(job).await });
                (end, waiting)
            })
            .collect();
        tokio::task::yield_now().await;
        let (began, mut begun) = tokio::sync::mpsc::channel::<()>(1);
        let abandoned = timeout(Duration::from_millis(20), threads.run(move || began.try_send(()).is_ok())).await;
        assert!(abandoned.is_err(), "both threads are busy");
        for (end, waiting) in ends {
            waiting.abort();
            let _ = waiting.await;
            drop(end);
        }
        assert_eq!(timeout(LONG, threads.run(|| 7)).await.unwrap().unwrap(), 7, "the threads go on");
        assert_eq!(begun.recv().await, None, "what nobody waits for any more does not begin");
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_neither_its_thread_nor_another_job() {
        let threads = ProgramThreads::default();
        for _ in 0..MAX_THREADS + 1 {
            let panicked = threads.run(|| panic!("a mistake")).await;
            assert!(matches!(panicked, Err(JobError::Panicked(_))));
        }
        assert_eq!(threads.run(|| 7).await.unwrap(), 7);
    }
}
