//! Every command that prints words of others, with words that would control a terminal, forge a line of a log, or hide.

use std::fs;

use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::harness::Harness;
use crate::support::process::{Exit, Process, program};

/// Sets the title of a terminal, clears it, begins a line, and hides and turns what follows.
const HOSTILE: &str = "\u{1b}]0;PWN\u{7}\u{1b}[2J\u{9b}31m\u{7f}\u{8}\r\nforged: \u{202e}\u{2066}\u{200f}\u{200b}\u{feff}\u{2028}\u{e0041}end";

/// A console whose every word is hostile. It knows one activity.
async fn hostile_console() -> String {
    async fn answer(uri: Uri) -> (StatusCode, String) {
        let text = |text: &str| format!("{text} {HOSTILE}");
        let activity = json!({ "id": text("7"), "activityType": 27, "createdAt": "2026-01-31T00:00:00.000000Z",
            "primaryDescription": HOSTILE, "data": { "username": HOSTILE } });
        let page = |data: Value| json!({ "data": data, "pagination": { "nextCursor": null, "totalItems": 1 } });
        match uri.path() {
            "/web/api/v2.1/activities/types" => (
                StatusCode::OK,
                page(json!([{ "id": 987_654, "action": text("a"), "descriptionTemplate": text("Seen {{ x }}") }]))
                    .to_string(),
            ),
            "/web/api/v2.1/activities" => (StatusCode::OK, page(json!([activity])).to_string()),
            _ => {
                let errors = json!({ "errors": [{ "code": 4_030_010, "title": text("No"), "detail": text("way") }] });
                (StatusCode::FORBIDDEN, errors.to_string())
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    url
}

/// Only visible characters, and no line that another party wrote.
fn assert_harmless(what: &str, text: &str) {
    let is_seen = |char: char| char == '\n' || !char.is_control();
    let hides = |char: char| "\u{ad}\u{200b}\u{200f}\u{202e}\u{2028}\u{2066}\u{feff}\u{e0041}".contains(char);
    let found = text.char_indices().find(|(_, char)| !is_seen(*char) || hides(*char));
    if let Some((at, char)) = found {
        let start = text.floor_char_boundary(at.saturating_sub(200));
        panic!("{what} prints {char:?}: {:?}", &text[start..text.ceil_char_boundary(at + 40)]);
    }
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{what}: {text}");
    assert!(text.lines().all(|line| line.len() < 40_000), "{what} prints a line of {} bytes", text.len());
}

fn assert_exit_is_harmless(arguments: &[&str], exit: &Exit) {
    let what = arguments.join(" ");
    assert_harmless(&what, &exit.stderr);
    assert_harmless(&what, &exit.stdout);
}

/// A text of a YAML file.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_prints_what_controls_a_terminal() {
    let harness = Harness::new(|_| {}).await;
    let url = hostile_console().await;
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": { "since": "2026-01-01" } } }));
    pipeline["console"]["url"] = json!(url);
    harness.put("acme", &pipeline);
    pipeline["streams"] = json!({ "threats": {} });
    harness.put("refused", &pipeline);
    harness.sink.contract(|rules| rules.event_bytes = Some(10));
    harness.write("records.json", &json!({ "id": HOSTILE, "createdAt": HOSTILE, "activityType": HOSTILE }).to_string());

    // Files that are wrong in many places, one of them with a name to match.
    fs::create_dir_all(harness.path("wrong")).unwrap();
    let good = json!(harness.pipeline(json!({})));
    for (place, key) in [
        ("/name", "name"),
        ("/console/sites", "x"),
        ("/streams", HOSTILE),
        ("/sinks/0/type", "x"),
        ("/transform", "schema"),
    ] {
        let mut wrong = good.clone();
        let value = match place {
            "/console/sites" => json!([HOSTILE]),
            "/streams" | "/transform" => json!({ key: HOSTILE }),
            _ => json!(HOSTILE),
        };
        let (parent, name) = place.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[name.parse::<usize>().map_or(name, |_| "0")] = value;
        let file = format!("wrong/{}.yaml", place.replace('/', "-"));
        harness.write(&file, &wrong.to_string());
    }
    harness.write("wrong/key.yaml", &format!("{}: 1\n", quoted(HOSTILE)));
    harness.write("wrong/long.yaml", &format!("{}: 1\n", quoted(&"k".repeat(900_000))));
    harness.write(&format!("wrong/{}.yaml", HOSTILE.replace('/', "")), "nonsense: 1\n");

    let both = ["--pipelines", "pipelines", "--pipelines", "wrong"];
    let window = ["--from", "2026-01-30", "--to", "2026-02-02", "--requests-per-second", "1000"];
    let once = ["run", "--once", "--once-timeout", "2s", "--accept-refusals", "acme/activities/siem"];
    let text = ["--log-level", "trace", "--log-format", "text"];
    for arguments in [
        &[&["check"][..], &both].concat()[..],
        &[&["check", "--offline", "--settings"][..], &both].concat(),
        &[&once[..], &both, &text].concat(),
        &[&once[..], &both, &["--log-format", "json"]].concat(),
        &["dead-letters", "list"],
        &["dead-letters", "list", "--pipeline", HOSTILE],
        &["state", "list"],
        &["state", "show", "acme/activities/siem"],
        &["activity-types", "pipelines/acme.yaml"],
        &["activity-types", "wrong/key.yaml"],
        &["preview", "pipelines/refused.yaml"],
        &[&["verify", "pipelines/acme.yaml"][..], &window].concat(),
        &[&["backfill", "pipelines/refused.yaml", "--stream", "threats", "--once-timeout", "1s"][..], &window].concat(),
    ] {
        let exit = harness.command(arguments).await;
        assert!(!exit.stdout.is_empty() || !exit.stderr.is_empty(), "{arguments:?}");
        assert_exit_is_harmless(arguments, &exit);
    }
    let listed = harness.command(&["dead-letters", "list"]).await.stdout;
    assert!(listed.contains("\\u001b]0;PWN"), "the record's id is shown: {listed}");
    let types = harness.command(&["activity-types", "pipelines/acme.yaml"]).await.stdout;
    assert!(types.contains("987654") && types.contains("Seen <x>"), "{types}");

    let mut map = program(harness.root(), &["map", "--stream", "activities", "--report"]);
    map.stdin(fs::File::open(harness.path("records.json")).unwrap());
    let map = Process::spawn(map).exit().await;
    assert_harmless("map", &map.stderr);

    let flags = [&["run", "--listen", "127.0.0.1:0"][..], &both, &["--log-format", "json"]].concat();
    let mut worker = Process::spawn(program(harness.root(), &flags));
    let url = worker.url().await;
    worker.lane("refused/threats/siem", |lane| lane["error"].is_string()).await;
    for arguments in [&["status", "--url", &url][..], &["status", "--all", "--wide", "--url", &url]] {
        let exit = harness.command(arguments).await;
        assert!(exit.stdout.contains("refused/threats/siem") && exit.stdout.contains("\\u001b"), "{}", exit.stdout);
        assert_exit_is_harmless(arguments, &exit);
    }
    for page in ["/", "/?all", "/pipelines/acme"] {
        // A line break is a blank in HTML.
        assert_harmless(page, &worker.get(page).await.1.replace('\n', " "));
    }
    worker.signal("TERM").await;
    assert_harmless("the worker's log", &worker.exit().await.stderr);
}
