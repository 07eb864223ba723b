//! The processes around a worker: emulated consoles, a sink that takes everything, and the worker itself.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use futures_util::StreamExt;
use tempfile::TempDir;

use super::kernel::{self, Usage};

/// All of what an emulated console has had for three days.
pub const HISTORY: &str = "activities: { since: 3d, include_hidden: true }";

const PROGRAM: &str = env!("CARGO_BIN_EXE_s1-forwarder");

/// The worker to measure: this build's, or another one to compare it with. The consoles are always this build's.
fn measured_program() -> String {
    std::env::var("S1_FORWARDER_MEASURED_PROGRAM").unwrap_or_else(|_| PROGRAM.to_owned())
}

/// A process that ends with its owner.
pub struct Process {
    child: Child,
    waited: bool,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap(), waited: false }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(self) {
        assert!(Command::new("kill").arg(self.id().to_string()).status().unwrap().success());
        assert!(self.wait().0, "it did not end well");
    }

    /// Waits for its end: whether it went well, and what it used.
    pub fn wait(mut self) -> (bool, Usage) {
        self.waited = true;
        let (status, usage) = kernel::wait(&self.child);
        (status == 0, usage)
    }

    pub fn so_far(&self) -> Usage {
        kernel::so_far(self.id())
    }

    pub fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.waited {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// An emulated console as a process of its own. It listens on all addresses of this machine, so that 127.0.0.1,
/// 127.0.0.2 and so on are as many hosts.
pub struct Console {
    _process: Process,
    pub port: u16,
    /// Held open: it has more to say.
    _said: BufReader<ChildStdout>,
}

impl Console {
    pub fn start(activities: usize, flags: &[&str]) -> Self {
        Self::live(0, activities, flags)
    }

    /// With `rate` new or changed records a second, besides a history of activities.
    pub fn live(rate: u32, activities: usize, flags: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["emulate", "--listen", "0.0.0.0:0", "--threats", "0", "--alerts", "0"]);
        command.args(["--rate", &rate.to_string()]);
        command.args(["--activities", &activities.to_string()]).args(flags);
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let mut line = String::new();
        let mut said = process.stdout();
        said.read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Self { _process: process, port, _said: said }
    }

    /// The address of one of its hosts.
    pub fn host(&self, number: usize) -> String {
        format!("http://127.0.{}.{}:{}", number / 250, number % 250 + 1, self.port)
    }
}

/// A sink that takes everything, or refuses everything, as a process of its own.
pub struct NullSink {
    _process: Process,
    pub port: u16,
}

impl NullSink {
    /// `behaviour`: `take`, `refuse` or `slow`.
    pub fn start(behaviour: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = Process::spawn(command.args(["null-sink", behaviour]).stdout(Stdio::piped()));
        let mut line = String::new();
        process.stdout().read_line(&mut line).unwrap();
        Self { _process: process, port: line.trim().parse().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Requests taken, and bytes of their bodies.
    pub fn taken(&self) -> (u64, u64) {
        let text = get(([127, 0, 0, 1], self.port).into(), "/taken");
        let (requests, bytes) = text.trim().split_once(' ').unwrap();
        (requests.parse().unwrap(), bytes.parse().unwrap())
    }
}

/// What `null-sink` does as a process.
pub fn null_sink(behaviour: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let taken = Arc::new((AtomicU64::new(0), AtomicU64::new(0), behaviour));
        let service = axum::Router::new().fallback(take).with_state(taken);
        axum::serve(listener, service).await.unwrap();
    });
}

async fn take(State(taken): State<Arc<(AtomicU64, AtomicU64, String)>>, request: Request) -> (StatusCode, String) {
    let (requests, bytes, behaviour) = &*taken;
    if request.uri().path() == "/taken" {
        return (StatusCode::OK, format!("{} {}", requests.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)));
    }
    let mut body = Body::into_data_stream(request.into_body());
    let mut size = 0;
    while let Some(Ok(chunk)) = body.next().await {
        size += chunk.len() as u64;
    }
    match behaviour.as_str() {
        "refuse" => return (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        "slow" => tokio::time::sleep(Duration::from_millis(20)).await,
        _ => {}
    }
    requests.fetch_add(1, Ordering::Relaxed);
    bytes.fetch_add(size, Ordering::Relaxed);
    (StatusCode::OK, String::new())
}

/// A worker's files: pipelines, state, log.
pub struct Place {
    pub directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("pipelines")).unwrap();
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn pipeline(&self, name: &str, text: &str) {
        std::fs::write(self.path("pipelines").join(format!("{name}.yaml")), text).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn command(&self, wrapper: &[&str], flags: &[&str]) -> Command {
        let program = measured_program();
        let words = wrapper.iter().copied().chain([&*program, "run", "--log-format", "json"]);
        let mut words = words.map(str::to_owned).collect::<Vec<_>>().into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--pipelines").arg(self.path("pipelines"));
        command.arg("--state").arg(format!("file:{}", self.path("state").display())).args(flags);
        command.stdout(Stdio::null()).stderr(File::create(self.path("log")).unwrap());
        command
    }

    /// Pulls a window of the pipeline `acme` again.
    pub fn backfill(&self, flags: &[&str]) -> Usage {
        let mut command = Command::new(measured_program());
        command.arg("backfill").arg(self.path("pipelines").join("acme.yaml")).args(["--stream", "activities"]);
        command.arg("--state").arg(format!("file:{}", self.path("state").display())).args(flags);
        command.stdout(Stdio::null()).stderr(File::create(self.path("log")).unwrap());
        let (good, usage) = Process::spawn(&mut command).wait();
        assert!(good, "{}", self.log());
        usage
    }

    /// Runs until every lane has caught up.
    pub fn run_once(&self, flags: &[&str]) -> Usage {
        self.run_once_under(&[], flags)
    }

    /// `wrapper` is a command that runs the worker.
    pub fn run_once_under(&self, wrapper: &[&str], flags: &[&str]) -> Usage {
        let (good, usage) = Process::spawn(&mut self.command(wrapper, &[&["--once"], flags].concat())).wait();
        assert!(good, "{}", self.log());
        usage
    }

    pub fn run(&self, flags: &[&str]) -> Worker {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let process = Process::spawn(&mut self.command(&[], &[&["--listen", &listen], flags].concat()));
        Worker { process, address: ([127, 0, 0, 1], port).into() }
    }
}

/// A running worker.
pub struct Worker {
    pub process: Process,
    address: SocketAddr,
}

impl Worker {
    pub fn ready(&self) -> bool {
        try_get(self.address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    pub fn wait_ready(&self) {
        wait_until("the worker is ready", Duration::from_mins(10), || self.ready());
    }

    pub fn metrics(&self) -> String {
        get(self.address, "/metrics")
    }

    /// Asks for the metrics as Prometheus does.
    pub fn ask_for_compressed_metrics(&self) {
        let answer = ask(self.address, "/metrics", "Accept-Encoding: gzip\r\n").unwrap_or_default();
        let is_compressed = answer.windows(22).any(|part| part == b"content-encoding: gzip");
        assert!(is_compressed, "the worker compresses its metrics");
    }

    /// The values of a metric, one for each of its series.
    pub fn metric(&self, name: &str) -> Vec<f64> {
        let start = format!("s1_forwarder_{name}{{");
        let text = self.metrics();
        let lines = text.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }
}

/// Looks again and again.
pub fn wait_until(what: &str, patience: Duration, mut happened: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !happened() {
        assert!(started_at.elapsed() < patience, "it did not happen in {patience:?} that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_get(address: SocketAddr, path: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&ask(address, path, "")?).into_owned())
}

/// The answer to a GET request with these further headers.
fn ask(address: SocketAddr, path: &str, headers: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

/// The body of an answer; chunk sizes are lines of their own in it.
fn get(address: SocketAddr, path: &str) -> String {
    let answer = try_get(address, path).unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// A pipeline with one stream to one HTTP sink.
pub fn pipeline(console: &str, stream: &str, sink: &str, more: &str) -> String {
    pipeline_to(console, "", stream, &format!("type: http\n    url: {sink}\n{more}"))
}

/// A pipeline with one stream to one sink; `more` is about the console.
pub fn pipeline_to(console: &str, more: &str, stream: &str, sink: &str) -> String {
    format!(
        "console:\n  url: {console}\n  token: emulator-token\n  requests_per_second: 1000\n{more}streams:\n  \
         {stream}\nsinks:\n  - name: siem\n    {sink}\n"
    )
}
