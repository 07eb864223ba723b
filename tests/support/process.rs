//! The binary as a child process: its output, its endpoints, its end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long something may take that takes a moment. Machines are busy, and a lane may wait a minute before it tries
/// again.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Looks again and again until there is something.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// Looks again and again, with another patience.
pub async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started_at = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started_at.elapsed() < patience, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The program with these arguments, in a directory of its own and without settings from the environment.
pub fn program(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s1-forwarder"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy().to_lowercase();
        if name_text.starts_with("s1_forwarder_") || name_text.ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A running process; it is killed when this is dropped.
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    address: Option<String>,
}

/// A number of `/proc/PID/status`; none of a process that has ended.
fn kernel_count(process: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().trim_end_matches(" kB").parse().unwrap())
}

/// The exit code and the output of an ended process.
#[derive(Debug)]
pub struct Exit {
    /// `None` if a signal ended the process.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Output::follow(child.stdout.take().unwrap());
        let stderr = Output::follow(child.stderr.take().unwrap());
        Self { child, stdout, stderr, address: None }
    }

    /// Waits until it ends.
    pub async fn exit(mut self) -> Exit {
        let status = tokio::time::timeout(10 * PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("the process does not end\n{}", self.log_text())).unwrap();
        let stdout = self.stdout.end().await;
        let stderr = self.stderr.end().await;
        Exit { code: status.code(), stdout, stderr }
    }

    /// Waits for the end. Returns the most bytes of memory that the process ever held, too.
    #[allow(dead_code, reason = "not every test that shares this file looks at memory")]
    pub async fn exit_with_peak(self) -> (Exit, u64) {
        let id = self.id();
        let mut peak = 0;
        let watched = async {
            while let Some(kib) = kernel_count(id, "VmHWM") {
                peak = kib * 1024;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (exit, ()) = tokio::join!(self.exit(), watched);
        (exit, peak)
    }

    /// Sends a signal by its name, such as TERM.
    pub async fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args([OsStr::new("-s"), OsStr::new(name), OsStr::new(&pid)]).status().await;
        assert!(sent.unwrap().success(), "kill -s {name} {pid}");
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Returns the number of the process, which must be running.
    #[allow(dead_code, reason = "not every test that shares this file looks at it from outside")]
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// The most bytes of memory that it ever held, as the kernel counts them.
    #[allow(dead_code, reason = "not every test that shares this file looks at memory")]
    pub fn peak_rss(&self) -> u64 {
        self.kernel_count("VmHWM") * 1024
    }

    /// A number of `/proc/PID/status`, such as `Threads`, or `VmRSS` in KiB.
    #[allow(dead_code, reason = "not every test that shares this file looks at it")]
    pub fn kernel_count(&self, name: &str) -> u64 {
        kernel_count(self.id(), name).unwrap()
    }

    /// Returns how many descriptors the process has open.
    #[allow(dead_code, reason = "not every test that shares this file looks at it")]
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// All that it logged so far.
    pub fn log_text(&self) -> String {
        self.stderr.text.lock().unwrap().clone()
    }

    /// The lines of its log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a line of the log that holds all of `words`.
    pub async fn logged(&self, words: &[&str]) -> String {
        let look = async || {
            let text = self.log_text();
            text.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        };
        let started_at = Instant::now();
        loop {
            if let Some(line) = look().await {
                return line;
            }
            assert!(started_at.elapsed() < PATIENCE, "the log never had {words:?}:\n{}", self.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the URL at which the process listens.
    #[allow(dead_code, reason = "not every test that shares this file hands it on")]
    pub async fn url(&mut self) -> String {
        self.get("/livez").await;
        format!("http://{}", self.address.as_deref().unwrap())
    }

    /// Asks an endpoint: status and body.
    pub async fn get(&mut self, path: &str) -> (u16, String) {
        if self.address.is_none() {
            self.logged(&["\"listening\""]).await;
            let line = self.log().into_iter().find(|line| line["message"] == "listening").unwrap();
            self.address = Some(line["address"].as_str().unwrap().to_owned());
        }
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log_text()))
    }

    /// Asks a process that may end meanwhile; its address must be known.
    pub async fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let address = self.address.as_deref().unwrap();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
    }

    pub async fn metrics(&mut self) -> Metrics {
        Metrics(self.get("/metrics").await.1)
    }

    /// The lanes of `/api/v1/lanes` by `pipeline/stream/sink`.
    pub async fn lanes(&mut self) -> BTreeMap<String, Value> {
        let status: Value = serde_json::from_str(&self.get("/api/v1/lanes").await.1).unwrap();
        let name = |lane: &Value| ["pipeline", "stream", "sink"].map(|key| lane[key].as_str().unwrap()).join("/");
        status["lanes"].as_array().unwrap().iter().map(|lane| (name(lane), lane.clone())).collect()
    }

    /// Waits until a lane is as it should be, and returns it.
    pub async fn lane(&mut self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let started_at = Instant::now();
        loop {
            let lane = self.lanes().await.remove(name);
            match lane {
                Some(lane) if is(&lane) => return lane,
                other => assert!(started_at.elapsed() < PATIENCE, "{name} stays {other:#?}\n{}", self.log_text()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A stream of the child's that is read as it comes.
struct Output {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn follow(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = text.clone();
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, reader }
    }

    async fn end(mut self) -> String {
        (&mut self.reader).await.unwrap();
        self.text.lock().unwrap().clone()
    }
}

/// A test that fails shows the end of what the process wrote.
impl Drop for Output {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(text) = self.text.lock()
        {
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("the process wrote last:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// A scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum over all samples of a metric (named without its prefix) that have all of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let samples = self.samples(name).filter(|(found, _)| labels.iter().all(|label| found.contains(label)));
        samples.map(|(_, value)| value as u64).sum()
    }

    /// Labels and value of each sample of a metric.
    pub fn samples(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let name = format!("s1_forwarder_{name}");
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(&name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then(|| (labels, value.parse().unwrap()))
        })
    }
}
