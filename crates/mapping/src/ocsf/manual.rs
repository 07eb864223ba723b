//! The tables of the console's words, for `docs/mapping-ocsf.md`.

use super::class::Class;
use super::event::severity_id;
use super::finding::{disposition_of, print_disposition};
use super::{
    activity_class, activity_parts, agent, detection, device, engines, file, finding, main_address, mitigation, threat,
    unified_alert, vulnerability,
};
use crate::common::attack::{TACTICS, print_tactic};
use crate::common::classification::{OUTCOMES, Outcome};
use crate::common::machine::MACHINES;
use crate::common::matched::EVENT_TRANSPORTS;
use crate::common::os::{ARCHITECTURES, Architecture, BITS, MAKES, Make};
use crate::common::registry::HIVES;
use crate::common::severity::{BY_CONFIDENCE, SEVERITIES, Severity, print_confidence};
use crate::common::words::{PrintedWords, print_choice, print_choices};
use crate::parts::{DIRECTIONS, INDICATORS, Signature, VERIFICATIONS};
use crate::streams::activity::{DEVICE_EVENTS, REPORTED_OUTCOMES, SWITCHES};
use crate::streams::threat::{ENDED, Ended};
use crate::streams::unified_alert::{OBSERVABLES, ON_ENDPOINTS, PRODUCTS, Product};

/// Returns the tables of the console's words and their meanings, for the manual.
pub fn word_tables() -> Vec<PrintedWords> {
    let choices = [
        &finding::INCIDENT_STATUSES,
        &vulnerability::STATUSES,
        &vulnerability::MITIGATIONS,
        &finding::CONFIDENCE,
        &vulnerability::REPORT_CONFIDENCE,
        &engines::ENGINES,
        &unified_alert::ANALYTICS,
        &unified_alert::ROLES,
        &unified_alert::LAYERS,
        &MACHINES,
        &device::SYSTEMS,
        &detection::INTEGRITY,
        &activity_parts::PERIPHERALS,
    ];
    let mut tables: Vec<PrintedWords> = choices.map(print_choices).into();
    let severity = SEVERITIES.print(|severity| print_severity(*severity)).named("severity");
    tables.push(severity);
    let by_confidence = BY_CONFIDENCE.print(|severity| print_confidence(*severity, print_severity));
    tables.push(by_confidence.named("severity"));
    let switched =
        SWITCHES.print(|is_on| if *is_on { "Low (2) (switched on)" } else { "by the type (switched off)" }.to_owned());
    tables.push(switched.named("severity"));
    let verdict = finding::VERDICTS.print(|verdict| print_choice(verdict.choice()));
    tables.push(verdict.noted("undefined", ", Benign (5) of a threat that was marked as benign"));
    let outcome = OUTCOMES.print(|outcome| {
        let reported = match outcome {
            Outcome::Benign => "",
            Outcome::Mitigated | Outcome::Blocked | Outcome::Active => ", unless the record says what was done",
        };
        print_disposition(disposition_of(*outcome)) + reported
    });
    tables.push(outcome.named("disposition"));
    tables.push(mitigation::EFFECTS.print(|effect| print_disposition(effect.disposition())));
    tables.push(ENDED.print(|ended| match ended {
        Ended::Success => "by the action".to_owned(),
        Ended::Partial => format!("{} (report)", print_disposition(12)),
        Ended::Failed => {
            format!("{} (report) if another action succeeded, else {}", print_disposition(12), print_disposition(13))
        }
        Ended::Pending => format!("{} (report), unless an action succeeded", print_disposition(14)),
    }));
    let direction = DIRECTIONS.print(|direction| print_choice(detection::direction_choice(*direction)));
    tables.push(direction.named("connection_info.direction"));
    let transport = EVENT_TRANSPORTS.print(|transport| (*transport).to_owned());
    tables.push(transport.named("connection_info.protocol_name"));
    let malware = finding::MALWARE.print(|kind| kind.map_or("no malware".to_owned(), |kind| kind.to_string()));
    let field = malware.field;
    tables.push(malware.noted("remoteshell", " (no malware in a unified alert)"));
    let on_endpoints = ON_ENDPOINTS.print(|()| "no malware (unified alert, unless an endpoint is attacked)".to_owned());
    tables.push(on_endpoints.named(field));
    let bits = ARCHITECTURES.print(|architecture| device::cpu_bits(*architecture).to_owned());
    tables.push(BITS.print(|bits| (*bits).to_owned()));
    tables.push(bits.named("device.os.cpu_bits"));
    let architecture = ARCHITECTURES.print(|architecture| print_choice(agent::cpu_architecture(*architecture)));
    tables.push(architecture.named("device.hw_info.cpu_info_list[].cpu_architecture"));
    let make = MAKES.print(|make| {
        let architecture = if *make == Make::X86 { Architecture::X86_64 } else { Architecture::Arm64 };
        print_choice(agent::cpu_architecture(architecture)) + ", in the name of the processor or the system"
    });
    tables.push(make.named("device.hw_info.cpu_info_list[].cpu_architecture"));
    let activity = DEVICE_EVENTS.print(|is_connected| {
        let id = if *is_connected { activity_class::CONNECT } else { activity_class::DISCONNECT };
        format!("{} (device)", print_choice((id.into(), Class::PeripheralActivity.activity(id).unwrap_or_default())))
    });
    tables.push(activity.named("activity"));
    let reported = REPORTED_OUTCOMES.print(|outcome| {
        let id = activity_class::status_of(*outcome);
        let caption = Class::BaseEvent.definition().statuses.get(usize::from(id)).copied().unwrap_or_default();
        format!("{} (activity of an unknown type, if it is not about a threat)", print_choice((id, caption)))
    });
    tables.push(reported.named("status"));
    let indicator = INDICATORS.print(|kind| detection::indicator_type(*kind).caption().to_owned());
    tables.push(indicator.named("observables[].type"));
    let observable = OBSERVABLES.print(|kind| unified_alert::observable_type(*kind).caption().to_owned());
    tables.push(observable.named("observables[].type"));
    let product = PRODUCTS.print(|product| match product {
        Product::Engine => "the id of the threat, else the storyline".to_owned(),
        Product::CustomRule => "the id of the alert, else the storyline, as of each other product".to_owned(),
    });
    tables.push(product.named("metadata.correlation_uid"));
    tables.push(main_address::BRIDGES.print(|is_bridge| {
        if *is_bridge { "not this interface" } else { "this interface" }.to_owned() + " (name of an interface)"
    }));
    tables.push(threat::INITIATORS.print(|()| "the user of the console (threat)".to_owned()));
    let signature = VERIFICATIONS.print(|signature| {
        let known = match signature {
            Signature::None => "none".to_owned(),
            Signature::Signed => "Unknown (0), Untrusted (6)".to_owned(),
            _ => print_choice(file::state(Some(*signature), None)),
        };
        let is_by_certificate = file::state(Some(*signature), Some(true)).0 == 1;
        if is_by_certificate { known + ", Valid (1) by its certificate" } else { known }
    });
    tables.push(signature.named("evidences[].file.signatures[].state"));
    tables.push(TACTICS.print(print_tactic).named("attacks[].tactic.name"));
    let hive = HIVES.print(|hive| format!("{hive} (its beginning)"));
    tables.push(hive.named("evidences[].reg_key.path"));
    tables.extend([&vulnerability::EXPLOITS, &vulnerability::FIXES].map(|words| words.print(bool::to_string)));
    tables
}

fn print_severity(severity: Severity) -> String {
    print_choice((severity_id(severity), severity.capitalised()))
}
