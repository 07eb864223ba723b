//! A generic pipeline that does the same work.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::body::Bytes;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use s1_forwarder::record::Stream;
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::kernel::Usage;
use super::world::{NullSink, Process};
use super::{Row, Size, whole};
use crate::common;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/bento");

/// Both programs take turns, and the best round of each counts: other load on a machine slows them by a fifth.
const ROUNDS: usize = 3;

pub fn bento(size: Size) -> Vec<Row> {
    let program = match program() {
        Ok(program) => program,
        Err(reason) => {
            let why = format!("not measured: {reason}");
            return vec![Row::report("events per CPU-second compared with Bento 1.10", why, json!({}))];
        }
    };
    let row = |kept, least| compare(&program, size.of(100_000), kept, least);
    vec![equal_fields(&program, false), row(false, 12.0), equal_fields(&program, true), row(true, 9.0)]
}

/// How many fields of our events Bento's have too, with the same value, and how many others these have.
fn equal_fields(program: &Path, kept: bool) -> Row {
    const RECORDS: usize = 5_000;
    let records = common::records(Stream::Activities, RECORDS);
    let mut transformer = common::transformer_to(Schema::Ecs, Stream::Activities, kept);
    let theirs: BTreeMap<String, Fields> =
        events_of(program, &records, kept).map(|event| (id(&event), fields(&event))).collect();
    let mut all = 0;
    let mut equal = 0;
    let mut others = 0;
    for record in &records {
        let mut event = Vec::new();
        transformer.map(record, &mut event).unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        let ours = fields(&event);
        let theirs = &theirs[&id(&event)];
        all += ours.len();
        equal += ours.iter().filter(|(path, value)| theirs.get(*path) == Some(*value)).count();
        others += theirs.keys().filter(|path| !ours.contains_key(*path)).count();
    }
    let share = |count: usize| 100.0 * count as f64 / all as f64;
    let measured = format!("{:.2} %, {:.2} % more", share(equal), share(others));
    let figures = json!({ "fields": all, "equal": equal, "others": others });
    let goal = format!("fields of our events that Bento's have, {}", whole::original(kept));
    Row::goal(&goal, "≥ 99.9 %", measured, share(equal) >= 99.9 && share(others) <= 0.1, figures)
}

/// The values of an event by their paths.
type Fields = BTreeMap<String, Value>;

fn id(event: &Value) -> String {
    event["event"]["id"].as_str().unwrap().to_owned()
}

fn fields(event: &Value) -> Fields {
    fn walk(value: &Value, path: &str, found: &mut Fields) {
        match value {
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key}"), found))
            }
            // Another hash.
            _ if path == ".sentinel_one.identity" => drop(found.insert(path.to_owned(), Value::Null)),
            _ => drop(found.insert(path.to_owned(), value.clone())),
        }
    }
    let mut found = Fields::new();
    walk(event, "", &mut found);
    found
}

/// What Bento sends for these records.
fn events_of(program: &Path, records: &[Vec<u8>], kept: bool) -> impl Iterator<Item = Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let bodies = Arc::new(Mutex::new(Vec::<Bytes>::new()));
    let taken = bodies.clone();
    let service = axum::Router::new().fallback(async move |body: Bytes| taken.lock().push(body));
    runtime.spawn(axum::serve(listener, service).into_future());
    pipe(program, records, &url, kept);
    let bodies = std::mem::take(&mut *bodies.lock());
    bodies.into_iter().flat_map(|body| {
        let mut text = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    })
}

/// Both programs with the same fields; `kept`: both with `event.original`.
fn compare(program: &Path, events: usize, kept: bool, least: f64) -> Row {
    let rounds = (0..ROUNDS).map(|_| (whole::catch_up(2 * events, kept).0, run(program, events, kept)));
    let (ours, theirs): (Vec<_>, Vec<_>) = rounds.unzip();
    let least_of = |usages: Vec<Usage>| usages.into_iter().min_by_key(Usage::cpu).unwrap();
    let ours = least_of(ours);
    let theirs = least_of(theirs);
    let ours = 2.0 * events as f64 / ours.cpu().as_secs_f64();
    let bento = events as f64 / theirs.cpu().as_secs_f64();
    let ratio = ours / bento;
    let measured = format!("{ratio:.1} ({ours:.0}, {bento:.0})");
    let figures = json!({ "events_per_cpu_second": ours, "bento": bento, "bento_user_s": theirs.user.as_secs_f64(),
        "bento_system_s": theirs.system.as_secs_f64(), "bento_peak_rss": theirs.peak_rss });
    let goal = format!("events per CPU-second compared with Bento 1.10, {}", whole::original(kept));
    Row::goal(&goal, &format!("≥ {least}, aim 15"), measured, ratio >= least, figures)
}

fn program() -> Result<PathBuf, String> {
    let home = std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())?;
    let program = PathBuf::from(home).join(".cache/s1-forwarder-test/bento/bento");
    if !program.exists() {
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(FOLDER).status();
        if !built.map_err(|error| format!("no Go: {error}"))?.success() {
            return Err("it could not be built".to_owned());
        }
    }
    Ok(program)
}

fn run(program: &Path, events: usize, kept: bool) -> Usage {
    let sink = NullSink::start("take");
    let usage = pipe(program, &common::records(Stream::Activities, events), &sink.url(), kept);
    let (requests, _) = sink.taken();
    assert!(requests as usize >= events / 1_000, "{requests} requests");
    usage
}

/// Has Bento send these records to a URL.
fn pipe(program: &Path, records: &[Vec<u8>], url: &str, kept: bool) -> Usage {
    let mut input = NamedTempFile::new().unwrap();
    for record in records {
        input.write_all(record).unwrap();
        input.write_all(b"\n").unwrap();
    }
    let mut command = Command::new(program);
    command.args(["-c", &format!("{FOLDER}/bento.yaml")]).env("INPUT", input.path()).env("OUTPUT", url);
    command.env("ORIGINAL", if kept { "content().string()" } else { "deleted()" });
    let (good, usage) = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::inherit())).wait();
    assert!(good, "Bento failed");
    usage
}
