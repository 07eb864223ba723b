//! Calls of a file system that may not answer. They run in threads of their own, and the caller waits for a while.

#![expect(clippy::disallowed_types, reason = "callers wait off the runtime, with a timeout")]

use std::collections::{HashMap, HashSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// A file system that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for further paths, after one of them.
const LESS_PATIENCE: Duration = Duration::from_millis(500);
/// From so many paths in a directory on, the others in it are not tried for a while: thousands of files of one file
/// system would each take a thread.
const MANY: usize = 16;
/// Answers that wait for the caller. Each may be as large as a file.
const AHEAD: usize = 16;

static SILENT: LazyLock<Mutex<Silent>> = LazyLock::new(Mutex::default);

/// What did not answer in time.
#[derive(Debug, Default)]
struct Silent {
    /// Paths whose last call has not ended yet. Each has one thread.
    paths: HashSet<PathBuf>,
    /// How many paths in a directory did not answer lately, and when the last of them did not.
    directories: HashMap<PathBuf, (usize, Instant)>,
}

impl Silent {
    fn has(&self, path: &Path, patience: Duration) -> bool {
        let has_many = |(count, last): &(usize, Instant)| *count >= MANY && last.elapsed() < patience;
        self.paths.contains(path) || self.directories.get(directory(path)).is_some_and(has_many)
    }

    fn add(&mut self, path: &Path) {
        self.paths.insert(path.to_owned());
        self.directories.retain(|_, (_, last)| last.elapsed() < 2 * PATIENCE);
        let (count, last) = self.directories.entry(directory(path).to_owned()).or_insert((0, Instant::now()));
        (*count, *last) = (*count + 1, Instant::now());
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
/// Those of `ask`, or `TimedOut`.
pub fn ask_file_system<T: Send + 'static>(
    path: &Path,
    ask: impl Fn(&Path) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let mut answers = Answers::new(vec![(path.to_owned(), ())], move |path, ()| Some(ask(path)));
    answers.next().map_or_else(|| Err(silent()), |(_, answer)| answer)
}

type Ask<Q, T> = dyn Fn(&Path, &Q) -> Option<Result<T>> + Send + Sync;

/// The answers of a file system about many paths, in their order, except for those with the answer `None`. One thread
/// asks for all of them: a thread for each path takes several times as long. A path that does not answer in time costs
/// this thread, and the next one goes on behind it.
pub struct Answers<Q, T> {
    questions: Arc<Vec<(PathBuf, Q)>>,
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

/// How far a thread is.
#[derive(Debug, Default)]
struct Progress {
    /// The question that it asks. At the end, the number of questions.
    at: AtomicUsize,
    /// Nobody waits for it any longer.
    is_abandoned: AtomicBool,
}

impl<Q: Send + Sync + 'static, T: Send + 'static> Answers<Q, T> {
    pub fn new(
        questions: Vec<(PathBuf, Q)>,
        ask: impl Fn(&Path, &Q) -> Option<Result<T>> + Send + Sync + 'static,
    ) -> Self {
        let (questions, ask) = (Arc::new(questions), Arc::new(ask));
        Self { questions, ask, thread: None, next: 0, patience: PATIENCE }
    }

    fn spawn(&self) -> Result<Thread<T>> {
        let (questions, ask, from, patience) = (self.questions.clone(), self.ask.clone(), self.next, self.patience);
        let progress = Arc::new(Progress { at: from.into(), ..Progress::default() });
        let (own, (send, answers)) = (progress.clone(), sync_channel(AHEAD));
        std::thread::Builder::new().name("read-file".to_owned()).spawn(move || {
            for (index, (path, question)) in questions.iter().enumerate().skip(from) {
                own.at.store(index, Ordering::SeqCst);
                let known_as_silent = SILENT.lock().has(path, patience);
                let answer = if known_as_silent { Some(Err(silent())) } else { ask(path, question) };
                if own.is_abandoned.load(Ordering::SeqCst) {
                    SILENT.lock().paths.remove(path);
                    return;
                }
                if answer.is_some_and(|answer| send.send((index, answer)).is_err()) {
                    return;
                }
            }
            own.at.store(questions.len(), Ordering::SeqCst);
        })?;
        Ok(Thread { progress, answers })
    }

    /// The path did not answer in time.
    fn abandon(&mut self, progress: &Progress, index: usize) {
        let Some((path, _)) = self.questions.get(index) else { return };
        // The thread removes the path when its call ends, unless that was just before.
        SILENT.lock().add(path);
        progress.is_abandoned.store(true, Ordering::SeqCst);
        if progress.at.load(Ordering::SeqCst) != index {
            SILENT.lock().paths.remove(path);
        }
        self.patience = self.patience.min(LESS_PATIENCE);
    }

    fn answer(&mut self, index: usize, answer: Result<T>) -> Option<(PathBuf, Result<T>)> {
        self.next = index + 1;
        Some((self.questions.get(index)?.0.clone(), answer))
    }
}

impl<Q: Send + Sync + 'static, T: Send + 'static> Iterator for Answers<Q, T> {
    type Item = (PathBuf, Result<T>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut last_seen = None;
        while self.next < self.questions.len() {
            let thread = match self.thread.take().map_or_else(|| self.spawn(), Ok) {
                Ok(thread) => thread,
                Err(error) => return self.answer(self.next, Err(error)),
            };
            match off_the_runtime(|| thread.answers.recv_timeout(self.patience)) {
                Ok((index, answer)) => {
                    self.thread = Some(thread);
                    return self.answer(index, answer);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let at = thread.progress.at.load(Ordering::SeqCst);
                    if at == self.next || last_seen.replace(at) == Some(at) {
                        self.abandon(&thread.progress, at);
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

/// Lets the other tasks of a runtime thread continue on another one.
pub(super) fn off_the_runtime<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    /// A file system whose paths answer with the lengths of their names, except for those with `dead` in them while
    /// `alive` is not set.
    fn answers(paths: &[&str], patience: Duration, alive: &Arc<AtomicBool>) -> Answers<(), usize> {
        let (questions, alive) = (paths.iter().map(|path| (path.into(), ())).collect(), alive.clone());
        let mut answers = Answers::new(questions, move |path, ()| {
            let name = path.file_name()?.to_string_lossy();
            while name.contains("dead") && !alive.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            (name != "unchanged").then(|| Ok(name.len()))
        });
        answers.patience = patience;
        answers
    }

    fn collected(answers: Answers<(), usize>) -> Vec<(String, Option<usize>)> {
        answers.map(|(path, answer)| (path.display().to_string(), answer.ok())).collect()
    }

    #[test]
    fn a_path_that_does_not_answer_costs_itself() {
        let alive = Arc::new(AtomicBool::new(false));
        let paths = ["a/one", "a/unchanged", "a/dead", "a/three", "a/unchanged", "a/dead-too", "a/unchanged"];
        let expected = [("a/one", Some(3)), ("a/dead", None), ("a/three", Some(5)), ("a/dead-too", None)];
        let expected = expected.map(|(path, answer)| (path.to_owned(), answer));
        assert_eq!(collected(answers(&paths, SHORT, &alive)), expected);
        // Each has its thread, and gets no second one.
        let (begun, minute) = (Instant::now(), Duration::from_secs(60));
        assert_eq!(collected(answers(&paths, minute, &alive)), expected);
        assert!(begun.elapsed() < minute);
        alive.store(true, Ordering::SeqCst);
        while SILENT.lock().paths.iter().any(|path| path.starts_with("a")) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(collected(answers(&["a/dead"], minute, &alive)), [("a/dead".to_owned(), Some(4))]);
    }

    #[test]
    fn a_directory_in_which_many_paths_do_not_answer_is_left_alone_for_a_while() {
        let alive = Arc::new(AtomicBool::new(false));
        let names: Vec<String> = (0..MANY).map(|number| format!("b/dead-{number}")).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).chain(["b/other"]).collect();
        let found = collected(answers(&paths, Duration::from_millis(50), &alive));
        assert_eq!(found.last(), Some(&("b/other".to_owned(), None)));
        while collected(answers(&["b/other"], Duration::from_millis(50), &alive)) != [("b/other".to_owned(), Some(5))] {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        alive.store(true, Ordering::SeqCst);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_file_system_that_hangs_holds_up_one_task_and_one_thread() {
        let alive = Arc::new(AtomicBool::new(false));
        let mut waiting = answers(&["c/dead"], SHORT, &alive);
        let reading = tokio::spawn(async move { waiting.next().unwrap().1 });
        // The runtime has one thread: this task only runs if the reading one does not keep it.
        let turned = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
        turned.await.unwrap();
        assert!(!reading.is_finished());
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        alive.store(true, Ordering::SeqCst);
    }

    #[test]
    fn a_panic_over_one_path_is_its_answer() {
        let questions = ["one", "two", "three"].map(|path| (path.into(), ())).into();
        let answers = Answers::new(questions, |path, ()| {
            assert!(path != Path::new("two"), "a mistake");
            Some(Ok(()))
        });
        let results: Vec<bool> = answers.map(|(_, answer)| answer.is_ok()).collect();
        assert_eq!(results, [true, false, true]);
    }
}
