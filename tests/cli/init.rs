//! `init` writes a pipeline file that runs, keeps comments, and overwrites nothing.

use std::fs;
use std::sync::Arc;

use s1_forwarder::destinations::integration::INTEGRATIONS;
use s1_forwarder::destinations::settings;
use s1_forwarder::emulator::{Console, Server, Setup, system_clock};
use s1_forwarder::record::Stream;

use super::{program, run, write};

#[test]
fn every_destination_has_an_example_that_init_completes() {
    let directory = tempfile::tempdir().unwrap();
    for sink in settings::types() {
        let file = directory.path().join(format!("{}.yaml", sink.replace('_', "-")));
        let (code, out, errors) = run(program()
            .args(["init", "--offline", "--console", "usea1-globex.sentinelone.net", "--token-file", "globex.token"])
            .args(["--streams", "threats,agents", "--sink", sink])
            .arg(&file));
        assert!(code == 0 && out.contains("1 valid"), "{sink}: {out}{errors}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("  url: https://usea1-globex.sentinelone.net\n") || *sink == "stdout", "{text}");
        assert!(
            text.contains("  token: { file: globex.token }") && text.contains("threats: {}\n  agents: {}\n"),
            "{text}"
        );
        assert!(text.contains('#') && !text.contains("acme.token"), "{text}");
    }
}

/// Where a destination has SentinelOne content of its own, the file is for that: with the streams that it knows, and
/// none of the forwarder's names.
#[test]
fn a_file_is_for_the_content_of_its_destination() {
    let directory = tempfile::tempdir().unwrap();
    let has_content =
        |sink: &str| settings::example(sink).is_some_and(|text| text.contains("\n    content: integration"));
    let sinks: Vec<&str> = settings::types().iter().copied().filter(|sink| has_content(sink)).collect();
    assert!(sinks.len() > 5, "{sinks:?}");
    for sink in sinks {
        let integration = INTEGRATIONS.into_iter().find(|integration| integration.sink == sink).unwrap();
        let known = integration.known_of(&[Stream::Threats, Stream::Activities, Stream::Agents]);
        let names: Vec<&str> = known.iter().map(|stream| stream.name()).collect();
        let file = directory.path().join(format!("{}.yaml", sink.replace('_', "-")));
        let init = |flags: &[&str]| {
            let complete = ["--offline", "--console", "https://c.example", "--token-file", "c.token", "--sink", sink];
            run(program().arg("init").args(complete).args(flags).arg(&file))
        };
        let (code, out, errors) = init(&["--streams", "threats,activities,agents"]);
        assert!(code == 0 && out.contains("1 valid"), "{sink}: {out}{errors}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("    content: integration"), "{text}");
        let is_limited = text.contains(&format!("    streams: [{}]\n", names.join(", ")));
        assert_eq!(is_limited, known.len() < 3, "{sink}: {text}");
        for name in ["\n    data_stream:", "\n    stream_name:", "\n    source_category:"] {
            assert!(!text.contains(name), "{sink}: {text}");
        }

        if ["panther", "sumo", "syslog"].contains(&sink) {
            let (code, out, errors) = init(&["--force", "--streams", "vulnerabilities"]);
            assert!(code == 0 && out.contains("1 valid"), "{sink}: {out}{errors}");
            assert!(errors.contains("knows none of these streams"), "{sink}: {errors}");
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains("\n    content: integration"), "{sink}: {text}");
        }
        let own = ["--force", "--streams", "threats,agents", "--set", "content=forwarder", "--set", "stream_name=S"];
        let own = if sink == "azure_logs" { &own[..] } else { &own[..5] };
        let (code, out, errors) = init(own);
        assert!(code == 0 && out.contains("1 valid"), "{sink}: {out}{errors}");
        let text = fs::read_to_string(&file).unwrap();
        let is_limited = text.contains("\n    streams: ");
        assert_eq!(is_limited, sink == "google_secops", "{sink}: {text}");
    }
}

/// A new user does the same: the written file runs as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_file_is_checked_and_runs() {
    let setup = Setup { activities: 5, threats: 5, ..Setup::new(system_clock()) };
    let server = Server::start(Arc::new(Console::new(&setup)), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("secrets")).unwrap();
    write(directory.path(), "secrets/acme.token", Setup::TOKEN);
    let path = directory.path().to_owned();
    let url = server.url();
    let commands = move || {
        let events = path.join("events.ndjson");
        let mut init = program();
        init.current_dir(&path).args(["init", "acme.yaml", "--sink", "file", "--console", &url]);
        init.args(["--token-file", "secrets/acme.token", "--streams", "threats"]);
        let (code, out, errors) = run(init.arg("--set").arg(format!("path={}", events.display())));
        assert!(code == 0 && out.contains("all connections work"), "{out}{errors}");
        let (code, out, errors) = run(program().current_dir(&path).args([
            "run",
            "--once",
            "--pipelines",
            "acme.yaml",
            "--listen",
            "127.0.0.1:0",
        ]));
        assert_eq!(code, 0, "{out}{errors}");
        assert_eq!(fs::read_to_string(events).unwrap().lines().count(), 5);
    };
    tokio::task::spawn_blocking(commands).await.unwrap();
    server.stop().await;
}

/// The example's key is for a cluster with security, in a file that the user has not named.
#[test]
fn what_the_example_chose_is_named_and_can_be_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let init = |file: &str, flags: &[&str]| {
        let complete = ["--offline", "--console", "https://c.example", "--token-file", "secrets/acme.token"];
        let sink = ["--sink", "elasticsearch", "--set", "url=http://opensearch.example:9200"];
        run(program().current_dir(directory.path()).args(["init", file]).args(complete).args(sink).args(flags))
    };
    let (code, out, errors) = init("pipelines/acme.yaml", &[]);
    assert_eq!(code, 0, "{out}{errors}");
    for part in [
        "pipelines/secrets/acme.token: put the API token into this file",
        "pipelines/secrets/elastic.key: put `api_key` into this file; or leave it out with --set api_key=",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    fs::create_dir_all(directory.path().join("pipelines/secrets")).unwrap();
    write(directory.path(), "pipelines/secrets/acme.token", "token");
    let (code, out, errors) = init("pipelines/open.yaml", &["--set", "api_key="]);
    assert!(code == 0 && !errors.contains("put"), "{out}{errors}");
    let text = fs::read_to_string(directory.path().join("pipelines/open.yaml")).unwrap();
    assert!(text.contains("\n    # api_key: {") && !text.contains("\n    api_key"), "{text}");
}

#[test]
fn nothing_is_overwritten_or_guessed() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "acme.yaml", "mine");
    let complete = ["--offline", "--console", "https://c.example", "--token-file", "t", "--sink", "stdout"];
    let init =
        |file: &str, flags: &[&str]| run(program().current_dir(directory.path()).args(["init", file]).args(flags));
    let (code, _, errors) = init("acme.yaml", &complete);
    assert!(code == 2 && errors.contains("--force"), "{errors}");
    assert_eq!(fs::read_to_string(directory.path().join("acme.yaml")).unwrap(), "mine");
    assert_eq!(init("acme.yaml", &[&complete[..], &["--force"]].concat()).0, 0);
    // There is no terminal to ask on.
    let (code, _, errors) = init("new.yaml", &["--sink", "stdout"]);
    assert!(code == 2 && errors.contains("--console URL"), "{errors}");
    let (code, _, errors) = init("Not A Name.yaml", &complete);
    assert!(code == 2 && errors.contains("Not A Name.yaml"), "{errors}");
    for file in ["new.txt", "new"] {
        let (code, _, errors) = init(file, &complete);
        assert!(code == 2 && errors.contains("write new.yaml") && !directory.path().join(file).exists(), "{errors}");
    }
    assert!(!directory.path().join("new.yaml").exists() && !directory.path().join("Not A Name.yaml").exists());
    // What is missing or wrong is found by the check: the file is there to be corrected.
    let (code, out, _) = init("bad.yaml", &[&complete[..], &["--set", "nonsense=1"]].concat());
    assert!(code == 2 && out.contains("nonsense"), "{out}");
}
