//! A generic pipeline that does the same work.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use s1_forwarder::record::Stream;
use serde_json::json;

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
    vec![row(false, 12.0), row(true, 9.0)]
}

/// Both programs with the same fields; `kept`: both with `event.original`.
fn compare(program: &Path, events: usize, kept: bool, least: f64) -> Row {
    let rounds = (0..ROUNDS).map(|_| (whole::catch_up(2 * events, kept).0, run(program, events, kept)));
    let (ours, theirs): (Vec<_>, Vec<_>) = rounds.unzip();
    let least_of = |usages: Vec<Usage>| usages.into_iter().min_by_key(Usage::cpu).unwrap();
    let (ours, theirs) = (least_of(ours), least_of(theirs));
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
    let mut input = tempfile::NamedTempFile::new().unwrap();
    for record in common::records(Stream::Activities, events) {
        input.write_all(&record).unwrap();
        input.write_all(b"\n").unwrap();
    }
    let mut command = Command::new(program);
    command.args(["-c", &format!("{FOLDER}/bento.yaml")]).env("INPUT", input.path()).env("OUTPUT", sink.url());
    command.env("ORIGINAL", if kept { "content().string()" } else { "deleted()" });
    let (good, usage) = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::inherit())).wait();
    assert!(good, "Bento failed");
    let (requests, _) = sink.taken();
    assert!(requests as usize >= events / 1_000, "{requests} requests");
    usage
}
