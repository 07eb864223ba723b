//! What Splunk and Microsoft Sentinel still have, asked by identity.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::double::Double;
use crate::support::harness::Harness;
use crate::support::lookup::{LookupDouble, Sentinel, Splunk};
use crate::support::verify_destination::{self, ask, lanes, listed, settled, sum};

/// A day of activities.
async fn delivered<D: LookupDouble>() -> (Harness, Double<D>) {
    let siem = Double::start(D::default()).await;
    let harness = verify_destination::delivered(D::sink(&siem.url())).await;
    assert!(siem.contract(|siem| siem.identities().len()) > 1_000);
    (harness, siem)
}

fn choose(all: &[String], count: usize) -> BTreeSet<String> {
    fastrand::choose_multiple(all, count).into_iter().cloned().collect()
}

/// Any events vanish, some are there twice, and any answer may be none: what is named is what has vanished.
async fn what_vanished_is_named_and_repaired<D: LookupDouble>() {
    let (harness, siem) = delivered::<D>().await;
    let delivered = siem.contract(|siem| siem.identities());
    let settled = settled(&harness, 22, 3).into_iter().filter(|identity| delivered.contains(identity));
    let mut open: Vec<String> = settled.collect();
    let exit = ask(&harness, &[]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!(exit.code, Some(0), "{lane}");
    assert!(sum(lane, "present") > 1_000 && sum(lane, "present") == sum(lane, "owed"), "{lane}");
    assert_eq!(lane["questions"], 1, "all hours agree by their sums: {lane}");

    let list = harness.path("list");
    for count in [1, 9, 120] {
        let removed = choose(&open, count);
        open.retain(|identity| !removed.contains(identity));
        let twice = choose(&open, count);
        open.retain(|identity| !twice.contains(identity));
        siem.contract(|siem| {
            siem.set_busy(1);
            siem.remove(&removed);
            siem.double(&twice);
        });
        let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
        let lane = &lanes(&exit)[0];
        assert_eq!((exit.code, listed(&list)), (Some(1), removed.clone()), "{lane}");
        assert_eq!((sum(lane, "missing"), sum(lane, "duplicates")), (count as u64, count as u64), "{lane}");
        // No copy of the others is sent.
        let before = siem.contract(|siem| siem.identities().len());
        let exit = ask(&harness, &[&format!("--repair={count}")]).await;
        let lane = &lanes(&exit)[0];
        assert_eq!((exit.code, &lane["returned"]["repaired"]), (Some(0), &json!(count)), "{lane}");
        let lines = exit.stderr.lines().filter(|line| line.contains("a repair has looked after an event"));
        let audited: Vec<&str> = lines.collect();
        let is_named = |id: &String| audited.iter().any(|line| line.contains(id) && line.contains("repaired"));
        assert!(audited.len() == count && removed.iter().all(is_named), "{}", exit.stderr);
        let after = siem.contract(|siem| siem.identities());
        assert_eq!((after.len(), removed.iter().all(|id| after.contains(id))), (before + count, true));
        // Each once again.
        siem.contract(|siem| {
            let all = siem.identities();
            siem.remove(&twice);
            assert_eq!(siem.identities().len(), all.len() - 2 * count);
        });
        let exit = ask(&harness, &[&format!("--repair={count}")]).await;
        assert_eq!(lanes(&exit)[0]["returned"]["repaired"], count, "{}", exit.stdout);
    }
}

async fn what_is_no_proof_changes_nothing<D: LookupDouble>() {
    let (harness, siem) = delivered::<D>().await;
    let delivered = siem.contract(|siem| siem.identities());
    let settled: Vec<String> =
        settled(&harness, 22, 3).into_iter().filter(|identity| delivered.contains(identity)).collect();
    let removed = choose(&settled, 5);
    siem.contract(|siem| siem.remove(&removed));
    for trap in D::TRAPS {
        siem.contract(|siem| siem.set_trap(Some(*trap)));
        let before = siem.deliveries().len();
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        assert!(exit.code == Some(1) && lane["unseen"].is_string(), "{trap:?} {lane}");
        assert!(lane["hours"] == json!([]) && lane["returned"].is_null(), "{trap:?} {lane}");
        assert_eq!(siem.deliveries().len(), before, "{trap:?}");
        let text = exit.stdout + &exit.stderr;
        assert!(!["s34rcher", "r3ader", "of-reader"].iter().any(|secret| text.contains(secret)), "{trap:?} {text}");
    }
    siem.contract(|siem| siem.set_trap(None));

    // What rules have moved is not missing.
    let moved = choose(&settled.into_iter().filter(|id| !removed.contains(id)).collect::<Vec<_>>(), 4);
    siem.contract(|siem| siem.moves(&moved));
    let exit = ask(&harness, &["--repair=5"]).await;
    let lane = &lanes(&exit)[0];
    assert_eq!((sum(lane, "elsewhere"), sum(lane, "missing")), (D::MISSED, 5), "{lane}");
    assert_eq!(lane["returned"]["repaired"], 5, "{lane}");

    // Nothing at all is there: it is the target, or what the credentials may see.
    let all: BTreeSet<String> = siem.contract(|siem| siem.identities()).into_iter().collect();
    siem.contract(|siem| siem.remove(&all));
    let before = siem.deliveries().len();
    let exit = ask(&harness, &["--repair=1000000"]).await;
    let lane = &lanes(&exit)[0];
    assert!(lane["unseen"].as_str().unwrap().contains("not one of them"), "{lane}");
    assert_eq!(siem.deliveries().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splunk_names_what_vanished() {
    what_vanished_is_named_and_repaired::<Splunk>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_names_what_vanished() {
    what_vanished_is_named_and_repaired::<Sentinel>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splunk_claims_nothing_without_proof() {
    what_is_no_proof_changes_nothing::<Splunk>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_claims_nothing_without_proof() {
    what_is_no_proof_changes_nothing::<Sentinel>().await;
}

/// A rule or a transformation may remove or change the identities of events that are there. They are not missing.
async fn events_without_identity_claim_nothing<D: LookupDouble>() {
    let (harness, siem) = delivered::<D>().await;
    let delivered = siem.contract(|siem| siem.identities());
    let settled = settled(&harness, 22, 3).into_iter().filter(|identity| delivered.contains(identity));
    let chosen: Vec<String> = choose(&settled.collect::<Vec<_>>(), 5).into_iter().collect();
    let removed = BTreeSet::from([chosen[4].clone()]);
    // Such an event of another lane says nothing about this one.
    siem.contract(|siem| {
        siem.remove(&removed);
        siem.store_unnamed_of_another_lane();
    });
    let list = harness.path("list");
    let exit = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!((exit.code, listed(&list)), (Some(1), removed), "{}{}", exit.stdout, exit.stderr);

    // An answer that is no count proves nothing. What a token may do comes with no count.
    for trap in D::TRAPS.iter().filter(|trap| format!("{trap:?}") != "MayDelete") {
        siem.contract(|siem| siem.set_trap_of_counts(Some(*trap)));
        let exit = ask(&harness, &[]).await;
        let lane = &lanes(&exit)[0];
        assert!(exit.code == Some(1) && lane["unseen"].is_string() && lane["hours"] == json!([]), "{trap:?} {lane}");
    }
    siem.contract(|siem| siem.set_trap_of_counts(None));

    let texts = [None, Some(""), Some("***"), Some("0x9d5edec136b76dda4e8607e86dfbcbbc")];
    for (count, (id, text)) in (1..).zip(chosen.into_iter().zip(texts)) {
        siem.contract(|siem| siem.rename(&BTreeSet::from([id]), text));
        let before = siem.deliveries().len();
        let exit = ask(&harness, &["--repair=1000000"]).await;
        let lane = &lanes(&exit)[0];
        let reason = format!("{count} events of this lane have no identity");
        assert!(lane["unseen"].as_str().is_some_and(|text| text.contains(&reason)), "{text:?} {lane}");
        assert!(exit.code == Some(1) && lane["hours"] == json!([]) && lane["returned"].is_null(), "{text:?} {lane}");
        assert_eq!(siem.deliveries().len(), before, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splunk_claims_nothing_of_events_without_identity() {
    events_without_identity_claim_nothing::<Splunk>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_claims_nothing_of_events_without_identity() {
    events_without_identity_claim_nothing::<Sentinel>().await;
}

/// Before 9.0.1 a search head has the first version of the search alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_splunk_is_asked_too() {
    let (harness, splunk) = delivered::<Splunk>().await;
    splunk.contract(|splunk| splunk.is_old = true);
    let exit = ask(&harness, &[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}
