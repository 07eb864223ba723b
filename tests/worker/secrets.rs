//! No secret leaves the process but to the one who is to have it, whatever goes wrong on either side.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use s1_forwarder::emulator::{Kind, Token, system_clock};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::double::{FaultRule, answer};
use crate::support::harness::{Harness, receiver};
use crate::support::oauth::TokenEndpoint;
use crate::support::process::{PATIENCE, Process, program, until_within};
use crate::support::receiver::Receiver;
use crate::support::spelling::{Spelling, shown_secret};

/// Every secret holds this.
const CANARY: &str = "c4nary";
/// And ends with characters that one spelling or another escapes.
const AWKWARD: &str = "~\"/\\<&+%41;";

/// A console that repeats the token it got in each of its errors, one kind of error and one spelling after the other.
async fn talkative_console() -> String {
    async fn echo(State(asked): State<Arc<AtomicUsize>>, headers: HeaderMap, body: String) -> Response {
        let asked = asked.fetch_add(1, Ordering::SeqCst);
        let status = [500, 401, 403, 400, 200][asked % 5];
        let spelling = Spelling::ALL[asked / 5 % Spelling::ALL.len()];
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        let sent = ["authorization", "proxy-authorization"].map(|name| spelling.write(header(name)));
        let detail = format!("you sent {}, {} and {body}", sent[0], sent[1]);
        // In JSON these are the characters themselves.
        let is_json = matches!(spelling, Spelling::Json | Spelling::JsonEscaped);
        let quoted = |text: &str| if is_json { format!("\"{text}\"") } else { json!(text).to_string() };
        let title = quoted(&sent[0]);
        let detail = if is_json { quoted(&sent.join(", ")) } else { quoted(&detail) };
        let errors = format!(r#"{{"errors":[{{"code":4010010,"title":{title},"detail":{detail}}}],"data":null}}"#);
        answer(status, &[("content-type", "application/json".to_owned())], &errors)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(echo).with_state(Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// One secret in one of the three forms.
struct Forms<'a> {
    harness: &'a Harness,
    variables: Vec<(String, String)>,
}

impl Forms<'_> {
    fn secret(&mut self, form: &str, text: &str) -> Value {
        let name = format!("SECRET_{}", self.variables.len());
        match form {
            "file" => {
                self.harness.write(&name, &format!("{text}\n"));
                let path = self.harness.path(&name);
                self.variables.push((name, "unused".to_owned()));
                json!({ "file": path })
            }
            "env" => {
                self.variables.push((name.clone(), text.to_owned()));
                json!({ "env": name })
            }
            _ => json!(text),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_leaves_no_core_dump() {
    // What the test inherits may forbid core dumps already.
    let inherited = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: inherited.maximum, ..inherited }).unwrap();
    let harness = Harness::new(|_| {}).await;
    let mut worker = harness.worker();
    worker.url().await;
    setrlimit(Resource::Core, inherited).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert!(core.split_whitespace().next().unwrap().parse::<u64>().unwrap() <= 1, "{core}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_reported_by_log_metric_page_state_or_dead_letter() {
    let harness = Harness::new(|setup| setup.activities = 40).await;
    harness.console().generate_oversized(Kind::Activities, system_clock() - 60_000_000, 150_000);
    let talkative = talkative_console().await;
    let tokens = TokenEndpoint::start("c4nary-oauth-of-nobody", 3_600).await;
    let mut forms = Forms { harness: &harness, variables: Vec::new() };
    let mut receivers: Vec<Receiver> = Vec::new();

    let mut spellings = Spelling::ALL.into_iter().cycle();
    for form in ["literal", "file", "env"] {
        for (kind, status) in
            [("basic", 401), ("bearer", 403), ("oauth", 401), ("hmac", 500), ("header", 500), ("proxy", 403)]
        {
            let secret = format!("{CANARY}-{kind}-{form}{AWKWARD}");
            let sink = receiver().await;
            // First it repeats what it got, then it takes everything but one event.
            let spelling = spellings.next().unwrap();
            sink.script(vec![FaultRule::EchoCredentials(status, spelling); 2]);
            sink.contract(|rules| rules.event_bytes = Some(100_000));
            let in_url = Spelling::Percent.write(&secret);
            let token = format!("{CANARY}-token-{kind}-{form}{AWKWARD}");
            harness.console().set_token(Token::new(&token));
            let mut pipeline = harness.pipeline(json!({}));
            pipeline["console"]["token"] = forms.secret(form, &token);
            let entry = &mut pipeline["sinks"][0];
            entry["url"] = json!(sink.input());
            match kind {
                "basic" => {
                    entry["auth"] = json!({ "type": "basic", "user": "user", "password": forms.secret(form, &secret) })
                }
                "bearer" => entry["auth"] = json!({ "type": "bearer", "token": forms.secret(form, &secret) }),
                "hmac" => entry["auth"] = json!({ "type": "hmac", "secret": forms.secret(form, &secret) }),
                "header" => entry["headers"] = json!({ "X-Key": forms.secret(form, &secret) }),
                "oauth" => {
                    let secret = forms.secret(form, &secret);
                    entry["auth"] = json!({ "type": "oauth2", "token_url": tokens.url(), "client_id": "client", "client_secret": secret });
                }
                _ => {
                    let proxy = sink.input().replace("http://", &format!("http://user:{in_url}@"));
                    entry["proxy"] = json!(proxy.trim_end_matches("/in"));
                    entry["url"] = json!("http://siem.example/in");
                }
            }
            harness.put(&format!("{kind}-{form}"), &pipeline);
            // These credentials are also used at a console that repeats them.
            pipeline["console"]["url"] = json!(talkative);
            if kind == "proxy" {
                let proxy = talkative.replace("http://", &format!("http://user:{in_url}@"));
                pipeline["console"]["proxy"] = json!(proxy);
            }
            harness.put(&format!("{kind}-{form}-refused"), &pipeline);
            receivers.push(sink);
        }
    }

    let run = |arguments: &[&str]| {
        let mut command = program(harness.root(), arguments);
        command.envs(forms.variables.clone());
        Process::spawn(command)
    };
    let mut worker = run(&["run", "--pipelines", "pipelines", "--listen", "127.0.0.1:0", "--log-level", "trace"]);
    until_within(5 * PATIENCE, "each kind of error came, and something was delivered and kept", async || {
        let lanes = worker.lanes().await;
        let text = |lane: &Value| lane["last_error"]["text"].as_str().unwrap_or_default().to_owned();
        let reported = |word: &str| lanes.values().filter(|lane| text(lane).contains(word)).count();
        let kept = lanes.values().filter(|lane| lane["dead_letters"] == 1).count();
        let sinks = reported(": you sent") >= 15 && reported("invalid client secret") >= 3;
        (sinks && reported("the console answered") >= 18 && kept >= 6).then_some(())
    })
    .await;
    for page in ["/metrics", "/", "/api/v1/lanes", "/readyz", "/livez"] {
        assert_silent(page, &worker.get(page).await.1);
    }
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert!(exit.stderr.contains("TRACE"), "the log is not as talkative as it could be");
    assert_silent("standard error", &exit.stderr);
    assert_silent("standard output", &exit.stdout);
    for format in ["table", "json"] {
        let flags = ["--format", format, "--log-level", "trace", "--log-format", "text"];
        let check = run(&[&["check", "--pipelines", "pipelines"], &flags[..]].concat()).exit().await;
        assert_eq!(check.code, Some(1), "{}", check.stdout);
        assert_silent("check", &check.stdout);
        assert_silent("check's log", &check.stderr);
    }
    let mut files = 0;
    assert_silent_files(&harness.path("state"), &mut files);
    assert!(files > 20 && harness.path("state/dead-letters").exists(), "{files} files");
}

/// The text holds no secret, neither plainly nor as a header or a peer spells it.
fn assert_silent(place: &str, text: &str) {
    for secret in [CANARY, "token-1"] {
        if let Some(shown) = shown_secret(text, secret) {
            panic!("{place} tells {shown}");
        }
    }
}

fn assert_silent_files(directory: &Path, files: &mut usize) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_silent_files(&path, files);
        } else {
            *files += 1;
            assert_silent(&path.display().to_string(), &String::from_utf8_lossy(&fs::read(&path).unwrap()));
        }
    }
}
