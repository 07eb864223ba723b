//! Which process acted, which one started it, and which file it was. The manual prints the cases.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::Value;

use super::support::{at, faults, map_to};

/// A record, and the values of `process` and `file.path` in its event.
pub struct Case {
    pub case: String,
    pub stream: Stream,
    pub record: Value,
    pub process: Value,
    pub file: Value,
}

pub fn cases() -> Vec<Case> {
    let rows: Vec<Value> = serde_json::from_str(include_str!("../data/processes.json")).unwrap();
    rows.into_iter()
        .map(|row| Case {
            case: row["case"].as_str().unwrap().to_owned(),
            stream: serde_json::from_value(row["stream"].clone()).unwrap(),
            record: row["record"].clone(),
            process: row["process"].clone(),
            file: row["file"].clone(),
        })
        .collect()
}

#[test]
fn each_case_of_the_manual_has_its_process_and_its_file() {
    let mut wrong = Vec::new();
    for Case { case, stream, record, process, file } in cases() {
        let event = map_to(Schema::Ecs, stream, &record);
        assert_eq!(faults(Schema::Ecs, &event), Vec::<String>::new(), "{case}: {event:#}");
        for (path, expected) in [("process", process), ("file.path", file)] {
            if *at(&event, path) != expected {
                wrong.push(format!("{case}: {path}: {} instead of {expected}", at(&event, path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Both schemas have the same processes. OCSF has no process without a number, so it has names in `evidences[].data`.
#[test]
fn both_schemas_name_the_same_process() {
    for Case { case, stream, record, process, .. } in cases() {
        let event = map_to(Schema::Ocsf, stream, &record);
        assert_eq!(faults(Schema::Ocsf, &event), Vec::<String>::new(), "{case}: {event:#}");
        let acted = [&process["executable"], &process["name"]].into_iter().find(|value| value.is_string());
        let data = &event["evidences"][0]["data"];
        if stream == Stream::Threats {
            let is_its = process.get("user").is_some();
            assert_eq!(data.get("process"), acted.filter(|_| is_its), "{case}: {event:#}");
        } else if stream == Stream::UnifiedAlerts {
            assert_eq!(data.get("process"), acted, "{case}: {event:#}");
        }
        for part in ["evidences", "actor"] {
            let text = event[part].to_string();
            assert!(!text.contains(" (CLI") && !text.contains(" (interactive"), "{case}: {event:#}");
        }
    }
}
