//! What a destination has, by the identities that an operator asked it for: exactly what is not there is named.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use s1_forwarder::emulator::Kind;
use s1_forwarder::record::Timestamp;
use serde_json::json;

use crate::support::completeness::{HOUR, hour, two_streams};
use crate::support::harness::{Destination as _, Harness};
use crate::support::process::Exit;
use crate::support::verify_destination::{lanes, listed, settled, settled_by_hour, sum};

/// Compares activities with these lines.
async fn judge(harness: &Harness, lines: &[String], flags: &[&str]) -> Exit {
    harness.write("present", &format!("{}\n", lines.join("\n")));
    let present = harness.path("present");
    let arguments = ["--present", present.to_str().unwrap(), "--stream", "activities", "--format", "json"];
    harness.verify_until(hour(3), &[&arguments[..], flags].concat()).await
}

/// Copies of another identity, so that a list of this length has the number of lines of no limit.
fn uncut(lines: usize) -> impl Iterator<Item = String> {
    std::iter::repeat_n("f".repeat(32), 57 - lines % 50)
}

/// Events that a list has twice.
const COPIES: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_set_that_is_not_given_is_exactly_what_is_named() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let delivered: Vec<String> = harness.sink.ledger().counts().into_keys().collect();
    let exit = judge(&harness, &delivered, &[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let lane = &lanes(&exit)[0];
    let count = |column| sum(lane, column);
    assert!(count("owed") > 1_000 && count("owed") == count("present") && count("excluded") > 10, "{lane}");
    assert_eq!(count("accounted"), count("owed") + count("excluded"), "{lane}");

    let delivered: BTreeSet<String> = delivered.into_iter().collect();
    // Without the first or last one, a list may have been sorted and cut.
    let is_within = |id: &String| delivered.contains(id) && ![delivered.first(), delivered.last()].contains(&Some(id));
    let mut hours = settled_by_hour(&harness, 8 * 24 - 3, 3);
    hours.values_mut().for_each(|hour| hour.retain(is_within));
    // An hour that lacks events, and has the most nevertheless, may have been truncated. Copies count.
    let most = hours.values().map(Vec::len).max().unwrap();
    let settled: Vec<String> = hours.into_values().filter(|hour| hour.len() + COPIES < most).flatten().collect();
    let list = harness.path("list");
    for removed in [1, 3, 60] {
        let removed: BTreeSet<String> = fastrand::choose_multiple(&settled, removed).into_iter().cloned().collect();
        let mut lines: Vec<String> = delivered.difference(&removed).map(|id| format!("id={id},x=\t")).collect();
        // Twice, in any order, and among others.
        lines.extend_from_within(..COPIES);
        lines.extend(uncut(lines.len()));
        fastrand::shuffle(&mut lines);
        let exit = judge(&harness, &lines, &["--list", list.to_str().unwrap()]).await;
        assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
        assert_eq!(listed(&list), removed, "{}", exit.stdout);
        let lane = &lanes(&exit)[0];
        assert_eq!(sum(lane, "missing"), removed.len() as u64, "{lane}");
        assert_eq!(sum(lane, "owed"), sum(lane, "present") + sum(lane, "missing"), "{lane}");
        assert!(sum(lane, "duplicates") <= COPIES as u64, "{lane}");
    }

    // The table names them too.
    let missing = settled.first().unwrap();
    let there = delivered.iter().filter(|id| *id != missing);
    let lines: Vec<String> = there.cloned().chain(uncut(delivered.len() - 1)).collect();
    harness.write("present", &lines.join("\n"));
    let present = harness.path("present");
    let exit = harness.verify_until(hour(3), &["--present", present.to_str().unwrap()]).await;
    assert!(exit.stdout.contains("AT DESTINATION") && exit.stdout.contains("other hours"), "{}", exit.stdout);
    assert!(exit.stdout.contains(missing), "{}", exit.stdout);

    // `sort | head` leaves such a list.
    let few = delivered.len() - 46;
    let lines: Vec<String> = delivered.iter().take(few).cloned().chain(uncut(few)).collect();
    let exit = judge(&harness, &lines, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("sorted, and cut")), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_proof_claims_nothing() {
    let harness = two_streams().await;
    // A dead letter is not missing.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, hour(5), 150_000);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let delivered: Vec<String> = harness.sink.ledger().counts().into_keys().collect();
    let exit = judge(&harness, &delivered, &[]).await;
    assert_eq!((exit.code, sum(&lanes(&exit)[0], "dead_letters")), (Some(0), 1), "{}{}", exit.stdout, exit.stderr);

    // A list that has nothing of the lane is not believed.
    let foreign: Vec<String> = (0..50).map(|_| format!("{:032x}", fastrand::u128(..))).collect();
    let exit = judge(&harness, &foreign, &[]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!(exit.code, Some(1), "{lane}");
    assert!(lane["unseen"].as_str().unwrap().contains("not one of them"), "{lane}");
    assert_eq!(lane["hours"], json!([]), "{lane}");

    // What is older than all that is there may be a matter of age.
    let settled = settled(&harness, 8 * 24 - 3, 3);
    let recent: BTreeSet<&String> = settled.iter().rev().take(300).collect();
    let young: Vec<String> = delivered.iter().filter(|id| recent.contains(id)).cloned().collect();
    let exit = judge(&harness, &young, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["not_judged"].to_string().contains("retention?"), "{lane}");
    assert!(sum(lane, "missing") < 40 && sum(lane, "present") > 200, "{lane}");

    // What the settings drop now is not owed.
    let all = harness.verify_until(hour(3), &["--stream", "activities"]).await;
    assert_eq!(all.code, Some(0), "{}{}", all.stdout, all.stderr);
    harness.put_changed(
        "acme",
        json!({ "transform": { "drop": [".activityType == 3400 || true"] },
        "streams": { "activities": { "interval": "300ms", "since": "10d" } } }),
    );
    let exit = judge(&harness, &delivered, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(sum(lane, "excluded") > 1_000 && sum(lane, "owed") == 0 && sum(lane, "missing") == 0, "{lane}");

    // A list is as new as its file: it says nothing of what was delivered after it.
    harness.write("present", &delivered.join("\n"));
    let file = std::fs::File::options().write(true).open(harness.path("present")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_micros(50 * HOUR as u64)).unwrap();
    let present = harness.path("present");
    let arguments = ["--present", present.to_str().unwrap(), "--stream", "activities", "--format", "json"];
    let exit = harness.verify_until(hour(3), &arguments).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["not_judged"].to_string().contains("may not have been searchable yet"), "{lane}");
    let last = lane["hours"].as_array().unwrap().last().unwrap()["hour"].as_str().unwrap().to_owned();
    assert!(Timestamp::parse(&last).unwrap().micros() < hour(49), "{last}");

    // Wrong usage.
    harness.write("present", "nothing\n");
    for (flags, part) in [
        (&["--present", "present", "--repair"][..], "cannot be used with"),
        (&["--list", "list"], "--present"),
        (&["--present", "present"], "no line has an identity"),
        (&["--present", "absent"], "absent cannot be read"),
    ] {
        let exit = harness.verify(flags).await;
        assert!(exit.code.is_some_and(|code| code > 0) && exit.stderr.contains(part), "{flags:?} {}", exit.stderr);
    }
}

/// A list of one question an hour: each answer was cut at the same number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_that_were_cut_claim_nothing() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let delivered = harness.sink.ledger().counts();
    let mut of_hours: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for back in 3..8 * 24 {
        of_hours.entry(back).or_default().extend(settled(&harness, back + 1, back));
    }
    let cut = of_hours.values().flat_map(|ids| ids.iter().filter(|id| delivered.contains_key(*id)).take(11));
    let mut lines: Vec<String> = cut.cloned().collect();
    lines.extend(uncut(lines.len()));
    let exit = judge(&harness, &lines, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("exactly 11 of them")), "{lane}");
    assert_eq!((exit.code, &lane["hours"]), (Some(1), &json!([])), "{lane}");
}

/// A pipe that broke has the beginning of a list, and a list of which a part is no identity may have any event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_ended_early_is_not_judged_to_its_end() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let delivered = harness.sink.ledger().counts();
    let by_creation: Vec<String> = (3..8 * 24)
        .rev()
        .flat_map(|back| settled(&harness, back + 1, back))
        .filter(|id| delivered.contains_key(id))
        .collect();
    let removed = by_creation[by_creation.len() / 4].clone();
    let half = by_creation.len() / 2 + 3;
    let mut lines: Vec<String> = by_creation[..half].iter().filter(|id| **id != removed).cloned().collect();
    lines.extend(uncut(lines.len()));
    let list = harness.path("list");
    let exit = judge(&harness, &lines, &["--list", list.to_str().unwrap()]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["not_judged"].to_string().contains("did the list end early?"), "{lane}");
    assert_eq!((exit.code, listed(&list)), (Some(1), BTreeSet::from([removed])), "{lane}");
    assert!(lane["doubted"].as_u64().unwrap() > 400, "{lane}");

    lines.push("SnKbLKIBGFGj1urg0001".to_owned());
    let exit = judge(&harness, &lines, &[]).await;
    let lane = &lanes(&exit)[0];
    let line = format!("the first is line {}", lines.len());
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains(&line)), "{lane}");
    assert!(exit.code == Some(1) && exit.stderr.contains(&line), "{}", exit.stderr);
}

/// A tool writes an empty or masked line for an event whose column is empty. An empty last line is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_masked_line_may_be_any_event() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let delivered: BTreeSet<String> = harness.sink.ledger().counts().into_keys().collect();
    let is_within = |id: &String| delivered.contains(id) && ![delivered.first(), delivered.last()].contains(&Some(id));
    let removed = settled(&harness, 8 * 24 - 3, 3).into_iter().find(is_within).unwrap();
    let mut lines: Vec<String> = delivered.into_iter().filter(|id| *id != removed).collect();
    lines.extend(uncut(lines.len()));
    for masked in ["", " ", "***", "???", "___", "---"] {
        let mut lines = lines.clone();
        lines.insert(4, masked.to_owned());
        let exit = judge(&harness, &lines, &[]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["unseen"].as_str().is_some_and(|text| text.contains("the first is line 5")), "{masked:?} {lane}");
        assert_eq!((exit.code, &lane["hours"]), (Some(1), &json!([])), "{masked:?} {lane}");
    }
    let list = harness.path("list");
    let last_is_empty = [lines.clone(), vec![String::new()]].concat();
    let exit = judge(&harness, &last_is_empty, &["--list", list.to_str().unwrap()]).await;
    assert_eq!((exit.code, listed(&list)), (Some(1), BTreeSet::from([removed])), "{}{}", exit.stdout, exit.stderr);

    // A power of two, with a heading and without one.
    let power = lines.len().next_power_of_two();
    lines.resize(power, "f".repeat(32));
    let heading = "event_id".to_owned();
    for (heading, rows) in [(None, power), (None, power - 1), (Some(&heading), power), (Some(&heading), power - 1)] {
        let lines: Vec<String> = heading.into_iter().chain(lines.iter().take(rows)).cloned().collect();
        let exit = judge(&harness, &lines, &[]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["unseen"].as_str().is_some_and(|text| text.contains("may have been truncated")), "{rows} {lane}");
        assert_eq!((exit.code, &lane["hours"]), (Some(1), &json!([])), "{rows} {lane}");
    }
}

/// A label may have any text: that of the documented command finds the header of the event.
#[test]
fn the_documented_command_finds_the_first_header_alone() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify.md")).unwrap();
    let (_, command) = manual.split_once("kcat ").unwrap().1.split_once('|').unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let (one, other) = ("9d5edec136b76dda4e8607e86dfbcbbc", "0".repeat(32));
    for (headers, expected) in [
        (format!("id={one},pipeline=acme,label.site=Lisbon,id={other}"), one),
        (format!("id=NULL,pipeline=acme,label.site=Lisbon,id={other}"), "message"),
        (String::new(), "message"),
    ] {
        let mut shell = Command::new("sh");
        let mut sed = shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sed.stdin.take().unwrap().write_all(format!("{headers}\n").as_bytes()).unwrap();
        let printed = String::from_utf8(sed.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(printed.trim_end(), expected, "{headers}");
    }
}

/// Dead letters are found where the worker has stored them, also under the name that the lane had then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_another_store_or_a_former_name_are_not_missing() {
    let harness = two_streams().await;
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, hour(5), 150_000);
    assert_eq!(harness.once(&["--dead-letters", "file:dead"]).await.code, Some(0));
    let delivered: Vec<String> = harness.sink.ledger().counts().into_keys().collect();
    let exit = judge(&harness, &delivered, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(
        lane["unseen"]
            .as_str()
            .is_some_and(|reason| reason.ends_with("/dead") && reason.contains(": give --dead-letters file:/")),
        "{lane}"
    );
    assert_eq!((exit.code, sum(lane, "missing")), (Some(1), 0), "{lane}");
    // The worker writes its counts later than the checkpoint.
    let uncounted = harness.command(&["state", "delete", "--usage", "acme/activities/siem"]).await;
    assert_eq!(uncounted.code, Some(0), "{}", uncounted.stderr);
    let exit = judge(&harness, &delivered, &[]).await;
    assert!(lanes(&exit)[0]["unseen"].to_string().contains(": give --dead-letters file:/"), "{}", exit.stdout);
    let own = ["--dead-letters", "file:dead"];
    let exit = judge(&harness, &delivered, &own).await;
    assert_eq!((exit.code, sum(&lanes(&exit)[0], "dead_letters")), (Some(0), 1), "{}{}", exit.stdout, exit.stderr);
    // The store of the default is there, and is another one.
    std::fs::create_dir_all(harness.path("state/dead-letters")).unwrap();
    let removed = settled(&harness, 30, 29).into_iter().find(|id| delivered.contains(id)).unwrap();
    let fewer: Vec<String> = delivered.iter().filter(|id| **id != removed).cloned().collect();
    let fewer: Vec<String> = fewer.iter().cloned().chain(uncut(fewer.len())).collect();
    for (flags, dead) in [(&[][..], 0), (&own, 1)] {
        let exit = judge(&harness, &fewer, flags).await;
        let lane = &lanes(&exit)[0];
        let is_doubt = lane["unseen"].to_string().contains(": give --dead-letters file:/");
        assert_eq!((is_doubt, sum(lane, "dead_letters"), sum(lane, "missing")), (dead == 0, dead, dead), "{lane}");
        assert_eq!(exit.code, Some(1), "{lane}");
    }

    // A store that was moved has the dead letters under its new name, and again under the old one. Another has not.
    let copied = Command::new("cp").arg("-R").args([harness.path("dead"), harness.path("moved")]).status();
    assert!(copied.unwrap().success());
    for (store, dead) in [("file:moved", Some(1)), ("file:dead", Some(1)), ("file:third", None)] {
        assert_eq!(harness.once(&["--dead-letters", store]).await.code, Some(0));
        let exit = judge(&harness, &delivered, &["--dead-letters", store]).await;
        let lane = &lanes(&exit)[0];
        let is_doubt = lane["unseen"].to_string().contains("in another store until 2");
        assert_eq!((is_doubt, sum(lane, "missing")), (dead.is_none(), 0), "{store}: {lane}");
        assert_eq!((exit.code, sum(lane, "dead_letters")), (Some(i32::from(is_doubt)), dead.unwrap_or(0)), "{lane}");
    }
    assert_eq!(harness.once(&own).await.code, Some(0));

    let renamed = harness.command(&["state", "rename", "acme/activities/siem", "acme/activities/other"]).await;
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);
    let mut sink = harness.sink.settings();
    sink["name"] = json!("other");
    let streams = json!({ "activities": { "since": "10d", "exclude_types": [27, 2] } });
    harness.put_changed("acme", json!({ "sinks": [sink], "streams": streams }));
    let exit = judge(&harness, &delivered, &own).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, sum(lane, "missing")), (Some(0), 0), "{lane}");
    assert_eq!(lane["elsewhere"]["dead letters of acme/activities/siem (renamed?)"], 1, "{lane}");

    // Without a dead letter that anybody has counted, a note says that there is no store.
    let fewer: Vec<String> = delivered.iter().skip(1).cloned().collect();
    let other = two_streams().await;
    assert_eq!(other.once(&[]).await.code, Some(0));
    let all: BTreeSet<String> = other.sink.ledger().counts().into_keys().collect();
    let settled = settled(&other, 8 * 24 - 3, 3).into_iter().find(|id| all.contains(id));
    let mut fewer: Vec<String> = all.into_iter().filter(|id| Some(id) != settled.as_ref()).chain(fewer).collect();
    fewer.truncate(fewer.len() / 100 * 100 + 7);
    let exit = judge(&other, &fewer, &[]).await;
    assert_eq!((exit.code, sum(&lanes(&exit)[0], "missing")), (Some(1), 1), "{}", exit.stdout);
    assert!(exit.stderr.contains("no dead letters were read: "), "{}", exit.stderr);
}

/// What other commands deliver replays no dead letter: those that were purged are still not missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_does_not_explain_dead_letters_that_were_purged() {
    let harness = two_streams().await;
    dead_threats(&harness, 3).await;
    let purged = harness.command(&["dead-letters", "purge", "--all"]).await;
    assert_eq!(purged.code, Some(0), "{}", purged.stderr);
    let late = harness.appear_late(Kind::Threats, hour(20), 4);
    let exit = harness.verify_until(hour(3), &["--stream", "threats", "--repair"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let delivered: Vec<String> = harness.sink.ledger().counts().into_keys().collect();
    assert!(late.iter().all(|id| delivered.contains(id)), "{}", exit.stdout);
    let lines: Vec<String> = delivered.iter().cloned().chain(uncut(delivered.len())).collect();
    let exit = judge_threats(&harness, &lines).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("no replay has delivered it")), "{lane}");
    assert_eq!((exit.code, sum(lane, "missing")), (Some(1), 0), "{lane}");
}

/// A replay is known by what it has delivered, so that the lane is judged. A purge of one more is no replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_were_replayed_are_present() {
    for is_purged in [false, true] {
        let harness = two_streams().await;
        let late = harness.appear_late(Kind::Threats, hour(20), 5);
        dead_threats(&harness, 3).await;
        harness.sink.contract(|rules| rules.event_bytes = None);
        let limit: &[&str] = if is_purged { &["--limit", "2"] } else { &[] };
        let replay = [&["dead-letters", "replay", "--pipelines", "pipelines", "--stream", "threats"], limit].concat();
        let exit = harness.command(&replay).await;
        let count = if is_purged { 2 } else { 3 };
        assert!(exit.stdout.contains(&format!("{count} delivered")), "{}{}", exit.stdout, exit.stderr);
        if is_purged {
            assert_eq!(harness.command(&["dead-letters", "purge", "--all"]).await.code, Some(0));
        }
        let removed = late.iter().nth(2).unwrap();
        let delivered = harness.sink.ledger().counts().into_keys();
        let lines: Vec<String> = delivered.filter(|id| id != removed).collect();
        let lines: Vec<String> = lines.iter().cloned().chain(uncut(lines.len())).collect();
        let exit = judge_threats(&harness, &lines).await;
        let lane = &lanes(&exit)[0];
        let is_doubt = lane["unseen"].to_string().contains("replays are known to have sent 2 again");
        assert_eq!((exit.code, is_doubt), (Some(1), is_purged), "{lane}");
        assert_eq!(sum(lane, "missing"), u64::from(!is_purged), "{lane}");
        assert_eq!(exit.stdout.contains(removed), !is_purged, "{lane}");
    }
}

/// A replay that is refused again leaves as many dead letters as before, and all of them are known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_were_refused_again_are_not_missing() {
    let harness = two_streams().await;
    dead_threats(&harness, 3).await;
    let exit = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines", "--stream", "threats"]).await;
    assert!(exit.stdout.contains("0 delivered, 3 refused again"), "{}{}", exit.stdout, exit.stderr);
    let lines: Vec<String> = harness.sink.ledger().counts().into_keys().collect();
    let lines: Vec<String> = lines.iter().cloned().chain(uncut(lines.len())).collect();
    let exit = judge_threats(&harness, &lines).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, sum(lane, "dead_letters"), sum(lane, "missing")), (Some(0), 3, 0), "{lane}");
    assert_eq!(harness.command(&["dead-letters", "purge", "--pipeline", "acme", "--limit", "1"]).await.code, Some(0));
    let exit = judge_threats(&harness, &lines).await;
    let lane = &lanes(&exit)[0];
    assert!(exit.code == Some(1) && lane["unseen"].is_string(), "{lane}");
}

/// Delivers all but some threats, which the sink refuses.
async fn dead_threats(harness: &Harness, count: i64) {
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    for number in 0..count {
        harness.console().generate_oversized(Kind::Threats, hour(10 + number), 150_000);
    }
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let listed = harness.command(&["dead-letters", "list", "--stream", "threats", "--format", "json"]).await;
    assert_eq!(listed.stdout.lines().count() as i64, count, "{}{}", listed.stdout, listed.stderr);
}

/// Compares threats with these lines.
async fn judge_threats(harness: &Harness, lines: &[String]) -> Exit {
    harness.write("present", &format!("{}\n", lines.join("\n")));
    let present = harness.path("present");
    let arguments = ["--present", present.to_str().unwrap(), "--stream", "threats", "--format", "json"];
    harness.verify_until(hour(3), &arguments).await
}

/// A compressed list on standard input is read as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_list_and_a_choice_of_sinks() {
    let harness = two_streams().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
    for id in harness.sink.ledger().counts().keys() {
        writeln!(compressed, "{id}").unwrap();
    }
    std::fs::write(harness.path("present"), compressed.finish().unwrap()).unwrap();
    let exit = harness.verify_until(hour(3), &["--present", "present"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("acme/threats/siem") && exit.stdout.contains("asked: present"), "{}", exit.stdout);
    let sinks = json!([harness.sink.settings(), { "type": "stdout" }]);
    harness.put_changed("acme", json!({ "sinks": sinks }));
    let exit = harness.verify_until(hour(3), &["--present", "present"]).await;
    assert!(exit.code == Some(2) && exit.stderr.contains("choose a --sink of siem, stdout"), "{}", exit.stderr);
}
