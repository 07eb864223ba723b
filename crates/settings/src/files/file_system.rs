//! Calls of a file system that may not answer. They run in threads of their own, and the caller waits for a while.

#![expect(clippy::disallowed_types, reason = "callers wait off the runtime, with a timeout")]

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Time after which a file system counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for each further path, after one of them did not answer.
const LESS_PATIENCE: Duration = Duration::from_millis(500);
/// Time for a path in a directory with [`MAX_FREE_THREADS`] paths that do not answer.
const MIN_PATIENCE: Duration = Duration::from_millis(100);
/// Number of paths without an answer in a directory from which on its other paths get less time.
const MAX_FREE_THREADS: usize = 16;
/// Most threads that wait for the paths of one directory. Others in it are not tried then.
const MAX_IN_DIRECTORY: usize = 64;
/// Most threads that wait for paths, of all directories. Systems limit the threads of a process.
const MAX_FILES: usize = 1_000;
/// Time after which a path without an answer is tried again. Each further time is twice as long: a file system that is
/// mounted again does not end the calls to the old one.
const RETRY_AFTER: Duration = Duration::from_mins(5);
/// Number of answers that wait for the caller. Each may be as large as a file.
const AHEAD: usize = 16;
/// Time after which a waiting caller is one of at most [`MAX_WAITING`].
const SOON: Duration = Duration::from_millis(100);
/// Most callers that wait for longer. Each occupies one of the 512 threads that the runtime has for all that blocks.
const MAX_WAITING: usize = 128;

static SILENT: LazyLock<Mutex<Silent>> = LazyLock::new(Mutex::default);
static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);

/// Calls that did not answer in time.
#[derive(Debug, Default)]
struct Silent {
    paths: HashMap<PathBuf, Hanging>,
    /// Sums for the directories. `all` is the sum for all.
    directories: HashMap<PathBuf, Hanging>,
    all: Hanging,
}

/// Calls that have not ended yet. Each has a thread.
#[derive(Debug, Default, Clone, Copy)]
struct Hanging {
    calls: usize,
    /// Time at which the last of them began to hang.
    since: Option<Instant>,
}

impl Hanging {
    /// Returns whether there are `most` calls, and it is not yet time for one more.
    fn refuses(self, most: usize) -> bool {
        let wait =
            RETRY_AFTER * 2_u32.saturating_pow(u32::try_from(self.calls.saturating_sub(most)).unwrap_or(u32::MAX));
        self.calls >= most && self.since.is_some_and(|since| since.elapsed() < wait)
    }

    fn add(&mut self) {
        self.calls += 1;
        self.since = Some(Instant::now());
    }
}

impl Silent {
    /// Returns the time to wait for a path; `None` if it is not tried now.
    fn patience(&self, path: &Path, patience: Duration) -> Option<Duration> {
        if self.all.calls == 0 {
            return Some(patience);
        }
        let directory = self.directories.get(directory(path)).copied().unwrap_or_default();
        let is_refused = self.paths.get(path).is_some_and(|calls| calls.refuses(1))
            || directory.refuses(MAX_IN_DIRECTORY)
            || self.all.refuses(MAX_FILES);
        let patience = if directory.calls >= MAX_FREE_THREADS { patience.min(MIN_PATIENCE) } else { patience };
        (!is_refused).then_some(patience)
    }

    fn add(&mut self, path: &Path) {
        self.paths.entry(path.to_owned()).or_default().add();
        self.directories.entry(directory(path).to_owned()).or_default().add();
        self.all.add();
    }

    fn remove(&mut self, path: &Path) {
        for (hanging, path) in [(&mut self.paths, path), (&mut self.directories, directory(path))] {
            if let Some(calls) = hanging.get_mut(path) {
                calls.calls -= 1;
                if calls.calls == 0 {
                    hanging.remove(path);
                }
            }
        }
        self.all.calls -= 1;
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn silent() -> Error {
    Error::new(ErrorKind::TimedOut, "the file system does not answer")
}

/// Calls `ask` for one path. It waits at most 5 s, and can be called on a thread of the runtime, whose other tasks go
/// on.
///
/// # Errors
/// If `ask` fails, or the file system does not answer in time (`TimedOut`).
pub fn ask_file_system<T: Send + 'static>(
    path: &Path,
    ask: impl Fn(&Path) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let mut answers = FileAnswers::new(vec![(path.into(), ())], move |path, ()| Some(ask(path)));
    answers.next().map_or_else(|| Err(silent()), |(_, answer)| answer)
}

type Ask<Q, T> = dyn Fn(&Path, &Q) -> Option<Result<T>> + Send + Sync;

/// The answers of a file system about many paths, in their order, except for those with the answer `None`. One thread
/// asks for all of them: a thread for each path takes several times as long. A path that does not answer in time costs
/// this thread, and the next one goes on behind it.
pub struct FileAnswers<Q, T> {
    questions: Arc<Vec<(Arc<Path>, Q)>>,
    ask: Arc<Ask<Q, T>>,
    thread: Option<Thread<T>>,
    /// The first question that has no answer yet.
    next: usize,
    patience: Duration,
}

struct Thread<T> {
    progress: Arc<Progress>,
    /// Indexes of questions, and their answers.
    answers: Receiver<(usize, Result<T>)>,
}

/// Progress of a thread.
#[derive(Debug, Default)]
struct Progress {
    /// Question that the thread asks next or now. At the end, the number of questions.
    at: AtomicUsize,
    /// Whether no caller waits for the thread any more.
    is_abandoned: AtomicBool,
}

impl<Q: Send + Sync + 'static, T: Send + 'static> FileAnswers<Q, T> {
    pub fn new(
        questions: Vec<(Arc<Path>, Q)>,
        ask: impl Fn(&Path, &Q) -> Option<Result<T>> + Send + Sync + 'static,
    ) -> Self {
        let questions = Arc::new(questions);
        let ask = Arc::new(ask);
        Self { questions, ask, thread: None, next: 0, patience: PATIENCE }
    }

    fn spawn(&self) -> Result<Thread<T>> {
        let questions = self.questions.clone();
        let ask = self.ask.clone();
        let from = self.next;
        let patience = self.patience;
        let progress = Arc::new(Progress { at: from.into(), ..Progress::default() });
        let own = progress.clone();
        let (send, answers) = sync_channel(AHEAD);
        std::thread::Builder::new().name("read-file".to_owned()).spawn(move || {
            for (index, (path, question)) in questions.iter().enumerate().skip(from) {
                let is_tried = SILENT.lock().patience(path, patience).is_some();
                let answer = if is_tried { ask(path, question) } else { Some(Err(silent())) };
                // Under the lock the thread is either abandoned or further.
                let mut silent = SILENT.lock();
                if own.is_abandoned.load(Ordering::SeqCst) {
                    silent.remove(path);
                    return;
                }
                own.at.store(index + 1, Ordering::SeqCst);
                drop(silent);
                if answer.is_some_and(|answer| send.send((index, answer)).is_err()) {
                    return;
                }
            }
        })?;
        Ok(Thread { progress, answers })
    }

    /// Notes that the path did not answer in time. Returns false if it just did.
    fn abandon(&mut self, progress: &Progress, index: usize) -> bool {
        let Some((path, _)) = self.questions.get(index) else { return false };
        let mut silent = SILENT.lock();
        if progress.at.load(Ordering::SeqCst) != index {
            return false;
        }
        // The thread removes the path when its call ends.
        silent.add(path);
        progress.is_abandoned.store(true, Ordering::SeqCst);
        self.patience = self.patience.min(LESS_PATIENCE);
        true
    }

    /// Returns the time to wait for what the thread asks now.
    fn patience(&self, progress: &Progress) -> Duration {
        let asked = self.questions.get(progress.at.load(Ordering::SeqCst));
        asked.and_then(|(path, _)| SILENT.lock().patience(path, self.patience)).unwrap_or(self.patience)
    }

    fn answer(&mut self, index: usize, answer: Result<T>) -> Option<(Arc<Path>, Result<T>)> {
        self.next = index + 1;
        Some((self.questions.get(index)?.0.clone(), answer))
    }
}

impl<Q: Send + Sync + 'static, T: Send + 'static> Iterator for FileAnswers<Q, T> {
    type Item = (Arc<Path>, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut last_seen = None;
        while self.next < self.questions.len() {
            let thread = match self.thread.take().map_or_else(|| self.spawn(), Ok) {
                Ok(thread) => thread,
                Err(error) => return self.answer(self.next, Err(error)),
            };
            match wait_for(&thread.answers, self.patience(&thread.progress), SOON) {
                Ok((index, answer)) => {
                    self.thread = Some(thread);
                    return self.answer(index, answer);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let at = thread.progress.at.load(Ordering::SeqCst);
                    let is_stuck = at == self.next || last_seen.replace(at) == Some(at);
                    if is_stuck && self.abandon(&thread.progress, at) {
                        return self.answer(at, Err(silent()));
                    }
                    self.thread = Some(thread);
                }
                Err(RecvTimeoutError::Disconnected) => match thread.progress.at.load(Ordering::SeqCst) {
                    end if end == self.questions.len() => self.next = end,
                    at => return self.answer(at, Err(Error::other("the thread that read it panicked"))),
                },
            }
        }
        None
    }
}

/// Waits for what a thread sends, at most for `patience`, and for less than that if many others wait for longer than
/// `soon`. The other tasks of a runtime thread continue on another one meanwhile.
pub(crate) fn wait_for<T>(
    receiver: &Receiver<T>,
    patience: Duration,
    soon: Duration,
) -> std::result::Result<T, RecvTimeoutError> {
    let wait = || match receiver.recv_timeout(patience.min(soon)) {
        Err(RecvTimeoutError::Timeout) if patience > soon => match WAITING.try_acquire() {
            Ok(_turn) => receiver.recv_timeout(patience.saturating_sub(soon)),
            Err(_) => Err(RecvTimeoutError::Timeout),
        },
        received => received,
    };
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time in which a loaded machine starts a thread.
    const SHORT: Duration = Duration::from_secs(2);

    /// Returns the answers of a file system: the length of each path's name. A path with `dead` in its name does not
    /// answer until `alive` is set.
    fn answers(paths: &[&str], patience: Duration, alive: &Arc<AtomicBool>) -> FileAnswers<(), usize> {
        let questions = paths.iter().map(|path| (Path::new(path).into(), ())).collect();
        let alive = alive.clone();
        let mut answers = FileAnswers::new(questions, move |path, ()| {
            let name = path.file_name()?.to_string_lossy();
            while name.contains("dead") && !alive.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            (name != "unchanged").then(|| Ok(name.len()))
        });
        answers.patience = patience;
        answers
    }

    fn collected(answers: FileAnswers<(), usize>) -> Vec<(String, Option<usize>)> {
        answers.map(|(path, answer)| (path.display().to_string(), answer.ok())).collect()
    }

    #[test]
    fn a_path_that_does_not_answer_costs_itself() {
        let alive = Arc::new(AtomicBool::new(false));
        let paths = ["a/one", "a/unchanged", "a/dead", "a/three", "a/unchanged", "a/dead-too", "a/unchanged"];
        let expected = [("a/one", Some(3)), ("a/dead", None), ("a/three", Some(5)), ("a/dead-too", None)];
        let expected = expected.map(|(path, answer)| (path.to_owned(), answer));
        assert_eq!(collected(answers(&paths, SHORT, &alive)), expected);
        // Each path has its thread, and gets no second one.
        let started_at = Instant::now();
        let minute = Duration::from_mins(1);
        assert_eq!(collected(answers(&paths, minute, &alive)), expected);
        assert!(started_at.elapsed() < minute);
        alive.store(true, Ordering::SeqCst);
        while SILENT.lock().paths.keys().any(|path| path.starts_with("a")) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(collected(answers(&["a/dead"], minute, &alive)), [("a/dead".to_owned(), Some(4))]);
    }

    #[test]
    fn a_directory_in_which_many_paths_do_not_answer_gets_few_threads() {
        let alive = Arc::new(AtomicBool::new(false));
        let names: Vec<String> = (0..MAX_IN_DIRECTORY).map(|number| format!("b/dead-{number}")).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let answer = |path: &str| collected(answers(&[path], Duration::from_mins(1), &alive)).pop().unwrap().1;
        assert!(
            collected(answers(&paths[..MAX_FREE_THREADS], MIN_PATIENCE, &alive))
                .iter()
                .all(|answer| answer.1.is_none())
        );
        // A path that answers does so soon, next to many that do not.
        while answer("b/other") != Some(5) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // A thread that a loaded machine starts too late ends without a call, and its place is free again.
        let is_hanging = |name: &String| SILENT.lock().paths.contains_key(Path::new(name));
        while !names.iter().all(is_hanging) {
            assert!(collected(answers(&paths, MIN_PATIENCE, &alive)).iter().all(|answer| answer.1.is_none()));
        }
        assert_eq!(answer("b/other"), None, "the directory has all its threads");
        assert_eq!(answer("d/other"), Some(5));
        alive.store(true, Ordering::SeqCst);
        while SILENT.lock().directories.contains_key(Path::new("b")) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(answer("b/dead-1"), Some(6));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_tried_again_after_a_while() {
        let path = Path::new("e/dead");
        let mut silent = Silent::default();
        let mut tried = Vec::new();
        for minute in 0..60 {
            if silent.patience(path, PATIENCE).is_some() {
                tried.push(minute);
                silent.add(path);
            }
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert_eq!(tried, [0, 5, 15, 35]);
        for _ in tried {
            silent.remove(path);
        }
        assert!(silent.patience(path, PATIENCE).is_some() && silent.paths.is_empty() && silent.directories.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_file_system_that_hangs_holds_up_one_task_and_one_thread() {
        let alive = Arc::new(AtomicBool::new(false));
        let mut waiting = answers(&["c/dead"], Duration::from_mins(1), &alive);
        let reading = tokio::spawn(async move { waiting.next().unwrap().1 });
        // The runtime has one thread: this task only runs if the reading one does not keep it.
        let turned = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
        turned.await.unwrap();
        assert!(!reading.is_finished());
        alive.store(true, Ordering::SeqCst);
        assert_eq!(reading.await.unwrap().unwrap(), 4);
    }

    #[test]
    fn a_panic_over_one_path_is_its_answer() {
        let questions = ["one", "two", "three"].map(|path| (Path::new(path).into(), ())).into();
        let answers = FileAnswers::new(questions, |path, ()| {
            assert!(path != Path::new("two"), "a mistake");
            Some(Ok(()))
        });
        let results: Vec<bool> = answers.map(|(_, answer)| answer.is_ok()).collect();
        assert_eq!(results, [true, false, true]);
    }
}
