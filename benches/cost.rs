//! What no other load on the machine changes: instructions, allocations and bytes copied for a record on its way
//! through a lane (page, position, mapping, batch, delivery, checkpoint; no sockets, no compression), the instructions
//! compared with those of a round trip of the same record through `serde_json::Value` in the same program. Also the
//! instructions to map a record to OCSF, compared with those to map it to ECS, those of a `remap` of three lines,
//! compared with a round trip of the event that it runs on, those to make an event of OCSF 1.3 of a mapped one, and
//! those of a lane for one poll that finds nothing, compared with a round trip of a record. And the bytes that a lane
//! keeps in memory after a day and after 95.
//!
//! `just bench-cost` prints them and checks them: with `-- --check` the benchmark fails where a ratio is 5 % over the
//! committed one, OCSF costs more than 1.3 times ECS, the `remap` more than 1.2 round trips, or a lane's memory grows.
//! With `-- --commit` it writes the ratios down. Needs valgrind.

#![allow(clippy::unwrap_used, reason = "a benchmark may end in a panic")]
#![allow(unsafe_code, reason = "an allocator that counts cannot be written without")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s1_forwarder::checkpoint::ledger::Ledger;
use s1_forwarder::lane::LaneCheckpoint;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::source::{PollContext, RecordKey, SourcePosition};
use s1_forwarder::telemetry::{LogFormat, init_logs};
use s1_forwarder::transform::{OcsfVersion, Schema};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost.txt");
const STREAMS: [Stream; 2] = [Stream::Threats, Stream::Activities];
/// The cost of a record is that of the work for `MANY` of them, less that for `FEW`: start and end cancel out.
const FEW: usize = 200;
const MANY: usize = 1_200;
const TOLERANCE: f64 = 1.05;
const MAPPED: [Stream; 4] = [Stream::Threats, Stream::Activities, Stream::Agents, Stream::Alerts];
/// What an event in OCSF may cost, as a multiple of one in ECS.
const MAX_OCSF_RATIO: f64 = 1.3;
/// What it may cost to make an event of OCSF 1.3 of a mapped one, as a multiple of the mapping. Alerts cost most: their
/// objects are in one another, and each is read to its end for each of those around it.
const MAX_OLDER_RATIO: f64 = 1.38;
/// What a program of three lines may cost, as a multiple of a round trip of its event through `serde_json::Value`: it
/// parses the event with each of equal keys, measures its depth, puts back where it is from, and prints it.
const MAX_REMAP_RATIO: f64 = 1.2;

/// What a lane may keep more after 95 days than after one: sums of three days, and counts of the others.
const MAX_GROWTH: u64 = 8 << 10;

/// Records of each stream. To make them under valgrind, once for each figure, would take far longer than to map them.
static MADE: LazyLock<[Vec<Vec<u8>>; MAPPED.len()]> =
    LazyLock::new(|| MAPPED.map(|stream| common::records(stream, MANY)));

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes in use.
static IN_USE: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
struct Counting;

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        IN_USE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        IN_USE.fetch_add(size as u64, Ordering::Relaxed);
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [what, stream, count] = &words[..] {
        work(what, stream.parse().unwrap(), count.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is missing: nothing is counted");
        return ExitCode::from(u8::from(std::env::var("CI").is_ok_and(|ci| ci == "true")));
    }
    let mut ratios = Ratios::read();
    println!(
        "{:<12}{:>12}{:>12}{:>8}{:>11}{:>13}{:>8}",
        "stream", "lane", "value", "ratio", "committed", "allocations", "copied"
    );
    let values = STREAMS.map(|stream| instructions("value", stream));
    for (stream, value) in STREAMS.into_iter().zip(values) {
        let lane = instructions("lane", stream);
        let (allocations, delivered) = in_process(stream);
        let copied = copied(stream) / delivered;
        let ratio = lane / value;
        let before = ratios.compare(stream.name(), ratio);
        println!(
            "{:<12}{lane:>12.0}{value:>12.0}{ratio:>8.3}{before:>11}{allocations:>13.2}{copied:>8.2}",
            stream.name()
        );
    }
    println!(
        "instructions for a record in a lane and in a round trip; allocations for a record; bytes copied by memcpy and \
         memmove for a byte of events"
    );
    let poll = instructions("idle", Stream::Activities);
    let [_, value] = values;
    let ratio = poll / value;
    let before = ratios.compare("idle", ratio);
    println!("\nan idle lane, instructions for a poll: {poll:.0}, {ratio:.3} round trips ({before} committed)");
    let dear = compare_schemas().or(compare_ages());
    if words.iter().any(|word| word == "--commit") {
        std::fs::write(COMMITTED, ratios.lines).unwrap();
    } else if ratios.is_worse && words.iter().any(|word| word == "--check") {
        eprintln!("a ratio is more than 5 % over the committed one (benches/cost.txt)");
        return ExitCode::FAILURE;
    } else if let (Some(what), true) = (dear, words.iter().any(|word| word == "--check")) {
        eprintln!("{what}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The ratios of this run, next to those of [`COMMITTED`].
struct Ratios {
    committed: String,
    /// To be committed.
    lines: String,
    /// Whether a ratio is more than [`TOLERANCE`] over the committed one, or has no committed one.
    is_worse: bool,
}

impl Ratios {
    fn read() -> Self {
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        Self { committed, lines: String::new(), is_worse: false }
    }

    /// Adds a ratio, and returns the committed one as text.
    fn compare(&mut self, name: &str, ratio: f64) -> String {
        let mut lines = self.committed.lines();
        let before = lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        self.is_worse |= before.is_none_or(|before| ratio > before * TOLERANCE);
        let _ = writeln!(self.lines, "{name} {ratio:.3}");
        before.map_or("-".to_owned(), |before| format!("{before:.3}"))
    }
}

/// Prints the instructions to map a record to each schema, and those of a program over the event. Returns what costs
/// too much.
fn compare_schemas() -> Option<String> {
    println!(
        "\n{:<12}{:>12}{:>12}{:>8}{:>12}{:>8}{:>12}{:>8}",
        "stream", "ecs", "ocsf", "ratio", "to 1.3", "ratio", "remap", "ratio"
    );
    let mut dear = None;
    for stream in MAPPED {
        let ecs = instructions("ecs", stream);
        let ocsf = instructions("ocsf", stream);
        let ratio = ocsf / ecs;
        if ratio > MAX_OCSF_RATIO {
            dear = Some(format!("an event in OCSF costs more than {MAX_OCSF_RATIO} times one in ECS: {stream}"));
        }
        print!("{:<12}{ecs:>12.0}{ocsf:>12.0}{ratio:>8.3}", stream.name());
        let older = instructions("ocsf-1.3", stream) - ocsf;
        print!("{older:>12.0}{:>8.3}", older / ocsf);
        if older / ocsf > MAX_OLDER_RATIO {
            dear = Some(format!(
                "to make an event of OCSF 1.3 costs more than {MAX_OLDER_RATIO} times its mapping: {stream}"
            ));
        }
        if cfg!(feature = "remap") && STREAMS.contains(&stream) {
            let remap = instructions("remap", stream) - ecs;
            let event = instructions("event", stream) - ecs;
            print!("{remap:>12.0}{:>8.3}", remap / event);
            if remap / event > MAX_REMAP_RATIO {
                dear = Some(format!("a remap costs more than {MAX_REMAP_RATIO} round trips of its event: {stream}"));
            }
        }
        println!();
    }
    dear
}

/// Prints what a lane keeps in memory when it is young and old. Returns what grows.
fn compare_ages() -> Option<String> {
    let mut growing = None;
    println!();
    for (store, journals) in [("with journals", true), ("without", false)] {
        let young = kept_bytes(1, journals);
        let old = kept_bytes(95, journals);
        println!("bytes in memory of a lane after a day and after 95, {store}: {young} and {old}");
        if old > young + MAX_GROWTH {
            growing = Some(format!("a lane's memory grows with its age, {store}"));
        }
    }
    growing
}

/// Bytes in memory of position and ledger of a lane that has delivered an activity a minute for `days` days.
fn kept_bytes(days: u32, journals: bool) -> u64 {
    const MINUTE: Duration = Duration::from_mins(1);
    let passes = common::pull(Stream::Activities).passes();
    let begin = Timestamp::from_micros(1_767_225_600_000_000);
    let before = IN_USE.load(Ordering::Relaxed);
    let mut position = SourcePosition::starting_at(begin);
    position.add_passes(&passes);
    let ledger = Ledger::begin(begin, String::new(), journals);
    let mut lane = LaneCheckpoint::begin("console.example".into(), "".into(), "1d".into(), begin, position, ledger);
    for minutes in 1..=days * 24 * 60 {
        let start = begin.plus(MINUTE * minutes);
        let (id, time) = (u64::from(minutes) << 22, start.minus(MINUTE / 2));
        let context = PollContext { start, ..PollContext::default() };
        let key = RecordKey { id, version: id, content: None, time, created: Some(time) };
        lane.position.settle(&passes, context).remember(&key);
        lane.ledger.count(time, Identity::of("console.example", Stream::Activities, &id.to_string(), ""));
        lane.ledger.remember(time, id, start);
        lane.position.finish(&passes, context, false);
        lane.take_appends(start);
        let released = lane.ledger.released().to_vec();
        lane.ledger.forget_released(&released);
    }
    IN_USE.load(Ordering::Relaxed) - before
}

/// What is counted.
fn work(what: &str, stream: Stream, count: usize) {
    if what == "idle" {
        // A worker has a span of the log for each poll, too.
        init_logs(Some(LogFormat::Json), "info").unwrap();
        return common::run_idle_lane(count);
    }
    // All are read, however many are used: so this cancels out.
    let lines: Vec<_> = std::io::stdin().lines().map(|line| line.unwrap().into_bytes()).collect();
    let records: Vec<_> = lines.into_iter().take(count).collect();
    let mut out = Vec::new();
    let mut transformer = match what {
        "lane" => return drop(common::run_lane(stream, records)),
        "ecs" => common::transformer(stream),
        "ocsf" => common::transformer_to(Schema::Ocsf, stream, true),
        "ocsf-1.3" => common::transformer_to(Schema::Ocsf, stream, true).with_ocsf_version(OcsfVersion::V1_3),
        #[cfg(feature = "remap")]
        "remap" => common::mapper_with_remap(stream),
        "event" => common::transformer(stream),
        _ => return records.iter().for_each(|record| common::round_trip(record, &mut out)),
    };
    let mut printed = Vec::new();
    for record in &records {
        out.clear();
        transformer.map(record, &mut out).unwrap();
        if what == "event" {
            common::round_trip(&out, &mut printed);
        }
    }
}

fn made(stream: Stream) -> &'static [Vec<u8>] {
    &MADE[MAPPED.iter().position(|mapped| *mapped == stream).unwrap()]
}

fn instructions(what: &str, stream: Stream) -> f64 {
    let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    for_one_record(|records| counted(&tool, "Collected :", what, stream, records))
}

/// What one more record costs. Both runs take long, so they are made at the same time.
fn for_one_record(count: impl Fn(usize) -> f64 + Sync) -> f64 {
    let (few, many) = std::thread::scope(|scope| {
        let few = scope.spawn(|| count(FEW));
        let many = count(MANY);
        (few.join().unwrap(), many)
    });
    (many - few) / (MANY - FEW) as f64
}

/// Bytes copied for a record.
fn copied(stream: Stream) -> f64 {
    let tool = ["--tool=dhat", "--mode=copy", "--dhat-out-file=/dev/null"];
    for_one_record(|records| counted(&tool, "Total:", "lane", stream, records))
}

/// Allocations and bytes of the event for a record.
fn in_process(stream: Stream) -> (f64, f64) {
    let count = |count: usize| {
        let records = made(stream)[..count].to_vec();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let sink = common::run_lane(stream, records);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        (allocations as f64, sink.bytes.load(Ordering::Relaxed) as f64)
    };
    // What is made once, such as the tables of words, is no record's.
    count(FEW);
    let few = count(FEW);
    let many = count(MANY);
    let each = |few: f64, many: f64| (many - few) / (MANY - FEW) as f64;
    (each(few.0, many.0), each(few.1, many.1))
}

/// Runs this program under a tool of valgrind, and reads the number after `label` in what it says.
fn counted(tool: &[&str], label: &str, what: &str, stream: Stream, records: usize) -> f64 {
    let mut program = Command::new("valgrind");
    program.args(tool).arg(std::env::current_exe().unwrap()).args([what, stream.name(), &records.to_string()]);
    let mut running = program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    if what != "idle" {
        input.write_all(&made(stream).join(&b'\n')).unwrap();
    }
    drop(input);
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let number = said.lines().find_map(|line| line.split_once(label)?.1.split_whitespace().next());
    assert!(output.status.success() && number.is_some(), "{said}");
    number.unwrap().replace(',', "").parse().unwrap()
}
