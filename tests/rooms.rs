//! The table of rooms in ARCHITECTURE.md: imports run one way, and no file grows beyond what can be read in one go.

#![allow(clippy::unwrap_used, reason = "a test may end in a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from top to bottom, those that do not know each other on one level.
const LEVELS: &[&[&str]] = &[
    &["commands"],
    &["server"],
    &["worker"],
    &["pipeline"],
    &["lane"],
    &["source", "transform", "sink", "state"],
    &["console", "kafka"],
    &["record"],
    &["settings"],
    &["telemetry"],
];

/// What `room` may import besides itself.
fn allowed(room: &str) -> Vec<&'static str> {
    match room {
        "commands" => LEVELS.iter().copied().flatten().copied().chain(["emulator"]).collect(),
        // It shares no code with the console's client: one misreading of the API would hide in both.
        "emulator" => vec!["telemetry"],
        // The words of its labels.
        "telemetry" => vec!["record"],
        _ => {
            let below = LEVELS.iter().skip_while(|level| !level.contains(&room)).skip(1);
            below.copied().flatten().copied().collect()
        }
    }
}

const MOST_LINES: usize = 500;

fn source_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    let named = files.into_iter().map(|file| {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        (name, fs::read_to_string(&file).unwrap())
    });
    named.collect()
}

/// Names of rooms that `text` reaches through `crate::`, also in `use crate::{a, b::c}`; test modules may do as they like.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n");
    let word = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let after = &code[at + "crate::".len()..];
        let Some(list) = after.strip_prefix('{') else {
            found.insert(word(after));
            continue;
        };
        let (mut depth, mut begins) = (1, true);
        for (place, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => begins = depth == 1,
                letter if begins && letter.is_alphanumeric() => {
                    found.insert(word(&list[place..]));
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn is_room(name: &str) -> bool {
    name == "emulator" || LEVELS.iter().any(|level| level.contains(&name))
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (name, text) in files() {
        let Some((room, file)) = name.split_once('/') else { continue };
        if file.ends_with("tests.rs") || file.contains("tests/") {
            continue;
        }
        let allowed = allowed(room);
        let uses = imports(&text).into_iter().filter(|used| used != room && is_room(used));
        wrong.extend(uses.filter(|used| !allowed.contains(&used.as_str())).map(|used| format!("src/{name}: {used}")));
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = files().into_iter().filter(|(_, text)| text.lines().count() > MOST_LINES).collect();
    let names: Vec<_> = long.iter().map(|(name, text)| format!("src/{name}: {} lines", text.lines().count())).collect();
    assert!(names.is_empty(), "split by subject:\n{}", names.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::sink::Sink;\nuse crate::{\n    console::{self, Client},\n    state, record::Stream,\n};\n\
                // crate::lane\nfn f(x: crate::worker::X) {}\n#[cfg(test)]\nmod tests {\n    use crate::emulator;\n}\n";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["console", "record", "sink", "state", "worker"]);
}
