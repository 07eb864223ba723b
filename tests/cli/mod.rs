//! The command line as a user sees it: exit codes, flags and their environment variables, what `check` prints.

mod closed_pipe;
mod hostile_words;
mod init;
#[cfg(feature = "kubernetes")]
mod kubeconfig;
mod variables;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use assert_cmd::Command;

fn program() -> Command {
    let mut command = Command::cargo_bin("s1-forwarder").unwrap();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("S1_FORWARDER_") {
            command.env_remove(name);
        }
    }
    command
}

/// Exit code, standard output, standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

const GOOD: &str = "console: { url: https://127.0.0.1:1, token: { env: S1_CLI_TEST_TOKEN } }\n\
                    streams: { threats: {}, activities: {} }\nsinks: [{ type: stdout }]\n";

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    for arguments in [&["check"][..], &["nonsense"], &[], &["run", "--pipelines", "x", "--memory-budget", "1kB"]] {
        let (code, _, errors) = run(program().args(arguments));
        assert_eq!(code, 2, "{arguments:?}: {errors}");
    }
    let (code, _, errors) = run(program().args(["run", "--pipelines", "x", "--checkpoint-interval", "60"]));
    assert!(code == 2 && errors.contains("a period needs a unit, such as 60s"), "{errors}");
    let (code, _, errors) = run(program().args(["run", "--pipelines", "x", "--state", "redis:x"]));
    assert!(code == 2 && errors.contains("file:DIR"), "{errors}");
    let (code, _, errors) = run(program().args(["--log-level", "info,=,", "check", "--pipelines", "x", "--offline"]));
    assert!(code == 2 && errors.contains("log level"), "{errors}");
    for arguments in [&["--help"][..], &["--version"], &["help", "run"], &["check", "--help"]] {
        let (code, out, _) = run(program().args(arguments));
        assert!(code == 0 && !out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn typing_mistakes_in_flags_are_wrong_usage() {
    for (arguments, expected) in [
        (&["run", "--pipelines", "x", "--listen", "9598"][..], "write HOST:PORT"),
        (&["run", "--pipelines", "x", "--listen", ":9598"], "or 0.0.0.0:9598 for all addresses"),
        (&["run", "--pipelines", "x", "--state", "file:~/state"], "`~` and variables are not replaced here"),
        (&["dead-letters", "list", "--dead-letters", "file:$HOME/dead"], "`~` and variables are not replaced here"),
        (&["check", "--pipelines", "x", "--log-level", "verbose"], "`verbose` is not a log level"),
        (&["verify", "x.yaml", "--from", "2026-01-31T00:00:00", "--to", "now"], "a time with its zone"),
        (&["verify", "x.yaml", "--from", "now", "--to", "2d"], "must be before"),
        (&["state", "set", "a/threats/s", "--to", "2999-01-01"], "in the future"),
        (&["check", "--pipelines", "kubernetes:label=a=b"], "write kubernetes-resources:[NAMESPACE|*]"),
    ] {
        let (code, _, errors) = run(program().args(arguments));
        assert!(code == 2 && errors.contains(expected), "{arguments:?}: {code} {errors}");
    }
}

#[test]
fn check_offline_of_valid_files_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    write(directory.path(), "globex.yaml", &format!("enabled: false\n{GOOD}"));
    let (code, out, errors) = run(program().args(["check", "--offline", "--pipelines"]).arg(directory.path()));
    assert_eq!(code, 0, "{out}{errors}");
    assert!(
        out.contains("acme") && out.contains("valid, paused") && out.contains("2 valid; connections not tested"),
        "{out}"
    );
}

/// Brokers take no name of more than 249 characters. Without a store, the first refused event would stop its lane.
#[cfg(feature = "kafka")]
#[test]
fn a_state_that_leaves_no_place_for_dead_letters_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    let file = directory.path().join("acme.yaml");
    let file = file.to_str().unwrap();
    let state = format!("kafka://127.0.0.1:1/{}?sasl.password=c4nary", "t".repeat(237));
    for arguments in [
        &["run", "--once", "--pipelines", file][..],
        &["run", "--listen", "127.0.0.1:0", "--pipelines", file],
        &["backfill", file, "--stream", "threats", "--from", "2d", "--to", "1d"],
        &["verify", file, "--from", "2d", "--to", "1d"],
        &["dead-letters", "list"],
        &["dead-letters", "replay", "--pipelines", file],
    ] {
        let (code, out, errors) = run(program().args(arguments).args(["--state", &state]));
        assert!(code == 2 && errors.contains("--dead-letters"), "{arguments:?}: {code} {out}{errors}");
        assert!(!errors.contains("c4nary"), "{errors}");
    }
    let elsewhere = format!("file:{}", directory.path().join("dead").display());
    let (code, out, errors) =
        run(program().args(["dead-letters", "list", "--state", &state, "--dead-letters", &elsewhere]));
    assert!(code == 0 && out.contains("no dead letters"), "{code} {out}{errors}");
}

/// Secrets may be elsewhere than the files that are checked, so this is a warning.
#[test]
fn check_offline_names_a_key_of_hashes_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let redact = "transform: { redact: [user.name, { path: user.email, with: hash, key: { file: redact.key } }] }\n";
    write(directory.path(), "acme.yaml", &format!("{GOOD}{redact}"));
    let check = || run(program().args(["check", "--offline"]).arg(directory.path()));
    let (code, out, errors) = check();
    assert_eq!(code, 0, "{out}{errors}");
    let row = out.lines().find(|line| line.contains(" redact ")).unwrap_or_else(|| panic!("{out}"));
    assert!(row.contains("warning") && row.contains("transform.redact[1]: ") && row.contains("redact.key"), "{row}");
    write(directory.path(), "redact.key", "0123456789abcdef");
    let (code, out, errors) = check();
    assert!(code == 0 && !out.contains("warning"), "{out}{errors}");
}

#[test]
fn check_of_an_invalid_file_ends_with_2_and_still_reports_the_others() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    write(directory.path(), "globex.yaml", "consol: {}\n");
    write(directory.path(), "initech.yaml", "nonsense\n");
    let (code, out, _) = run(program().args(["check", "--offline", "--pipelines"]).arg(directory.path()));
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("globex.yaml:1:1: consol: unknown key; did you mean `console`?"), "{out}");
    assert!(out.contains("initech.yaml:1:1: expected the keys") && out.contains("1 valid, 2 invalid"), "{out}");

    let (code, out, _) =
        run(program().args(["check", "--offline", "--format", "json", "--pipelines"]).arg(directory.path()));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"], &report["offline"]), (2, &false.into(), &true.into()));
    assert_eq!(report["pipelines"][0]["streams"], serde_json::json!(["threats", "activities"]));
    assert_eq!(report["pipelines"][0]["sinks"], serde_json::json!([{ "name": "stdout", "type": "stdout" }]));
    assert_eq!(report["pipelines"][1]["valid"], false);
    let keys: Vec<_> = report["problems"].as_array().unwrap().iter().map(|problem| problem["key"].clone()).collect();
    assert!(keys.contains(&"consol".into()), "{keys:?}");
}

#[test]
fn check_of_what_is_not_there_ends_with_2() {
    let (code, out, _) = run(program().args(["check", "--offline", "--pipelines", "/nonexistent/pipelines"]));
    assert!(code == 2 && out.contains("there is no such file or directory"), "{out}");
}

#[test]
fn check_reports_failed_connections_with_1() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    let mut command = program();
    command.args(["check", "--format", "json", "--pipelines"]).arg(directory.path());
    // No server listens at the console's address.
    let (code, out, errors) = run(command.env("S1_CLI_TEST_TOKEN", "canary5e1"));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
    let findings = report["pipelines"][0]["findings"].clone();
    let all = format!("{out}{errors}");
    assert_eq!(
        (code, &findings[0]["subject"], &findings[0]["check"]),
        (1, &"console".into(), &"failed".into()),
        "{all}"
    );
    assert_eq!(findings[1]["check"], "skipped");
    assert_eq!(findings.as_array().unwrap().last().unwrap()["check"], "verified", "standard output is there");
    let detail = findings[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("cannot connect to 127.0.0.1:1: Connection refused"), "the address is named: {detail}");
    assert!(!all.contains("canary5e1"), "{all}");
}

#[test]
fn nothing_to_run_is_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["check", "--offline"][..], &["run", "--once", "--listen", "127.0.0.1:0"]] {
        let (code, out, errors) =
            run(program().current_dir(directory.path()).args(arguments).arg("--pipelines").arg(directory.path()));
        let is_explained = errors.contains("is empty") || errors.contains("(it has state/)");
        assert!(code == 2 && errors.contains("no pipeline files found: ") && is_explained, "{errors}");
        assert!(out.is_empty() || arguments.contains(&"check"), "{out}");
    }
    for name in ["acme.json", "acme.yml.bak"] {
        write(directory.path(), name, GOOD);
    }
    fs::create_dir(directory.path().join("customers")).unwrap();
    write(directory.path(), "defaults.yaml", GOOD);
    let check = |path: &str| {
        let defaults = ["check", "--offline", "--defaults", "defaults.yaml", path];
        run(program().current_dir(directory.path()).args(defaults))
    };
    let (_, _, errors) = check("defaults.yaml");
    assert!(errors.contains("defaults.yaml is the --defaults file, and no pipeline"), "{errors}");
    fs::rename(directory.path().join("defaults.yaml"), directory.path().join("customers/defaults.yaml")).unwrap();
    let (_, _, errors) = run(program().args(["check", "--offline"]).arg(directory.path()));
    assert!(errors.contains("has no *.yaml or *.yml itself (it has acme.json, acme.yml.bak, customers/"), "{errors}");
}

/// What people type who know another tool.
#[test]
fn words_of_other_tools_lead_to_ours() {
    for (arguments, expected) in [
        (&["version"][..], "`s1-forwarder --version`"),
        (&["validate"], "`check` validates"),
        (&["test"], "`check` validates"),
        (&["logs"], "writes its log to standard error"),
        (&["get", "lanes"], "`status` shows"),
        (&["run", "--dry-run", "x"], "`preview` shows"),
        (&["run", "--config", "x"], "--pipelines"),
        (&["state", "reset"], "`state set LANE --to TIME`"),
        (&["dead-letters", "delete"], "`dead-letters purge`"),
        (&["report", "--from", "-7d"], "such as 7d"),
        (&["check", "--verbose", "x"], "--log-level"),
        (&["metrics"], "/metrics"),
        (&["tail"], "writes its log to standard error"),
        (&["top"], "`status --watch`"),
        (&["pause"], "`enabled: false`"),
        (&["run", "--once"], "a directory with them: s1-forwarder run pipelines"),
        (&["check"], "a directory with them: s1-forwarder check pipelines"),
        (&["list"], "`status` shows"),
        (&["state", "ls"], "'list'"),
        (&["state", "get", "x"], "`state show LANE`"),
        (&["state", "delete", "--all"], "--orphaned"),
        (&["--state", "file:x", "check"], "--state follows the command"),
    ] {
        let (code, _, errors) = run(program().args(arguments));
        let tips = errors.lines().filter(|line| line.contains("tip:")).count();
        assert!(code == 2 && tips == 1 && errors.contains(expected), "{arguments:?}: {errors}");
    }
}

/// Such a worker has no directory in which a command could ask it.
#[cfg(feature = "kubernetes")]
#[test]
fn retry_says_what_to_do_where_a_worker_takes_no_requests() {
    let retry = |names: &[&str], state: &str| run(program().arg("retry").args(names).args(["--state", state]));
    for (name, command) in [
        ("acme.console/threats/siem", "kubectl -n acme annotate --overwrite pipelines.s1-forwarder.io console "),
        ("--failing", "kubectl -n NAMESPACE annotate --overwrite pipelines.s1-forwarder.io NAME "),
    ] {
        let (code, _, errors) = retry(&[name], "kubernetes:s1");
        assert!(code == 2 && errors.contains(command) && errors.contains("`enabled: false`"), "{errors}");
    }
}

/// The records were fetched for another stream.
#[test]
fn map_names_the_stream_that_the_record_is_probably_of() {
    let map = |stream: &str, record: &str| run(program().args(["map", "--stream", stream]).write_stdin(record)).2;
    let activity =
        r#"{"id":"1","activityType":27,"primaryDescription":"a user logged in","createdAt":"2026-01-01T00:00:00Z"}"#;
    let threat = r#"{"id":"1","threatInfo":{"classification":"Malware","createdAt":"2026-01-01T00:00:00Z"}}"#;
    assert!(map("threats", activity).contains("is --stream activities meant?"), "{}", map("threats", activity));
    assert!(map("activities", threat).contains("is --stream threats meant?"), "{}", map("activities", threat));
    for (stream, record) in [("activities", activity), ("threats", threat), ("groups", r#"{"id":"1","isNew":1}"#)] {
        assert_eq!(map(stream, record), "");
    }
}

#[test]
fn a_file_in_utf_16_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acme.yaml");
    let words = |mark: &str| format!("{mark}{GOOD}").encode_utf16().collect::<Vec<_>>();
    for mark in ["\u{feff}", ""] {
        let little: Vec<u8> = words(mark).into_iter().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = words(mark).into_iter().flat_map(u16::to_be_bytes).collect();
        for bytes in [little, big] {
            fs::write(&path, bytes).unwrap();
            for arguments in [&["check", "--offline"][..], &["check", "--offline", "x", "--defaults"]] {
                let (code, out, errors) = run(program().args(arguments).arg(&path));
                assert!(code == 2 && out.contains("acme.yaml: it is UTF-16: save it as UTF-8"), "{out}{errors}");
            }
        }
    }
}

/// No value begins with a hyphen, so `-- -x` does not help.
#[test]
fn an_unknown_flag_is_not_suggested_as_a_value() {
    let (code, _, errors) = run(program().args(["check", "-x", "acme.yaml"]));
    assert!(code == 2 && errors.contains("unexpected argument '-x'") && !errors.contains("tip:"), "{errors}");
}

#[test]
fn files_are_named_with_and_without_a_flag() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    write(directory.path(), "globex.yaml", GOOD);
    let file = directory.path().join("acme.yaml");
    // What is given takes precedence over the environment.
    let (code, out, errors) = run(program()
        .args(["check", "--offline"])
        .arg(&file)
        .env("S1_FORWARDER_PIPELINES", directory.path().join("nothing")));
    assert!(code == 0 && out.contains("1 valid"), "{out}{errors}");
    // A command for one pipeline does not choose among several.
    let (code, _, errors) = run(program().arg("preview").arg(directory.path()));
    assert!(code == 2 && errors.contains("has 2 pipelines: choose one with --pipeline NAME"), "{errors}");
    let (code, _, errors) = run(program().arg("preview").arg(directory.path()).args(["--pipeline", "initech"]));
    assert!(code == 2 && errors.contains("has no valid pipeline `initech`; known: "), "{errors}");
    // No stream `agents`, so nothing is requested; of the other file, which is invalid, nothing is said.
    write(directory.path(), "globex.yaml", "console: 1");
    let preview = ["--pipeline", "acme", "--stream", "agents"];
    let (code, _, errors) = run(program().arg("preview").arg(directory.path()).args(preview));
    assert!(code == 2 && errors.contains("names no stream agents") && !errors.contains("globex"), "{errors}");
}

/// People put the defaults where the pipelines are.
#[test]
fn the_defaults_file_is_no_pipeline_file() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", GOOD);
    write(directory.path(), "defaults.yaml", "transform: { labels: { tier: gold } }\n");
    let (code, out, errors) = run(program()
        .args(["check", "--offline", "--defaults"])
        .arg(directory.path().join("defaults.yaml"))
        .arg("--pipelines")
        .arg(directory.path()));
    assert!(code == 0 && out.contains("1 valid"), "{out}{errors}");
}

/// Against an emulated console: what each finding says, for a good token, one with fewer rights, and a refused one.
#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_a_token_may_do() {
    use s1_forwarder::emulator::{Console, Kind, Server, Setup, Token, system_clock};
    let setup = Setup { activities: 5, threats: 5, agents: 5, alerts: 5, ..Setup::new(system_clock()) };
    let console = Arc::new(Console::new(&setup));
    let server = Server::start(console.clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", &GOOD.replace("https://127.0.0.1:1", &server.url()));
    let check = async |token: &'static str| {
        let path = directory.path().to_owned();
        let program = move || {
            let mut command = program();
            command.args(["check", "--format", "json", "--pipelines"]).arg(path).env("S1_CLI_TEST_TOKEN", token);
            run(&mut command)
        };
        let (code, out, errors) = tokio::task::spawn_blocking(program).await.unwrap();
        let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
        let findings = report["pipelines"][0]["findings"].as_array().unwrap().clone();
        let words = findings
            .iter()
            .map(|finding| format!("{}={}", finding["subject"].as_str().unwrap(), finding["check"].as_str().unwrap()));
        (code, words.collect::<Vec<_>>().join(" "), out)
    };
    console.set_token(Token::new("canary-good"));
    let (code, words, out) = check("canary-good").await;
    let all = "console=verified token=verified owner=verified scope=verified clock=verified stream threats=verified \
               stream activities=verified rate limit=verified sink stdout=verified";
    assert_eq!((code, words.as_str()), (0, all), "{out}");
    assert!(out.contains("never expires") && !out.contains("canary"), "{out}");

    console.set_token(Token::new("canary-less").without(Kind::Threats));
    let (code, words, out) = check("canary-less").await;
    assert!(code == 1 && words.contains("stream threats=failed stream activities=verified"), "{out}");

    let (code, words, out) = check("canary-wrong").await;
    assert!(code == 1 && words.starts_with("console=verified token=failed owner=skipped scope=skipped"), "{out}");
    assert!(!out.contains("canary"), "{out}");

    // What was copied with the token, or stands for it.
    for (token, reason) in [
        ("ApiToken canary-good", r#"the environment variable S1_CLI_TEST_TOKEN begins with \"ApiToken \": remove it"#),
        ("\"canary-good\"", "is in quotes: remove them"),
        ("${ACME_TOKEN}", "is not expanded: write { env: ACME_TOKEN }"),
    ] {
        let (code, words, out) = check(token).await;
        assert!(code == 1 && words.starts_with("console=verified token=failed owner=skipped"), "{out}");
        assert!(out.contains(reason) && !out.contains("canary"), "{reason} not in {out}");
    }

    // A token that cannot be read is no fault of the console's.
    let (code, words, out) = check("").await;
    assert!(code == 1 && words.starts_with("console=verified token=failed owner=skipped"), "{out}");
    assert!(out.contains("S1_CLI_TEST_TOKEN"), "{out}");
    server.stop().await;
}

/// A server that gives every request the same answer.
fn answering(answer: &'static str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn check_advises_where_something_else_answers_than_a_console() {
    const PAGE: &str =
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    const LOGIN: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    const NULL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull";
    const PROXY: &str =
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    const TLS_PORT: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 48\r\nConnection: close\r\n\r\n\
                            Client sent an HTTP request to an HTTPS server.\n";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (answer, subject, advice) in [
        (PAGE, " console ", "404 for what every console has: is `console.url` the console's own address?"),
        (PAGE, " stream threats ", "404 Not Found; is `console.url` the console's own address?"),
        (LOGIN, " token ", "unexpected form; is `console.url` the console's own address?"),
        (LOGIN, " stream threats ", "the answer is HTML, not JSON; is `console.url` the console's own address?"),
        (NULL, " stream threats ", "the answer is JSON, but not a page of records"),
        (PROXY, " token ", "401 Unauthorized; is `console.url` the console's own address?"),
        (TLS_PORT, " console ", "400 for what every console has"),
        (TLS_PORT, " token ", "400 Bad Request; the port wants TLS: write https:// in `console.url`"),
        (TLS_PORT, " stream threats ", "400 Bad Request; the port wants TLS: write https:// in `console.url`"),
        (
            BUSY,
            " token ",
            "503 Service Unavailable; the console, or a proxy before it, is not available now: if this lasts",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "acme.yaml", &GOOD.replace("https://127.0.0.1:1", &answering(answer)));
        let (code, out, errors) = run(program().arg("check").arg(directory.path()).env("S1_CLI_TEST_TOKEN", "token"));
        let row = out.lines().find(|line| line.contains(subject)).unwrap_or_else(|| panic!("{out}{errors}"));
        assert!(code == 1 && row.contains(advice), "{advice} is not in {row}");
        assert!(!row.contains(" verified ") || subject == " console ", "{row}");
        assert!(row.matches("is `console.url`").count() < 2, "{row}");
    }
}

/// What the console knows and the table does not: neither more nor less.
#[tokio::test(flavor = "multi_thread")]
async fn activity_types_lists_what_the_mapping_has_no_row_for() {
    use s1_forwarder::emulator::{Console, Server, Setup, system_clock};
    let console = Arc::new(Console::new(&Setup::new(system_clock())));
    let server = Server::start(console, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", &GOOD.replace("https://127.0.0.1:1", &server.url()));
    let file = directory.path().join("acme.yaml");
    let program = move || {
        let mut command = program();
        run(command.arg("activity-types").arg(file).env("S1_CLI_TEST_TOKEN", Setup::TOKEN))
    };
    let (code, out, errors) = tokio::task::spawn_blocking(program).await.unwrap();
    assert_eq!(code, 0, "{errors}");
    let listed: Vec<u32> = out.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let table = include_str!("../../crates/mapping/src/data/activity-categories.csv");
    let known: Vec<u32> = table.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect();
    let total = listed.last().copied().unwrap();
    let listed = &listed[..listed.len() - 1];
    assert_eq!(total as usize, listed.len(), "{out}");
    assert!(!listed.is_empty() && listed.iter().all(|kind| !known.contains(kind)), "{out}");
    assert!(known.contains(&27) && !listed.contains(&27));
    server.stop().await;
}

#[test]
fn state_of_a_directory_that_is_not_there_is_wrong_usage_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("state");
    let (code, _, errors) =
        run(program().args(["state", "--state"]).arg(format!("file:{}", missing.display())).arg("list"));
    assert!(code == 2 && errors.contains("there is no directory") && !missing.exists(), "{errors}");
}

#[test]
fn an_error_is_reported_once_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "lanes", "no directory");
    let state = format!("file:{}", directory.path().display());
    let (code, _, errors) = run(program().args(["state", "list", "--state", &state]));
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("lanes") && errors.matches("os error").count() == 1, "{errors}");
}

#[test]
fn state_commands_manage_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("file:{}", directory.path().display());
    let state = |arguments: &[&str]| run(program().args(["state", "--state", &store]).args(arguments));
    assert_eq!(state(&["list"]).1, "no checkpoints\n");
    let (code, _, errors) = state(&["show", "acme/threats/siem"]);
    assert!(code == 1 && errors.contains("has no checkpoint"), "{errors}");

    seed(directory.path());
    let (_, listed, _) = state(&["list"]);
    assert!(listed.contains("acme/threats/siem") && listed.contains("2026-01-31T00:00:00.000000Z"), "{listed}");
    let (code, out, errors) = state(&["set", "acme/threats/siem", "--to", "2026-01-01T00:00:00Z"]);
    assert_eq!(code, 0, "{out}{errors}");
    let (_, shown, _) = state(&["show", "acme/threats/siem"]);
    assert!(
        shown.contains("closed until:    2026-01-01T00:00:00.000000Z") && shown.contains("console.example"),
        "{shown}"
    );
    let (code, _, errors) = state(&["set", "acme/threats/siem", "--to", "2026-01-01T00:00:00"]);
    assert!(code == 2 && errors.contains("with its zone"), "{errors}");
    assert_eq!(state(&["rename", "acme", "globex"]).0, 0);
    assert!(state(&["list"]).1.contains("globex/threats/siem"));
    assert_eq!(state(&["rename", "globex/threats/siem", "globex/activities/siem"]).0, 2);
    let (code, _, errors) = state(&["delete", "acme"]);
    assert!(code == 1 && errors.contains("no lane of a pipeline `acme`"), "{errors}");
    assert_eq!(state(&["delete", "globex"]).0, 0);
    assert_eq!(state(&["list"]).1, "no checkpoints\n");
    seed(directory.path());
    assert_eq!(state(&["delete", "acme/threats/siem"]).0, 0);
    assert_eq!(state(&["list"]).1, "no checkpoints\n");
}

/// A checkpoint as a lane would have written it.
fn seed(directory: &Path) {
    use s1_forwarder::checkpoint::CheckpointBackend;
    use s1_forwarder::checkpoint::ledger::Ledger;
    use s1_forwarder::lane::LaneCheckpoint;
    use s1_forwarder::record::Timestamp;
    use s1_forwarder::source::SourcePosition;
    use s1_forwarder::state::FileStore;
    let since = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
    let host = "console.example".to_owned();
    let position = SourcePosition::starting_at(since);
    let ledger = Ledger::begin(since, String::new(), true);
    let checkpoint = LaneCheckpoint::begin(host.into(), "".into(), "1d".into(), since, position, ledger);
    let store = FileStore::open(directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.commit(&"acme/threats/siem".parse().unwrap(), checkpoint.encode().into())).unwrap();
}

#[test]
fn schema_prints_the_schema_of_pipeline_files() {
    let (code, schema, _) = run(program().arg("schema"));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!((code, &schema), (0, &s1_forwarder::pipeline::schema()));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let pages = tempfile::tempdir().unwrap();
    let (code, _, errors) = run(program().arg("man").arg(pages.path()));
    assert_eq!(code, 0, "{errors}");
    let (_, script, _) = run(program().args(["completions", "bash"]));
    for command in s1_forwarder::commands::definition().get_subcommands().map(|command| command.get_name().to_owned()) {
        assert!(script.contains(&command), "{command} is not completed");
        let page = fs::read_to_string(pages.path().join(format!("s1-forwarder-{command}.1"))).unwrap();
        assert!(page.starts_with(".ie"), "{page}");
    }
    let (code, _, errors) = run(program().args(["man", "/nowhere/at/all"]));
    assert!(code == 1 && errors.contains("/nowhere/at/all"), "{errors}");
}

#[test]
fn a_reader_who_has_gone_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let lane = directory.path().join("state/lanes/acme/threats");
    fs::create_dir_all(&lane).unwrap();
    fs::write(lane.join("siem.checkpoint"), "damaged").unwrap();
    for (arguments, expected) in
        [(&["state", "list"][..], 1), (&["status", "--url", "127.0.0.1:1"], 1), (&["schema"], 0)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_s1-forwarder"));
        command.args(arguments).current_dir(directory.path()).env_clear();
        let ended = command.stderr(writer.try_clone().unwrap()).stdout(writer).status().unwrap();
        assert_eq!(ended.code(), Some(expected), "{arguments:?}");
    }
}
