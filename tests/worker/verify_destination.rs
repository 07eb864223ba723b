//! Is it still there? What a destination no longer has is exactly what is named and delivered again, and an answer that
//! is no proof changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s1_forwarder::emulator::{Kind, Quirks, system_clock};
use s1_forwarder::record::{Identity, Stream, Timestamp};
use serde_json::{Value, json};

use crate::support::completeness::{created_at, created_between, hour};
use crate::support::double::{Double, FaultRule};
use crate::support::elasticsearch_lookup::{ElasticSearch, Indices, Return, TARGET, TRAPS, Trap};
use crate::support::harness::Harness;
use crate::support::process::until;
use crate::support::verify_destination::{self, ask, ask_lane, lanes, listed, settled, settled_by_hour, sum};

/// A day of activities, delivered to a cluster that is asked with other credentials.
async fn delivered() -> (Harness, Double<ElasticSearch>) {
    let elastic = Double::start(ElasticSearch::default()).await;
    let harness = verify_destination::delivered(json!({
        "type": "elasticsearch", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    }))
    .await;
    assert!(elastic.contract(|elastic| elastic.documents.len()) > 1_000);
    (harness, elastic)
}

fn remove(elastic: &Double<ElasticSearch>, ids: &BTreeSet<String>) {
    elastic.contract(|elastic| elastic.documents.retain(|(_, id), _| !ids.contains(id)));
}

/// Some of the events that were not chosen before.
fn choose(
    harness: &Harness,
    elastic: &Double<ElasticSearch>,
    chosen: &mut BTreeSet<String>,
    count: usize,
) -> BTreeSet<String> {
    let there = elastic.contract(|elastic| elastic.in_target());
    let others = settled(harness, 22, 3).into_iter().filter(|id| there.contains(id) && !chosen.contains(id));
    let others: Vec<String> = others.collect();
    let new: BTreeSet<String> = fastrand::choose_multiple(&others, count).into_iter().cloned().collect();
    chosen.extend(new.iter().cloned());
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_is_named_and_repaired_without_a_duplicate() {
    let (harness, elastic) = delivered().await;
    let all = elastic.contract(|elastic| elastic.in_target());
    let exit = ask(&harness, &[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let lane = &lanes(&exit)[0];
    assert!(sum(lane, "present") > 1_000 && sum(lane, "present") == sum(lane, "owed"), "{lane}");
    let questions = lane["questions"].as_u64().unwrap();
    assert!(questions <= 3, "hours are asked for together: {questions}");

    let list = harness.path("list");
    let mut chosen = BTreeSet::new();
    for (count, flag) in [(1, "--repair"), (7, "--repair"), (200, "--repair=200")] {
        // The present backing index knows none of the former one's.
        elastic.contract(|elastic| elastic.write_index += 1);
        let removed = choose(&harness, &elastic, &mut chosen, count);
        remove(&elastic, &removed);
        let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
        assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
        assert_eq!(listed(&list), removed);
        if count == 200 {
            let exit = ask(&harness, &["--repair"]).await;
            let lane = &lanes(&exit)[0];
            assert!(lane["returned"]["refused"].as_str().unwrap().contains("--repair=200"), "{lane}");
            for other in ["--repair=199", "--repair=201", "--repair=99999999"] {
                let exit = ask(&harness, &[other]).await;
                assert!(lanes(&exit)[0]["returned"]["refused"].is_string(), "{other} {}", exit.stdout);
            }
        }
        let exit = ask(&harness, &[flag]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let lane = &lanes(&exit)[0];
        assert_eq!(lane["returned"]["repaired"], count, "{lane}");
        let documents: Vec<String> =
            elastic.contract(|elastic| elastic.documents.keys().map(|(_, id)| id.clone()).collect());
        assert_eq!(documents.len(), all.len(), "a duplicate");
        assert_eq!(documents.into_iter().collect::<BTreeSet<_>>(), all);
    }

    // What vanishes again is a rule of the destination: it is not sent once more.
    let removed = choose(&harness, &elastic, &mut chosen, 3);
    remove(&elastic, &removed);
    elastic.contract(|elastic| elastic.drops = true);
    let first = ask(&harness, &["--repair"]).await;
    assert_eq!(first.code, Some(1), "{}", first.stdout);
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair"]).await;
    assert_eq!((exit.code, elastic.deliveries().len()), (Some(1), before), "{}", exit.stdout);
    assert_eq!(lanes(&exit)[0]["returned"]["vanished_again"], 3, "{}", exit.stdout);

    // The ledger's own comparison has nothing to do with it.
    let exit = harness.verify_until(hour(1), &[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

/// However many are missing, one question finds out whether a document could be any of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_without_an_identity_are_asked_for_once() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 1_050));
    let exit = ask(&harness, &[]).await;
    assert_eq!(sum(&lanes(&exit)[0], "missing"), 1_050, "{}", exit.stdout);
    assert_eq!(elastic.contract(|elastic| elastic.unnamed), 1);
}

/// What the ledger calls delivered is all there: neither the console nor the destination is asked by identity. Only the
/// same identities have the same sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_whose_sums_agree_needs_no_identities() {
    let (harness, elastic) = delivered().await;
    let asked = |elastic: &Double<ElasticSearch>| {
        elastic.contract(|elastic| (std::mem::take(&mut elastic.lists), std::mem::take(&mut elastic.questions).len()))
    };
    let by_sums = |lane: &Value| -> BTreeMap<String, bool> {
        let rows = lane["hours"].as_array().unwrap().iter().filter(|row| row["owed"] != 0);
        rows.map(|row| (row["hour"].as_str().unwrap().to_owned(), row["by_sums"] == true)).collect()
    };
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(exit.code == Some(0) && by_sums(lane).values().all(|by_sums| *by_sums), "{lane}");
    assert_eq!(asked(&elastic), (1, 0), "{lane}");
    assert!(sum(lane, "owed") > 1_000 && sum(lane, "owed") == sum(lane, "accounted"), "{lane}");
    assert_eq!(sum(lane, "excluded"), 0, "{lane}");

    // A document is there twice: that is seen in the list.
    let twice = choose(&harness, &elastic, &mut BTreeSet::new(), 1).pop_first().unwrap();
    let mut document = elastic.contract(|elastic| {
        let mut documents = elastic.documents.iter();
        documents.find(|((_, id), _)| *id == twice).map(|(_, document)| document.clone()).unwrap()
    });
    let again = (format!(".ds-{TARGET}-000009"), twice.clone());
    elastic.contract(|elastic| _ = elastic.documents.insert(again.clone(), document.clone()));
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "duplicates"), asked(&elastic)), (1, (1, 0)), "{lane}");

    // Another document in its place: the number is the same.
    document["sentinel_one"]["identity"] = json!("f".repeat(32));
    elastic.contract(|elastic| {
        elastic.documents.retain(|(_, id), _| *id != twice);
        elastic.documents.insert((format!(".ds-{TARGET}-000001"), "f".repeat(32)), document);
    });
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, sum(lane, "missing")), (Some(1), 1), "{lane}");
    assert_eq!(by_sums(lane).values().filter(|by_sums| !**by_sums).count(), 1, "{lane}");
    assert!(exit.stdout.contains(&twice), "{}", exit.stdout);
    let exit = harness.verify_until(hour(1), &["--destination"]).await;
    assert!(exit.stdout.contains("not judged by sums, but by identity: "), "{}", exit.stdout);

    // The time of each document is another one: its hour says nothing.
    elastic.contract(|elastic| {
        elastic.documents.retain(|(_, id), _| *id != "f".repeat(32));
        elastic.documents.values_mut().for_each(|document| document["@timestamp"] = json!("2020-01-01T00:00:00Z"));
    });
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(sum(lane, "missing") == 1 && by_sums(lane).values().all(|by_sums| !by_sums), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_proof_changes_nothing() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 5));
    for trap in TRAPS {
        elastic.contract(|elastic| elastic.trap = Some(trap));
        let before = elastic.deliveries().len();
        let exit = ask(&harness, &["--repair=1000000", "--once-timeout", "1s"]).await;
        let lane = &lanes(&exit)[0];
        assert!(exit.code == Some(1) && lane["unseen"].is_string(), "{trap:?} {lane}");
        assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{trap:?} {lane}");
        assert_eq!(elastic.deliveries().len(), before, "{trap:?}");
        if matches!(trap, Trap::ShardFailed | Trap::ElsewhereFailed) {
            let reason = lane["unseen"].as_str().unwrap();
            assert!(reason.contains("`orders`: query_shard_exception: failed to create query: For input"), "{reason}");
        }
        if trap == Trap::Forbidden {
            assert!(!exit.stdout.contains("cmVhZGVy"), "{}", exit.stdout);
        }
    }

    // A busy cluster is asked again, as one whose shards start, and a question that is too large is made smaller.
    elastic.contract(|elastic| (elastic.trap, elastic.busy) = (Some(Trap::FilteredAlias), 1));
    let exit = ask(&harness, &[]).await;
    assert!(lanes(&exit)[0]["unseen"].as_str().unwrap().contains("`filter`"), "{}", exit.stdout);
    elastic.contract(|elastic| (elastic.trap, elastic.busy, elastic.most) = (None, 4, 100));
    let exit = ask(&harness, &[]).await;
    assert_eq!(sum(&lanes(&exit)[0], "missing"), 5, "{}", exit.stdout);

    // Nothing at all is there: it is the target, or the credentials.
    elastic.contract(|elastic| (elastic.most, elastic.documents) = (0, BTreeMap::new()));
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().unwrap().contains("not one of them"), "{lane}");
}

/// The two repairs do not send the same records: what the lane has never read is in the ledger of one of them alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_lane_has_never_read_is_left_to_the_other_repair() {
    let (harness, elastic) = delivered().await;
    harness.appear_late(Kind::Activities, hour(5) + 60_000_000, 8);
    // No hour is judged by its sum, so that each record of the console is asked for.
    elastic.contract(|elastic| {
        elastic.documents.values_mut().for_each(|document| document["@timestamp"] = json!("2020-01-01T00:00:00Z"));
    });
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!(sum(lane, "missing"), 8, "{lane}");
    assert!(lane["returned"]["refused"].as_str().unwrap().contains("has never read 8 of these records"), "{lane}");
    assert_eq!(elastic.deliveries().len(), before);

    let exit = harness.verify_until(hour(1), &["--repair"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 2));
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert!(sum(lane, "missing") == 2 && lane["returned"]["repaired"] == 2, "{lane}");
}

/// The console has removed as many records as came late, so that the ledger's number is the console's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_records_do_not_hide_those_that_the_lane_has_never_read() {
    let (harness, elastic) = delivered().await;
    let late = harness.appear_late(Kind::Activities, hour(5) + 60_000_000, 8);
    let of_hour: BTreeSet<String> = settled(&harness, 5, 4).into_iter().filter(|id| !late.contains(id)).collect();
    let host = harness.server.address().to_string();
    let is_of_hour =
        |id: &u64| of_hour.contains(&Identity::of(&host, Stream::Activities, &id.to_string(), "").to_string());
    let purged = harness.console().ids(Kind::Activities).into_iter().filter(is_of_hour).take(8);
    let purged = purged.filter(|id| harness.console().remove(Kind::Activities, *id)).count();
    assert_eq!(purged, 8);
    elastic.contract(|elastic| {
        elastic.documents.values_mut().for_each(|document| document["@timestamp"] = json!("2020-01-01T00:00:00Z"));
    });
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "missing"), sum(lane, "owed")), (8, sum(lane, "accounted")), "{lane}");
    let refused = lane["returned"]["refused"].as_str();
    assert!(refused.is_some_and(|reason| reason.contains("has never read 8 of these records")), "{lane}");
    assert_eq!(elastic.deliveries().len(), before);
}

/// As before, of records that have no sums: the ledger knows their ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threats_that_the_lane_has_never_read_are_left_to_the_other_repair() {
    let name = "logs-sentinel_one.threats-default";
    let elastic = Double::start(ElasticSearch { name: Some(name), ..ElasticSearch::default() }).await;
    let harness = Harness::new(|setup| {
        setup.threats = 400;
        setup.span = Duration::from_hours(24);
    })
    .await;
    let sink = json!({
        "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    });
    let streams = json!({ "threats": { "since": "10d" }, "activities": null });
    harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": streams }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    harness.appear_late(Kind::Threats, hour(5) + 60_000_000, 4);
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!(sum(lane, "missing"), 4, "{lane}");
    assert!(lane["returned"]["refused"].as_str().unwrap().contains("has never read 4 of these records"), "{lane}");
    assert_eq!(elastic.deliveries().len(), before);

    let exit = harness.verify_until(hour(1), &["--repair"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let removed = elastic.contract(|elastic| elastic.documents.pop_first());
    assert!(removed.is_some());
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["returned"]["refused"].is_null() && sum(lane, "missing") <= 1, "{lane}");
}

/// What was removed with an index is not missing, also where an event of then came late. What vanished since is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_with_an_index_is_not_judged() {
    let (harness, elastic) = delivered().await;
    let late = settled(&harness, 20, 16).remove(0);
    let young: BTreeSet<String> = settled(&harness, 8, 0).into_iter().collect();
    elastic.contract(|elastic| {
        elastic.documents.retain(|(_, id), _| young.contains(id) || *id == late);
        // The index ended within an hour.
        let by_time =
            |((_, id), document): (&(String, String), &Value)| (document["@timestamp"].to_string(), id.clone());
        let times: BTreeSet<_> = elastic.documents.iter().map(by_time).collect();
        let oldest: BTreeSet<String> = times.into_iter().map(|(_, id)| id).skip(1).take(10).collect();
        elastic.documents.retain(|(_, id), _| !oldest.contains(id));
    });
    for indices in [Indices::Since(hour(8)), Indices::Swapped] {
        elastic.contract(|elastic| elastic.indices = indices.clone());
        let before = elastic.deliveries().len();
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["not_judged"].to_string().contains("retention"), "{indices:?} {lane}");
        assert!(sum(lane, "present") > 200 && sum(lane, "missing") == 0, "{indices:?} {lane}");
        assert_eq!(elastic.deliveries().len(), before, "{indices:?}");
    }
    let there = elastic.contract(|elastic| elastic.in_target());
    let settled: Vec<String> = settled(&harness, 6, 3).into_iter().filter(|id| there.contains(id)).collect();
    let removed = fastrand::choose_multiple(&settled, 3).into_iter().cloned().collect();
    remove(&elastic, &removed);
    for indices in [Indices::Since(hour(8)), Indices::Swapped] {
        elastic.contract(|elastic| elastic.indices = indices);
        let list = harness.path("list");
        let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
        assert_eq!(listed(&list), removed, "{}", exit.stdout);
    }
}

/// Whatever `_id` an ingest pipeline gives a document, and whatever schema it was written in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_with_another_id_is_found_by_its_field() {
    let (harness, elastic) = delivered().await;
    elastic.contract(|elastic| {
        let documents = std::mem::take(&mut elastic.documents).into_iter();
        let renamed = |((index, _), document)| ((index, format!("{:032x}", fastrand::u128(..))), document);
        elastic.documents = documents.map(renamed).collect();
    });
    for schema in ["ecs", "ocsf", "raw"] {
        let sink = json!({
            "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
            "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
        });
        let streams = json!({ "activities": { "since": "10d" } });
        harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": schema }, "streams": streams }));
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(sum(lane, "present") > 1_000 && sum(lane, "missing") == 0, "{schema} {lane}");
    }
}

/// What the lane delivered before is in the former target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_another_target_only_what_came_later_is_judged() {
    let (harness, elastic) = delivered().await;
    let other = |delivers: bool| {
        let sink = json!({
            "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
            "data_stream": "logs-sentinel_one.{stream}-other", "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
        });
        let streams = json!({ "activities": { "since": "10d", "interval": if delivers { "1m" } else { "30s" } } });
        harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": streams }));
    };
    for delivers in [false, true] {
        other(delivers);
        if delivers {
            assert_eq!(harness.once(&[]).await.code, Some(0));
        }
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["not_judged"].to_string().contains("to another target"), "{lane}");
        assert!(sum(lane, "owed") == 0 && lane["returned"].is_null(), "{lane}");
    }
    // The clock of the console may be ahead: what it calls later may have been delivered before.
    let exit = harness.verify_until(hour(-5), &["--destination", "--format", "json"]).await;
    let lane = &lanes(&exit)[0];
    let reasons = lane["not_judged"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap());
    let reason = reasons.clone().find(|reason| reason.contains("to another target")).unwrap();
    let mut times = reason.split([' ', ',']).filter_map(|word| Timestamp::parse(word.trim_end_matches(':')).ok());
    let (judged_from, changed) = (times.next().unwrap(), times.next().unwrap());
    assert!(judged_from.since(changed) >= Duration::from_hours(1), "{reason}");
    // A list that was made elsewhere has the same question.
    let list = harness.path("ids");
    std::fs::write(&list, elastic.contract(|elastic| elastic.in_target()).into_iter().collect::<Vec<_>>().join("\n"))
        .unwrap();
    let exit = harness.verify_until(hour(1), &["--present", list.to_str().unwrap(), "--format", "json"]).await;
    assert_eq!(sum(&lanes(&exit)[0], "missing"), 0, "{}", exit.stdout);
}

/// The name of the console is a part of each identity: under another name the cluster has nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_another_name_of_the_console_nothing_is_judged_before_the_worker_has_run() {
    let (harness, elastic) = delivered().await;
    let console = harness.server.url().replace("127.0.0.1", "localhost");
    let file = harness.path("pipelines/acme.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen(&harness.server.url(), &console, 1)).unwrap();
    // Some are there under the new name.
    let document = elastic.contract(|elastic| elastic.documents.first_key_value().unwrap().1.clone());
    for id in harness.console().ids(Kind::Activities).into_iter().take(40) {
        let host = harness.server.address().to_string().replace("127.0.0.1", "localhost");
        let id = Identity::of(&host, Stream::Activities, &id.to_string(), "").to_string();
        let key = (format!(".ds-{TARGET}-000001"), id);
        elastic.contract(|elastic| _ = elastic.documents.insert(key, document.clone()));
    }
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(exit.code == Some(1) && sum(lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
    let reason = lane["not_judged"].to_string();
    assert!(reason.contains("`localhost") && reason.contains("`127.0.0.1"), "{reason}");
    assert_eq!(elastic.deliveries().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_elsewhere_is_not_missing_and_not_repaired() {
    let (harness, elastic) = delivered().await;
    elastic.contract(|elastic| elastic.moves = true);
    let late = harness.appear_late(Kind::Activities, hour(5), 4);
    let exit = harness.verify_until(hour(1), &["--repair", "--resend"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let moved: BTreeSet<String> = elastic.contract(|elastic| {
        elastic.documents.keys().filter(|(index, _)| index == "elsewhere").map(|(_, id)| id.clone()).collect()
    });
    assert!(late.is_subset(&moved), "{late:?}");
    elastic.contract(|elastic| elastic.moves = false);
    let before = elastic.deliveries().len();
    for hides in [false, true] {
        elastic.contract(|elastic| elastic.hides = hides);
        let exit = ask(&harness, &["--repair=1000"]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let lane = &lanes(&exit)[0];
        assert_eq!(lane["elsewhere"]["`elsewhere` (index)"], late.len(), "{lane}");
        assert_eq!((sum(lane, "missing"), elastic.deliveries().len()), (0, before), "{lane}");
    }

    // Equal identities in another pipeline's data stream prove nothing.
    elastic.contract(|elastic| {
        for ((index, _), document) in &mut elastic.documents {
            if index == "elsewhere" {
                document["data_stream"]["namespace"] = json!("other");
            }
        }
    });
    let exit = ask(&harness, &[]).await;
    assert_eq!(sum(&lanes(&exit)[0], "missing"), late.len() as u64, "{}", exit.stdout);
    // And so do those in its plain index, which say nothing of a data stream.
    elastic.contract(|elastic| {
        let others = elastic.documents.iter_mut().filter(|((index, _), _)| index == "elsewhere");
        others.for_each(|(_, document)| _ = document.as_object_mut().unwrap().remove("data_stream"));
    });
    let exit = ask(&harness, &[]).await;
    assert_eq!(sum(&lanes(&exit)[0], "missing"), late.len() as u64, "{}", exit.stdout);

    // Without access of its own nothing is asked.
    let mut sink = json!({ "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy" });
    sink["verify"] = Value::Null;
    harness.put_changed("acme", json!({ "sinks": [sink], "streams": { "activities": { "since": "10d" } } }));
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(exit.code == Some(1) && lane["not_judged"].to_string().contains("`verify`"), "{lane}");
    harness.put_changed("acme", json!({ "streams": { "activities": { "since": "10d" } } }));
    let exit = ask(&harness, &[]).await;
    assert!(lanes(&exit)[0]["not_judged"].to_string().contains("give --present"), "{}", exit.stdout);
}

/// Events may move to the target while it is asked. What the target has then needs no question about other places,
/// which may have no answer that proves anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_moves_to_the_target_meanwhile_is_present() {
    for (returns, trap) in [(Return::Target(1), Some(Trap::UnnamedUnseen)), (Return::Everywhere, None)] {
        let (harness, elastic) = delivered().await;
        elastic.contract(|elastic| elastic.moves = true);
        harness.appear_late(Kind::Activities, hour(5), 4);
        let exit = harness.verify_until(hour(1), &["--repair", "--resend"]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        elastic.contract(|elastic| {
            elastic.moves = false;
            elastic.returns = returns;
            elastic.trap = trap;
        });
        let exit = ask(&harness, &[]).await;
        let lane = &lanes(&exit)[0];
        assert_eq!((exit.code, sum(lane, "missing"), sum(lane, "elsewhere")), (Some(0), 0, 0), "{lane}");
        assert_eq!(sum(lane, "owed"), sum(lane, "present"), "{lane}");
    }
}

/// A document of an index does not say where it was sent to: any other index that has it counts, whatever the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_index_has_is_not_missing() {
    let elastic = Double::start(ElasticSearch { name: Some("logs-s1-activities"), ..ElasticSearch::default() }).await;
    let harness = verify_destination::delivered(json!({
        "type": "elasticsearch", "url": elastic.url(), "api_key": "d3JpdGVy", "index": "logs-s1-{stream}",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    }))
    .await;
    let removed = choose(&harness, &elastic, &mut BTreeSet::new(), 3);
    elastic.contract(|elastic| {
        let documents = std::mem::take(&mut elastic.documents).into_iter();
        let moved = |((index, id), document)| {
            let index = if removed.contains(&id) { "elsewhere".to_owned() } else { index };
            ((index, id), document)
        };
        elastic.documents = documents.map(moved).collect();
    });
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair=1000"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "elsewhere"), sum(lane, "missing")), (3, 0), "{lane}");
    assert_eq!(elastic.deliveries().len(), before);
}

/// It is not known what an alias had before it was given a younger series of indices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_younger_than_the_lane_proves_nothing_of_before() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 5));
    let created = hour(-2);
    elastic.contract(|elastic| elastic.indices = Indices::First(created));
    let exit = ask(&harness, &["--repair=1000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["not_judged"].to_string().contains("made after the lane began"), "{lane}");
    assert_eq!((exit.code, sum(lane, "missing"), &lane["returned"]), (Some(1), 0, &Value::Null), "{lane}");
}

/// An alias that was moved soon after the lane began had another index before: what the lane sent first went there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_alias_had_in_the_first_hour_of_the_lane_is_not_judged() {
    let elastic = Double::start(ElasticSearch { name: Some("s1-activities"), ..ElasticSearch::default() }).await;
    let harness = verify_destination::delivered(json!({
        "type": "elasticsearch", "url": elastic.url(), "api_key": "d3JpdGVy", "index": "s1-{stream}",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    }))
    .await;
    let delivered = elastic.contract(|elastic| elastic.in_target());
    let before = settled(&harness, 30, 8).into_iter().filter(|id| delivered.contains(id)).collect();
    remove(&elastic, &before);
    let moved = system_clock() + 60_000_000;
    elastic.contract(|elastic| elastic.indices = Indices::Alias(moved));
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "missing"), &lane["returned"]), (0, &Value::Null), "{lane}");
    assert!(lane["not_judged"].to_string().contains("another index"), "{lane}");
    let removed: BTreeSet<String> =
        settled(&harness, 6, 3).into_iter().filter(|id| delivered.contains(id)).take(3).collect();
    remove(&elastic, &removed);
    let list = harness.path("list");
    let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!(listed(&list), removed, "{}", exit.stdout);

    // All of it is judged if the alias had its index long before the lane began.
    let made = system_clock() - 7_200_000_000;
    elastic.contract(|elastic| elastic.indices = Indices::Alias(made));
    let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!(listed(&list).len(), removed.len() + before.len(), "{}", exit.stdout);
}

/// The lifecycle removes an index, or an alias moves, while the target is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_changes_while_it_is_asked_proves_nothing() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &settled(&harness, 30, 8).into_iter().collect());
    for then in [Indices::Since(hour(8)), Indices::First(hour(8)), Indices::Swapped] {
        elastic.contract(|elastic| (elastic.indices, elastic.then) = (Indices::All, Some(then.clone())));
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("has gone")), "{then:?} {lane}");
        assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{then:?} {lane}");
    }
}

/// A balancer may have clusters of its own behind each address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_cluster_proves_nothing() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 40));
    elastic.contract(|elastic| (elastic.turns, elastic.most) = (Some(true), 100));
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("several clusters")), "{lane}");
    assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{lane}");
}

/// One cluster lists what it has, and another one, which lacks more, answers by identity. The listed event that each
/// answer must have is among what it lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_listed_is_not_missing() {
    let (harness, elastic) = delivered().await;
    let mut chosen = BTreeSet::new();
    remove(&elastic, &choose(&harness, &elastic, &mut chosen, 1));
    let greatest = elastic.contract(|elastic| elastic.in_target()).pop_last();
    let mut lacks = choose(&harness, &elastic, &mut chosen, 300);
    lacks.extend(greatest);
    elastic.contract(|elastic| elastic.lacks = lacks);
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("an answer lacks the event")), "{lane}");
    assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{lane}");
}

/// A console that lists records and then shows one of them by their ids contradicts itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_shows_part_by_ids_hides_no_missing_event() {
    let (harness, elastic) = delivered().await;
    let removed = choose(&harness, &elastic, &mut BTreeSet::new(), 3);
    remove(&elastic, &removed);
    harness.console().set_quirks(Quirks { one_by_ids: true, ..Quirks::default() });
    let list = harness.path("list");
    let lane = &lanes(&ask(&harness, &["--list", list.to_str().unwrap()]).await)[0];
    assert_eq!((listed(&list), sum(lane, "missing"), sum(lane, "gone")), (removed, 3, 0), "{lane}");
}

/// An ingest pipeline has replaced each `_id`, and no field finds some documents by the identity of their event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_no_identity_finds_may_be_what_is_missing() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 3));
    elastic.contract(|elastic| {
        let documents = std::mem::take(&mut elastic.documents).into_iter().enumerate();
        let renamed = |(number, ((index, _), mut document)): (usize, ((String, String), Value))| {
            // No list shows it in its hour.
            document["@timestamp"] = json!("2020-01-01T00:00:00Z");
            ((index, format!("node-{number:08}")), document)
        };
        elastic.documents = documents.map(renamed).collect();
    });
    let before = elastic.contract(|elastic| elastic.documents.clone());
    let found = ask(&harness, &[]).await;
    assert_eq!(sum(&lanes(&found)[0], "missing"), 3, "{}", found.stdout);
    let named: Vec<String> = settled(&harness, 22, 3).into_iter().take(40).collect();
    // What becomes of each document, or of one in ten, the fields that are not indexed, and what is said of it.
    let upper = |document: &mut Value| {
        let identity = document["sentinel_one"]["identity"].as_str().unwrap().to_uppercase();
        document["sentinel_one"]["identity"] = json!(identity);
    };
    let uid = |document: &mut Value| document["metadata"] = json!({ "uid": "node-7" });
    let label = |document: &mut Value| document["labels"] = json!({ "s1_identity": "x" });
    let hash = |document: &mut Value| document["labels"] = json!({ "s1_identity": "f".repeat(32) });
    let hidden = &["sentinel_one.identity"];
    type Change = dyn Fn(&mut Value);
    let cases: [(&Change, usize, &[&'static str], &str); 4] = [
        (&upper, 10, &[], "hex digits"),
        (&uid, 1, hidden, "hex digits"),
        (&label, 1, hidden, "hex digits"),
        (&hash, 1, hidden, "does not find its own documents by `sentinel_one.identity`"),
    ];
    for (change, each, unindexed, expected) in cases {
        elastic.contract(|elastic| {
            elastic.documents = before.clone();
            elastic.documents.values_mut().step_by(each).for_each(change);
            elastic.unindexed = unindexed.to_vec();
            // Some events are found all the same.
            let document = elastic.documents.values().next().unwrap().clone();
            let named = named.iter().map(|id| ((format!(".ds-{TARGET}-000001"), id.clone()), document.clone()));
            elastic.documents.extend(named);
        });
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains(expected)), "{expected} {lane}");
        assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{lane}");
    }
}

/// Replicas that copy segments have a document later than their primary, and it is not known how much later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replicas_lack_is_not_missing() {
    let (harness, elastic) = delivered().await;
    elastic.contract(|elastic| elastic.replicas_lack = Some('7'));
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, sum(lane, "missing")), (Some(0), 0), "{lane}");
    assert!(sum(lane, "present") > 1_000, "{lane}");
}

/// What the cluster refuses was not delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_repair_cannot_deliver_becomes_dead_letters() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 3));
    elastic.contract(|elastic| elastic.refuses = true);
    let exit = harness.verify_until(hour(1), &["--destination", "--repair"]).await;
    assert_eq!(exit.code, Some(1), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("3 became dead letters") && exit.stdout.contains("repaired: 0"), "{}", exit.stdout);
    assert!(!exit.stdout.contains("delivered again"), "{}", exit.stdout);
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "dead_letters"), sum(lane, "missing"), &lane["returned"]), (3, 0, &Value::Null), "{lane}");

    // It was never there, so no rule of the cluster has removed it.
    assert_eq!(harness.command(&["dead-letters", "purge", "--all"]).await.code, Some(0));
    elastic.contract(|elastic| elastic.refuses = false);
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    let numbers = ["repaired", "vanished_again"].map(|number| lane["returned"][number].as_u64());
    assert_eq!((exit.code, numbers), (Some(0), [Some(3), Some(0)]), "{lane}");
}

/// A repair has no flag that keeps any number of refused events, and names none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_refused_names_no_flag_of_another_command() {
    let (harness, elastic) = delivered().await;
    let there = elastic.contract(|elastic| elastic.in_target());
    let hours = settled_by_hour(&harness, 22, 3).into_values();
    let removed = hours.map(|hour| hour.into_iter().filter(|id| there.contains(id)).take(12).collect::<BTreeSet<_>>());
    let removed = removed.max_by_key(BTreeSet::len).unwrap();
    assert_eq!(removed.len(), 12);
    remove(&elastic, &removed);
    elastic.contract(|elastic| elastic.refuses = true);
    let exit = ask(&harness, &["--repair"]).await;
    let refused = lanes(&exit)[0]["returned"]["refused"].to_string();
    assert!(refused.contains("events in a row and accepted none") && !refused.contains("--"), "{refused}");
    assert!(!exit.stderr.contains("--accept-refusals"), "{}", exit.stderr);
}

/// The checkpoint was deleted, and all was delivered again. The dead letters of before explain nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_a_deleted_checkpoint_hide_no_missing_event() {
    let elastic = Double::start(ElasticSearch { refuses: true, ..ElasticSearch::default() }).await;
    let harness = Harness::new(|setup| {
        setup.activities = 1_500;
        setup.span = Duration::from_hours(24);
    })
    .await;
    let sink = json!({
        "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    });
    verify_destination::put(&harness, &sink);
    let exit = harness.once(&["--accept-refusals", "acme/activities/siem"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    elastic.contract(|elastic| elastic.refuses = false);
    let deleted = harness.command(&["state", "delete", "acme/activities/siem"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let removed = choose(&harness, &elastic, &mut BTreeSet::new(), 20);
    remove(&elastic, &removed);
    let list = harness.path("list");
    let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, sum(lane, "dead_letters"), sum(lane, "missing")), (Some(1), 0, 20), "{lane}");
    assert_eq!(listed(&list), removed);
}

/// Dead letters that a repair has stored do not stand for those of the worker that were purged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_dead_letters_are_not_missing_although_a_repair_has_stored_others() {
    let name = "logs-sentinel_one.threats-default";
    let refuses_from = Some('7');
    let elastic = Double::start(ElasticSearch { name: Some(name), refuses_from, ..ElasticSearch::default() }).await;
    let harness = Harness::new(|setup| {
        setup.threats = 400;
        setup.span = Duration::from_hours(24);
    })
    .await;
    let sink = json!({
        "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    });
    let streams = json!({ "threats": { "since": "10d" }, "activities": null });
    harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": streams }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    elastic.contract(|elastic| {
        elastic.documents.retain(|(_, id), _| !id.starts_with('8'));
        elastic.refuses_from = Some('8');
    });
    let lane = ask_lane(&harness, &[]).await;
    let missing = sum(&lane, "missing");
    assert!(missing > 3 && sum(&lane, "dead_letters") > 3, "{lane}");
    let lane = ask_lane(&harness, &[&format!("--repair={missing}")]).await;
    assert_eq!(lane["returned"]["dead_letters"], missing, "{lane}");
    let lane = ask_lane(&harness, &[]).await;
    assert!(lane["unseen"].is_null() && sum(&lane, "missing") == 0, "{lane}");
    assert_eq!(harness.command(&["dead-letters", "purge", "--pipeline", "acme", "--limit", "3"]).await.code, Some(0));
    let lane = ask_lane(&harness, &["--repair=3"]).await;
    assert!(
        lane["unseen"].as_str().is_some_and(|reason| reason.contains("the lane and commands have stored")),
        "{lane}"
    );
    assert!(sum(&lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
}

/// Other lanes are judged and repaired between the comparison of a lane and its repair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_back_before_the_repair_is_not_sent() {
    let (harness, elastic) = delivered().await;
    let removed = choose(&harness, &elastic, &mut BTreeSet::new(), 3);
    elastic.contract(|elastic| {
        let documents = std::mem::take(&mut elastic.documents).into_iter();
        let moved = |((index, id), mut document): ((String, String), Value)| {
            if !removed.contains(&id) {
                return ((index, id), document);
            }
            // The event of another pipeline is not this event.
            document["data_stream"]["namespace"] = json!("other");
            (("elsewhere".to_owned(), id), document)
        };
        elastic.documents = documents.map(moved).collect();
        // The comparison asks the target three times.
        elastic.returns = Return::Target(3);
    });
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    let numbers = ["found_meanwhile", "repaired"].map(|number| lane["returned"][number].as_u64());
    assert_eq!((sum(lane, "missing"), numbers), (3, [Some(3), Some(0)]), "{lane}");
    assert_eq!((exit.code, elastic.deliveries().len()), (Some(1), before), "{lane}");
    assert_eq!(ask(&harness, &[]).await.code, Some(0));
}

/// What the cluster accepted into its failure store is there: to send it again would put it there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_failure_store_has_is_not_missing() {
    let (harness, elastic) = delivered().await;
    elastic.contract(|elastic| elastic.fails = true);
    let failed = harness.appear_late(Kind::Activities, hour(5), 4);
    let exit = harness.verify_until(hour(1), &["--repair", "--resend"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!(lane["elsewhere"][format!("`.fs-{TARGET}-000001` (index)")], failed.len(), "{lane}");
    assert_eq!((sum(lane, "missing"), elastic.deliveries().len()), (0, before), "{lane}");
}

/// A repair that was killed has delivered nothing that could vanish again, and one that asks a busy cluster waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_goes_on_after_a_kill_and_waits_for_a_busy_cluster() {
    let (harness, elastic) = delivered().await;
    remove(&elastic, &choose(&harness, &elastic, &mut BTreeSet::new(), 3));
    elastic.misbehave(0, vec![(1.0, FaultRule::answer(503, "busy"))]);
    let before = elastic.deliveries().len();
    let killed = harness.verifying(hour(1), &["--destination", "--repair"]);
    until("the repair delivers", async || (elastic.deliveries().len() > before).then_some(())).await;
    killed.kill().await;
    elastic.misbehave(0, Vec::new());
    elastic.contract(|elastic| elastic.busy_after_delivery = 2);
    let exit = ask(&harness, &["--repair"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, &lane["returned"]["repaired"]), (Some(0), &json!(3)), "{lane}");
}

/// What an exclusion of then has left out was never owed. The exclusion of now leaves out more records, so that numbers
/// alone would explain those of then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_exclusion_left_out_is_not_missing() {
    let elastic = Double::start(ElasticSearch::default()).await;
    let harness = Harness::new(|setup| {
        setup.activities = 1_500;
        setup.span = Duration::from_hours(24);
    })
    .await;
    let mut kinds: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let host = harness.server.address().to_string();
    for id in created_between(&harness, hour(22), hour(3)) {
        let record: Value = serde_json::from_slice(&harness.console().record(Kind::Activities, id).unwrap()).unwrap();
        let identity = Identity::of(&host, Stream::Activities, &id.to_string(), "").to_string();
        kinds.entry(record["activityType"].as_u64().unwrap()).or_default().insert(identity);
    }
    let mut by_number: Vec<_> = kinds.into_iter().collect();
    by_number.sort_by_key(|(_, identities)| identities.len());
    let (most, _) = by_number.pop().unwrap();
    let (then, left_out) = by_number.pop().unwrap();
    let exclude = |kind: u64| {
        let sink = json!({
            "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
            "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
        });
        let streams = json!({ "activities": { "since": "10d", "exclude_types": [kind] } });
        harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": streams }));
    };
    exclude(then);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);

    // With the settings of then, exactly what was removed is missing.
    let there = elastic.contract(|elastic| elastic.in_target());
    let others = by_number.iter().flat_map(|(_, identities)| identities);
    let removed: BTreeSet<String> = others.filter(|id| there.contains(*id)).take(1).cloned().collect();
    assert!(removed.len() == 1 && !left_out.is_empty());
    remove(&elastic, &removed);
    let list = harness.path("list");
    let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!((exit.code, listed(&list)), (Some(1), removed), "{}", exit.stdout);

    // No hour is judged by its sum, so that each one lacks what was left out then.
    exclude(most);
    elastic.contract(|elastic| {
        elastic.documents.values_mut().for_each(|document| document["@timestamp"] = json!("2020-01-01T00:00:00Z"));
    });
    let before = elastic.deliveries().len();
    let exit = ask(&harness, &["--repair=1000000", "--list", list.to_str().unwrap()]).await;
    let lane = &lanes(&exit)[0];
    assert!(listed(&list).is_disjoint(&left_out), "{lane}");
    assert!(exit.code == Some(1) && lane["not_judged"].to_string().contains("other settings at that time?"), "{lane}");
    assert_eq!(elastic.deliveries().len(), before, "{lane}");
}

/// Threats that changed after what the lane has read are not owed yet, and are not passed over in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_since_the_lane_has_read_is_named() {
    let name = "logs-sentinel_one.threats-default";
    let elastic = Double::start(ElasticSearch { name: Some(name), ..ElasticSearch::default() }).await;
    let harness = Harness::new(|setup| {
        setup.threats = 400;
        setup.span = Duration::from_hours(24);
    })
    .await;
    let sink = json!({
        "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    });
    let threats = json!({ "since": "10d", "interval": "300ms", "overlap": "5m" });
    let streams = json!({ "threats": threats, "activities": null });
    harness.put_changed("acme", json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": streams }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let owed = sum(&lanes(&ask(&harness, &[]).await)[0], "owed");
    let created = |id: &u64| {
        let record = harness.console().record(Kind::Threats, *id).unwrap();
        created_at(&serde_json::from_slice::<Value>(&record).unwrap()["threatInfo"])
    };
    let old = harness.console().ids(Kind::Threats).into_iter().filter(|id| (hour(22)..hour(3)).contains(&created(id)));
    let old: Vec<u64> = old.take(40).collect();
    assert_eq!(old.len(), 40);
    for id in old {
        assert!(harness.console().change_randomly(Kind::Threats, id, system_clock()));
    }

    // A worker that runs may not have read what changed in the last minutes.
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["not_judged"].to_string().contains(" records changed after 2"), "{lane}");
    assert!(sum(lane, "owed") < owed, "{lane}");
    assert_eq!((exit.code, &lane["doubted"], sum(lane, "missing")), (Some(0), &json!(0), 0), "{lane}");
}

/// What was delivered, and is excluded now or gone from the console, is not asked for. If it is gone from the cluster
/// too, the sums tell that something is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivered_events_that_nobody_names_are_not_passed_over() {
    let (harness, elastic) = delivered().await;
    let host = harness.server.address().to_string();
    let there = elastic.contract(|elastic| elastic.in_target());
    let identity = |id: u64| Identity::of(&host, Stream::Activities, &id.to_string(), "").to_string();
    let purged = created_between(&harness, hour(10), hour(8)).into_iter().filter(|id| there.contains(&identity(*id)));
    let purged: Vec<u64> = purged.take(5).collect();
    assert_eq!(purged.len(), 5);
    for id in &purged {
        assert!(harness.console().remove(Kind::Activities, *id));
    }
    let is_unnamed = |lane: &Value, count: usize| {
        lane["not_judged"].to_string().contains(&format!("the ledger has {count} delivered events that the console"))
    };

    // What only the console has removed is there, by sums. Where no sum can tell, a line says so.
    let exit = ask(&harness, &[]).await;
    assert_eq!((exit.code, is_unnamed(&lanes(&exit)[0], 5)), (Some(0), false), "{}", exit.stdout);
    let all: Vec<String> = there.iter().cloned().chain(["f".repeat(32), "f".repeat(32)]).collect();
    harness.write("ids", &all.join("\n"));
    let exit = harness.verify_until(hour(1), &["--present", "ids", "--format", "json"]).await;
    assert_eq!((exit.code, is_unnamed(&lanes(&exit)[0], 5)), (Some(0), true), "{}", exit.stdout);

    // Gone from both.
    remove(&elastic, &purged.iter().map(|id| identity(*id)).collect());
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((exit.code, &lane["doubted"], sum(lane, "missing")), (Some(1), &json!(5), 0), "{lane}");
    assert!(is_unnamed(lane, 5), "{lane}");

    // Excluded since: whatever is gone is not owed by the settings of now.
    let sink = json!({
        "type": "elasticsearch", "name": "siem", "url": elastic.url(), "api_key": "d3JpdGVy",
        "verify": { "api_key": "cmVhZGVy", "settle": "1ms" },
    });
    let transform = json!({ "schema": "ecs", "drop": [".activityType == 3400 || true"] });
    let streams = json!({ "activities": { "since": "10d" } });
    harness.put_changed("acme", json!({ "sinks": [sink], "transform": transform, "streams": streams }));
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["doubted"].as_u64().is_some_and(|doubted| doubted > 5), "{lane}");
    assert_eq!((exit.code, sum(lane, "missing"), &lane["returned"]), (Some(1), 0, &Value::Null), "{lane}");
}
