//! The work of reloading one pipeline file among others, in instructions.

use std::collections::BTreeSet;
use std::process::Command;

use s1_forwarder::pipeline::{FileOptions, Files, Scan};
use s1_forwarder::worker::LaneSpec;
use serde_json::json;

use super::world::{Place, pipeline};
use super::{Row, Size};

const FEW: usize = 10;
const CHANGES: usize = 20;

pub fn reload(size: Size) -> Vec<Row> {
    let goal = format!("instructions to reload one of {} files compared with one of {FEW}", size.of(10_000));
    let (Some(few), Some(many)) = (instructions(FEW), instructions(size.of(10_000))) else {
        return vec![Row::report(&goal, "not measured: valgrind is missing".to_owned(), json!({}))];
    };
    let ratio = many / few;
    let figures = json!({ "few": few, "many": many, "files": size.of(10_000) });
    let measured = format!("{ratio:.2} ({:.0} and {:.0} thousand)", many / 1e3, few / 1e3);
    vec![Row::goal(&goal, "≤ 2", measured, ratio <= 2.0, figures)]
}

/// What a worker does with a file that a notification names: reads and checks it, decides who runs the name, and makes
/// the lanes' specs. `files` in all, one of which changes `changes` times.
pub fn work(files: usize, changes: usize) {
    let place = Place::new();
    let text = |since: usize| {
        let stream = format!("activities: {{ interval: 60s, since: {}d }}", since + 1);
        pipeline("http://127.0.0.1:1", &stream, "http://127.0.0.1:1", "")
    };
    (0..files).for_each(|number| place.pipeline(&format!("p{number:05}"), &text(0)));
    let mut known = Files::new(&[place.path("pipelines")], &FileOptions::default());
    assert_eq!(known.rescan(&Scan::All).started.len(), files);
    let path = place.path("pipelines").join("p00000.yaml");
    for change in 1..=changes {
        place.pipeline("p00000", &text(change));
        let changed = known.rescan(&Scan::Paths(BTreeSet::from([path.clone()]))).changed;
        assert_eq!(LaneSpec::of(&changed[0]).len(), 1);
    }
}

/// For one change.
fn instructions(files: usize) -> Option<f64> {
    let count = |changes: usize| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().unwrap());
        let output = command.args(["reload", &files.to_string(), &changes.to_string()]).output().ok()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
        Some(collected.unwrap())
    };
    Some((count(CHANGES)? - count(0)?) / CHANGES as f64)
}
