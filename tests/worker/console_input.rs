//! Consoles that answer nothing, or nothing good: the lane says what is wrong, the others go on, and nothing is lost.

use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, Mishap, Setup, Token, system_clock};
use serde_json::{Value, json};

use super::process::{until, until_within};
use super::world::World;

fn always(mishap: Mishap) -> Faults {
    Faults { at_most_in_a_row: u32::MAX, ..Faults::default() }.with(mishap, 1.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_no_pages_are_told_and_asked_for_again() {
    let world = World::new(|setup| setup.activities = 30).await;
    world.put_changed("acme", json!({ "console": { "timeout": "2s" } }));
    let mut worker = world.worker();
    world.delivered(&[Kind::Activities]).await;
    for (mishap, told) in [
        (Mishap::HtmlPage, "HTML"),
        (Mishap::Truncated, "broke off"),
        (Mishap::NullData, "`data: null`"),
        (Mishap::ErrorsInside, "200 with an error"),
        (Mishap::Dropped, "broke off"),
        (Mishap::InternalError, "500"),
        (Mishap::SlowAnswer(Duration::from_secs(5)), "within 2s"),
    ] {
        world.console().set_faults(always(mishap));
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "console_failing").await;
        let error = lane["error"].as_str().unwrap();
        assert!(error.contains(told), "{mishap:?}: {error}");
        world.console().generate(Kind::Activities, system_clock());
        world.console().set_faults(Faults::default());
        world.delivered(&[Kind::Activities]).await;
    }
    let arrived = world.sink.ledger().counts();
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_console_that_is_not_there_and_one_stream_that_is_refused_stop_nothing_else() {
    let world = World::new(|setup| (setup.activities, setup.threats) = (60, 40)).await;
    let streams = json!({ "activities": {}, "threats": { "since": "30d" } });
    world.put_changed("acme", json!({ "streams": streams }));
    world.put_changed("globex", json!({ "console": { "url": "http://127.0.0.1:1" } }));
    world.console().set_token(Token::new(Setup::TOKEN).without(Kind::Threats));
    let exit = world.once(&["--once-timeout", "2s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let result = |lane: &str| {
        let row = exit.stdout.lines().find(|row| row.contains(lane));
        row.unwrap_or_else(|| panic!("{lane} is missing:\n{}", exit.stdout)).trim_end()
    };
    assert!(result("acme/activities/siem").ends_with("complete"), "{}", exit.stdout);
    assert!(result("acme/threats/siem").contains("given up: the console answered 403 Forbidden"), "{}", exit.stdout);
    assert!(result("globex/activities/siem").contains("given up: cannot connect"), "{}", exit.stdout);
    world.assert_all_arrived(&[Kind::Activities], &world.sink.ledger().counts());

    let missing = Faults { missing: vec![Kind::Threats], ..Faults::default() };
    world.console().set_faults(missing);
    let exit = world.once(&["--once-timeout", "2s"]).await;
    assert!(exit.stdout.contains("given up: the console answered 404 Not Found"), "{}", exit.stdout);

    world.console().set_faults(Faults::default());
    world.console().set_token(Token::new(Setup::TOKEN));
    std::fs::remove_file(world.path("pipelines/globex.yaml")).unwrap();
    assert_eq!(world.once(&[]).await.code, Some(0));
    let arrived = world.sink.ledger().counts();
    world.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_40_mb_is_stepped_over_and_the_rest_arrives_once() {
    const SIZE: usize = 40 << 20;
    let world = World::new(|setup| (setup.activities, setup.threats) = (60, 60)).await;
    let at = system_clock() - 3_600_000_000;
    // Others of the same moment before, between and behind them, and two of them in a row.
    let mut large = Vec::new();
    for kind in [Kind::Threats, Kind::Activities] {
        for (place, what) in "...L.LL.L...".chars().enumerate() {
            let at = at + place as i64 * 1000;
            match what {
                'L' => large.push(world.console().generate_oversized(kind, at, SIZE / (1 + place / 6))),
                _ => _ = world.console().generate(kind, at),
            }
        }
    }
    world
        .put_changed("acme", json!({ "streams": { "activities": { "since": "30d" }, "threats": { "since": "30d" } } }));
    let budget = ["--memory-budget", "16MiB"];
    let exit = world.once(&budget).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let owed = || [Kind::Activities, Kind::Threats].into_iter().flat_map(|kind| world.owed(kind)).count();
    let arrived = world.sink.ledger().counts();
    assert_eq!(arrived.len(), owed() - large.len());
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
    let letters = world.command(&["dead-letters", "list", "--format", "json"]).await.stdout;
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), large.len());
    for letter in &letters {
        assert!(letter["cut"] == true && letter["status"] == "too_large", "{letter}");
        let kept = ["event", "event_text"].iter().find_map(|key| letter[key].as_str()).unwrap();
        assert!((60 << 10..=65 << 10).contains(&kept.len()) && kept.starts_with('{'), "{} bytes", kept.len());
    }
    // Once is enough, and it is accounted for.
    assert_eq!(world.once(&budget).await.code, Some(0));
    assert_eq!(world.command(&["dead-letters", "list", "--format", "json"]).await.stdout.lines().count(), large.len());
    let replay = world.command(&["dead-letters", "replay", "--pipelines", "pipelines"]).await;
    assert!(replay.code == Some(1) && replay.stdout.contains("8 stay"), "{}{}", replay.stdout, replay.stderr);

    let exit = world.once(&["--memory-budget", "512MiB", "--state", "file:other"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = world.sink.ledger().counts();
    world.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
}

/// What is refused is probed slowly, so both ends wait here at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_later_is_taken_without_a_restart() {
    let world = World::new(|setup| setup.activities = 30).await;
    world.write("empty", "\n");
    world.write("old", "old");
    world.put_changed("empty", json!({ "console": { "token": { "file": world.path("empty") } } }));
    let late = super::world::receiver().await;
    late.rule(|rules| rules.authorization = ["Bearer new".to_owned()].into());
    let mut pipeline = world.pipeline(json!({}));
    pipeline["sinks"][0]["url"] = json!(late.url());
    pipeline["sinks"][0]["auth"] = json!({ "type": "bearer", "token": { "file": world.path("old") } });
    world.put("refused", &pipeline);
    world.put_changed("good", json!({ "streams": { "activities": { "since": "now" } } }));

    let mut worker = world.worker();
    let console = worker.lane("empty/activities/siem", |lane| lane["state"] == "console_refused").await;
    assert!(console["error"].as_str().unwrap().contains("is empty"), "{console}");
    let sink = worker.lane("refused/activities/siem", |lane| lane["state"] == "sink_refused").await;
    assert!(sink["error"].as_str().unwrap().contains("401"), "{sink}");
    worker.lane("good/activities/siem", |lane| lane["state"] == "running").await;
    assert_eq!(worker.get("/readyz").await.0, 200, "neither console nor sink makes a worker unready");
    world.write("empty", Setup::TOKEN);
    world.write("old", "new");
    // The first rest is half a minute to a minute.
    until_within(Duration::from_secs(150), "both are taken", async || {
        let arrived = [world.sink.ledger().counts(), late.ledger().counts()];
        let owed = world.owed(Kind::Activities);
        arrived.iter().all(|arrived| owed.iter().all(|id| arrived.contains_key(id))).then_some(())
    })
    .await;
    until("the lanes say so", async || worker.lanes().await.values().all(|lane| lane["up"] == true).then_some(()))
        .await;
    for counts in [world.sink.ledger().counts(), late.ledger().counts()] {
        assert!(counts.values().all(|count| *count == 1), "something came twice");
    }
}
