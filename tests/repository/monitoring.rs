//! The alert rules, their runbooks and their tests belong together, and name metrics that exist.

use std::collections::BTreeSet;
use std::fs;

use s1_forwarder::telemetry::{METRICS, MetricType};

use super::reference_docs::{alerts, root};

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let text = read("docs/runbooks.md");
    let mut sections = BTreeSet::new();
    for section in text.split("\n## ").skip(1) {
        let (name, body) = section.split_once('\n').unwrap();
        if name == "Commands" {
            continue;
        }
        for part in ["**Meaning.**", "**Look.**", "**Do.**", "**Wake**"] {
            assert!(body.contains(part), "the section {name} has no {part}");
        }
        assert!(sections.insert(name.to_owned()), "{name} has two sections");
    }
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(sections, names);
    for (name, rule) in &alerts {
        let anchor = format!("#{}", name.to_lowercase());
        assert!(text.contains(&format!("]({anchor})")), "the list at the beginning does not link to {name}");
        // The rules of one alert share their annotations.
        let own = rule.lines().find_map(|line| line.trim().strip_prefix("runbook_url: "));
        let shared = rule.contains("annotations: *");
        let url = format!("docs/runbooks.md{anchor}");
        assert!(shared || own == Some(url.as_str()), "{name}: {own:?}");
    }
}

/// `promtool test rules` runs these tests. A time at which an alert is expected lists all that fire, so that others of
/// the same name are tested not to fire.
#[test]
fn each_alert_is_tested() {
    let text = ["alerts", "volume"].map(|name| read(&format!("deploy/helm/s1-forwarder/ci/{name}.test"))).concat();
    for (name, _) in alerts() {
        let sample = format!("alertname=\"{name}\", alertstate=\"firing\", severity=");
        let rule_test = format!("alertname: {name}\n        exp_alerts:");
        assert!(text.contains(&sample) || text.contains(&rule_test), "{name} never fires");
    }
}

/// Letters, digits and underscores that begin with the prefix, as in `lane:s1_forwarder_lag_seconds:max`.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("s1_forwarder_")).collect()
}

#[test]
fn rules_and_dashboards_name_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for metric in METRICS {
        let name = metric.full_name();
        match metric.kind {
            MetricType::Histogram => known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            _ => drop(known.insert(name)),
        }
    }
    // The name of a recorded series, between its colons.
    known.insert("s1_forwarder_events_delivered".to_owned());
    for file in ["alerts.yaml", "dashboards/fleet.json", "dashboards/customer.json"] {
        let text = read(&format!("deploy/helm/s1-forwarder/files/{file}"));
        let named = metrics_in(&text);
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named.into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

/// A query may use what a rule records, under its whole name.
#[test]
fn dashboards_use_recorded_series_that_exist() {
    let rules = read("deploy/helm/s1-forwarder/files/alerts.yaml");
    let recorded: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    assert!(recorded.len() > 3, "{recorded:?}");
    for text in [read("deploy/helm/s1-forwarder/files/dashboards/fleet.json"), rules.clone()] {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
        let used: BTreeSet<_> = words.filter(|word| word.contains(":s1_forwarder_")).collect();
        assert!(!used.is_empty() && used.is_subset(&recorded), "{used:?} of {recorded:?}");
    }
}
