//! Tests that the mapping has the names and numbers of the schema. For a new release, add its schema file and correct
//! the rows that fail here.

use std::collections::BTreeSet;

use serde_json::Value;

use super::class::Class;
use super::event::severity_id;
use super::finding::Action;
use super::observables::ObservableType;
use super::user::UserType;
use super::{activity_parts, agent, detection, device, engines, entity, finding, unified_alert, vulnerability};
use crate::common::machine::MACHINES;
use crate::common::os::Architecture;
use crate::common::severity::SEVERITIES;
use crate::common::words::{Choice, Words};
use crate::parts::Direction;
use crate::streams::activity::EntityKind;

const USERS: [UserType; 5] = [UserType::Unknown, UserType::User, UserType::Admin, UserType::System, UserType::Service];

const ENTITIES: [EntityKind; 16] = [
    EntityKind::CloudAccount,
    EntityKind::Credential,
    EntityKind::Device,
    EntityKind::Exclusion,
    EntityKind::Group,
    EntityKind::Location,
    EntityKind::Organization,
    EntityKind::Package,
    EntityKind::Password,
    EntityKind::Policy,
    EntityKind::Role,
    EntityKind::Rule,
    EntityKind::Script,
    EntityKind::Tag,
    EntityKind::Token,
    EntityKind::User,
];

const OBSERVABLES: [ObservableType; 14] = [
    ObservableType::Hostname,
    ObservableType::IpAddress,
    ObservableType::MacAddress,
    ObservableType::UserName,
    ObservableType::EmailAddress,
    ObservableType::Url,
    ObservableType::FileName,
    ObservableType::Hash,
    ObservableType::ProcessName,
    ObservableType::CommandLine,
    ObservableType::FilePath,
    ObservableType::RegistryKey,
    ObservableType::RoleName,
    ObservableType::RoleId,
];

fn schema() -> Value {
    serde_json::from_str(include_str!("../../tests/data/ocsf/1.9.0/schema.json")).unwrap()
}

fn captions(attribute: &Value) -> impl Iterator<Item = (u64, &str)> {
    let entries = attribute["enum"].as_object().unwrap();
    entries.iter().map(|(id, caption)| (id.parse().unwrap(), caption.as_str().unwrap()))
}

/// Returns the captions of an enumeration, for the numbers from `first` up to 98.
fn list(attribute: &Value, first: u64) -> Vec<&str> {
    let mut captions: Vec<_> = captions(attribute).filter(|(id, _)| (first..99).contains(id)).collect();
    captions.sort_unstable();
    captions.into_iter().map(|(_, caption)| caption).collect()
}

#[test]
fn classes_are_those_of_the_schema() {
    let schema = schema();
    let known: BTreeSet<u32> = Class::ALL.into_iter().map(Class::uid).collect();
    let listed = schema["classes"].as_object().unwrap().keys().map(|uid| uid.parse().unwrap()).collect();
    assert_eq!(known, listed);
    for class in Class::ALL {
        let attributes = &schema["meta"]["classes"][class.uid().to_string()];
        let definition = class.definition();
        let only = |name: &str| captions(&attributes[name]).map(|(_, caption)| caption.to_owned()).collect::<Vec<_>>();
        assert_eq!(only("class_uid"), [definition.name]);
        assert_eq!(only("category_uid"), [definition.category]);
        assert_eq!(definition.activities, list(&attributes["activity_id"], 1), "{class:?}");
        assert_eq!(definition.statuses, list(&attributes["status_id"], 0), "{class:?}");
        for (name, has_own) in [("device", definition.has_device), ("actor", definition.has_actor)] {
            let attribute = &attributes[name];
            assert_eq!(attribute["type"], name, "{class:?}");
            assert_eq!(attribute["profile"].is_null(), has_own, "{class:?} {name}");
        }
        for (activity, _) in captions(&attributes["activity_id"]) {
            let (uid, name) = class.type_of(u8::try_from(activity).unwrap());
            if activity > 0 {
                assert_eq!(attributes["type_uid"]["enum"][uid.to_string()], name);
            }
        }
    }
}

#[test]
fn values_are_those_of_the_enumerations() {
    let of = |words: &Words<Choice>| words.rows.iter().map(|(_, choice)| *choice).collect::<Vec<_>>();
    let severities = SEVERITIES.rows.iter().map(|(_, severity)| (severity_id(*severity), severity.capitalised()));
    let verdicts = finding::VERDICTS.rows.iter().map(|(_, verdict)| verdict.choice());
    let directions = [Direction::Inbound, Direction::Outbound].map(detection::direction_choice);
    let architectures = [Architecture::X86, Architecture::X86_64, Architecture::Arm, Architecture::Arm64];
    let tables: [(&str, Vec<Choice>); 19] = [
        ("classes/2004/severity_id", severities.collect()),
        ("classes/2004/status_id", of(&finding::INCIDENT_STATUSES)),
        ("classes/2004/confidence_id", of(&finding::CONFIDENCE)),
        ("classes/2004/verdict_id", verdicts.collect()),
        ("classes/2004/disposition_id", finding::DISPOSITIONS.into()),
        ("classes/2004/action_id", [Action::Allowed, Action::Denied, Action::Observed].map(Action::choice).into()),
        ("classes/2002/status_id", [of(&vulnerability::STATUSES), of(&vulnerability::MITIGATIONS)].concat()),
        ("classes/2002/confidence_id", of(&vulnerability::REPORT_CONFIDENCE)),
        ("objects/analytic/type_id", [of(&engines::ENGINES), of(&unified_alert::ANALYTICS)].concat()),
        ("objects/sensor_info/sensor_layer_id", of(&unified_alert::LAYERS)),
        ("objects/resource_details/role_id", of(&unified_alert::ROLES)),
        ("objects/device/type_id", of(&MACHINES)),
        ("objects/os/type_id", of(&device::SYSTEMS)),
        ("objects/process/integrity_id", of(&detection::INTEGRITY)),
        ("objects/network_connection_info/direction_id", directions.into()),
        ("objects/cpu_info/cpu_architecture_id", architectures.map(agent::cpu_architecture).into()),
        ("objects/peripheral_device/type_id", of(&activity_parts::PERIPHERALS)),
        ("objects/user/type_id", USERS.map(UserType::choice).into()),
        ("objects/managed_entity/type_id", ENTITIES.map(entity::choice).into()),
    ];
    let schema = schema();
    for (place, choices) in tables {
        let attribute = schema["meta"].pointer(&format!("/{place}")).unwrap_or_else(|| panic!("{place}"));
        for (id, caption) in choices {
            // 99 is the number of captions that the schema does not have.
            let number = captions(attribute).find(|(_, known)| *known == caption).map(|(number, _)| number);
            assert_eq!(number.unwrap_or(99), u64::from(id), "{place} {caption}");
        }
    }
    let kinds = &schema["meta"]["objects"]["malware"]["classification_ids"];
    for (word, id) in finding::MALWARE.rows {
        assert!(id.is_none_or(|id| kinds["enum"][id.to_string()].is_string()), "{word}");
    }
    let observables = &schema["meta"]["objects"]["observable"]["type_id"];
    for kind in OBSERVABLES {
        let (id, _) = captions(observables).find(|(_, caption)| *caption == kind.caption()).unwrap();
        assert!(kind.json().contains(&format!(r#""type_id":{id},"#)), "{kind:?}");
    }
}
