//! Labels whose values come from the record.

use std::sync::Arc;

use s1_forwarder_mapping::{Labeler, Labels, Mapper, MappingSettings, OTHER, Origin, Schema, UNKNOWN};
use s1_forwarder_record::{Level, Scope, Stream};
use serde_json::{Value, json};

use super::support::HOST;

const ALL: [(&str, &str); 5] = [
    ("fixed", "f"),
    ("account", "{account.name}"),
    ("aid", "{account.id}"),
    ("site", "s-{site.name}-{site.id}"),
    ("group", "{group.name}/{group.id}"),
];

fn templates(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn labels(stream: Stream, record: &Value, scope: Option<Scope>) -> Vec<String> {
    let labeler = Labeler::new(&templates(&ALL), stream).unwrap();
    labeler.label(record.to_string().as_bytes(), scope.as_ref()).labels.values().cloned().collect()
}

#[test]
fn every_stream_names_its_owner_where_its_records_do() {
    let flat =
        json!({ "accountId": 1, "accountName": "A", "siteId": "2", "siteName": "S", "groupId": "3", "groupName": "G" });
    let expected = ["A", "1", "f", "G/3", "s-S-2"];
    let sorted = |values: [&str; 5]| -> Vec<String> {
        // By the labels' names: account, aid, fixed, group, site.
        values.iter().map(|value| (*value).to_owned()).collect()
    };
    for (stream, record) in [
        (Stream::Activities, flat.clone()),
        (Stream::Agents, flat.clone()),
        (Stream::Threats, json!({ "agentRealtimeInfo": flat, "agentDetectionInfo": { "accountName": "old" } })),
        (Stream::Threats, json!({ "agentRealtimeInfo": { "accountName": null }, "agentDetectionInfo": flat })),
        (Stream::UnifiedAlerts, json!({ "detectionTime": { "scope": flat } })),
        (
            Stream::UnifiedAlerts,
            json!({ "realTime": { "scope": { "account": { "id": "1", "name": "A" },
            "site": { "id": "2", "name": "S" }, "group": { "id": "3", "name": "G" } } } }),
        ),
        (
            Stream::Groups,
            json!({ "id": "3", "name": "G", "siteId": "2", "siteName": "S", "accountId": "1", "accountName": "A" }),
        ),
    ] {
        assert_eq!(labels(stream, &record, None), sorted(expected), "{stream} {record}");
    }
    let unknown = ["unknown", "unknown", "f", "unknown/unknown", "s-unknown-unknown"];
    assert_eq!(labels(Stream::Alerts, &json!({ "accountName": "" }), None), sorted(unknown));
    let scope = Scope { level: Level::Account, id: "9".into(), name: None };
    assert_eq!(labels(Stream::Vulnerabilities, &json!({}), Some(scope))[..2], [UNKNOWN.to_owned(), "9".to_owned()]);
}

#[test]
fn the_events_have_the_labels_of_their_own_records() {
    for schema in [Schema::Ecs, Schema::Ocsf] {
        let labels = templates(&[("customer", "{account.name}")]);
        let settings = MappingSettings { schema, labels, ..MappingSettings::default() };
        let mut mapper = Mapper::new(&settings, Origin::of("acme", HOST, Stream::Activities));
        for account in ["Acme", "Globex", "Acme"] {
            let mut out = Vec::new();
            mapper.map(json!({ "id": "1", "accountName": account }).to_string().as_bytes(), &mut out).unwrap();
            let event: Value = serde_json::from_slice(&out).unwrap();
            let found = match schema {
                Schema::Ecs => event["labels"]["customer"].clone(),
                _ => json!(event["metadata"]["labels"][1].as_str().unwrap().trim_start_matches("customer:")),
            };
            assert_eq!(found, account, "{event:#}");
            assert_eq!(mapper.labels().unwrap()["customer"], account);
        }
    }
}

/// A console must not create an unlimited number of topics.
#[test]
fn the_number_of_different_labels_is_bounded() {
    let labeler = Labeler::new(&templates(&[("customer", "{account.name}")]), Stream::Activities).unwrap();
    let label = |name: String| labeler.label(json!({ "accountName": name }).to_string().as_bytes(), None).labels;
    let first = label("0".to_owned());
    for number in 1..1_000 {
        assert_eq!(label(number.to_string())["customer"], number.to_string());
    }
    for number in 1_000..3_000 {
        assert_eq!(label(number.to_string())["customer"], OTHER);
    }
    assert!(Arc::ptr_eq(&first, &label("0".to_owned())), "known ones go on");
    let long = labels(Stream::Activities, &json!({ "accountName": "é".repeat(100), "siteName": "a\u{0}\nb" }), None);
    assert_eq!((long[0].len(), long[4].as_str()), (64, "s-a  b-unknown"));
}

/// A file has any number of labels, and a console any number of names.
#[test]
fn the_bytes_of_labels_are_bounded() {
    let text = "t".repeat(900);
    let names: Vec<_> = (0..330).map(|number| format!("label{number}")).collect();
    let all: Labels = names.iter().map(|name| (name.clone(), format!("{text}{{site.name}}{{account.name}}"))).collect();
    let labeler = Labeler::new(&all, Stream::Activities).unwrap();
    let label = |name: &str| labeler.label(json!({ "siteName": name }).to_string().as_bytes(), None).labels;
    let other = format!("{text}{OTHER}{OTHER}");
    let is_own = |name: &str| label(name)["label7"] == format!("{text}{name}unknown");
    assert!(is_own("a") && is_own("b"), "a megabyte has place for three sets of 330 kB");
    let mut distinct = std::collections::HashSet::new();
    for number in 0..900 {
        let labels = label(&number.to_string());
        distinct.insert(Arc::as_ptr(&labels));
        assert!(labels["label7"] == other || number == 0, "{number}");
    }
    assert!(distinct.len() <= 2, "sets that do not fit are not made for each record: {}", distinct.len());
    assert!(is_own("a") && is_own("b"), "those that fit go on");
    // Sets that were not used for long are replaced.
    (0..20_000).for_each(|_| assert!(is_own("b")));
    assert!(is_own("c") && is_own("d") && is_own("b") && !is_own("e"));
    let again = label("c");
    assert!(Arc::ptr_eq(&again, &label("c")));
}

#[test]
fn a_long_label_is_cut_and_stays_different_from_others() {
    let all = templates(&[
        ("long", &format!("é{}{{site.name}}{}", "x".repeat(1_020), "y".repeat(500))),
        ("short", "{site.name}"),
    ]);
    let labeler = Labeler::new(&all, Stream::Activities).unwrap();
    let label =
        |name: &str| labeler.label(json!({ "siteName": name }).to_string().as_bytes(), None).labels["long"].clone();
    let (one, two) = (label("one"), label("two"));
    assert_eq!((one.len(), two.len(), one[..1_016] == two[..1_016], one == two), (1_024, 1_024, true, false));
    assert!(one[1_016..].bytes().all(|byte| byte.is_ascii_hexdigit()) && one == label("one"), "{one}");
}
