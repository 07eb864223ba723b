//! The tables of the console's words, for `docs/mapping-ecs.md`.

use super::category::{category_word, print_categories, type_word};
use super::event::severity_score;
use super::{activity_data, activity_user, detection, endpoint, matched, network, outcome, threat, unified_alert};
use crate::common::attack::{TACTICS, print_tactic};
use crate::common::category::Category;
use crate::common::classification::{CATEGORIES, EventOutcome, OUTCOMES};
use crate::common::dns::RECORD_TYPES;
use crate::common::event_kind::{EVENT_KINDS, OPERATIONS};
use crate::common::machine::MACHINES;
use crate::common::matched::{EVENT_IP_VERSIONS, EVENT_TRANSPORTS};
use crate::common::os::{ARCHITECTURES, BITS, MAKES, Make, OS_TYPES};
use crate::common::registry::{DATA_TYPES, HIVES};
use crate::common::severity::{BY_CONFIDENCE, SEVERITIES, print_confidence};
use crate::common::threat::{DETECTION_TYPES, DetectionType};
use crate::common::words::PrintedWords;
use crate::parts::{DIRECTIONS, INDICATORS, VERIFICATIONS};
use crate::streams::activity::{DEVICE_EVENTS, REPORTED_OUTCOMES, SCOPE_LEVELS, SWITCHES, ScopeLevel};
use crate::streams::threat::{ENDED, Ended};
use crate::streams::unified_alert::{OBSERVABLES, ON_ENDPOINTS, PRODUCTS, Product, SURFACES};

/// Returns the tables of the console's words and their meanings, for the manual.
pub fn word_tables() -> Vec<PrintedWords> {
    let words = [
        &OS_TYPES,
        &threat::CONFIDENCE,
        &network::TRANSPORTS,
        &EVENT_TRANSPORTS,
        &EVENT_IP_VERSIONS,
        &RECORD_TYPES,
        &HIVES,
        &DATA_TYPES,
    ];
    let mut tables: Vec<PrintedWords> = words.map(|words| words.print(|word| (*word).to_owned())).into();
    let architecture = ARCHITECTURES.print(|architecture| endpoint::architecture(*architecture).to_owned());
    tables.insert(1, architecture);
    let make = MAKES.print(|make| {
        match make {
            Make::X86 => "x86_64 (64 bit), x86 (32 bit)",
            Make::Arm => "arm64 (64 bit, or without a width), arm (32 bit)",
            Make::Arm64 => "arm64",
            Make::ArmBoard => "arm64 (64 bit), arm (32 bit)",
        }
        .to_owned()
            + ", in the name of the processor or the system"
    });
    tables.insert(2, make);
    tables.insert(3, BITS.print(|_| "by the make of the processor".to_owned()).named("host.architecture"));
    tables.push(activity_user::ATTRIBUTES.print(|attribute| activity_user::field(*attribute).to_owned()));
    tables.push(DIRECTIONS.print(|direction| network::ecs_direction(*direction).to_owned()));
    tables.push(SEVERITIES.print(|severity| severity_score(*severity).to_owned()));
    tables.push(
        BY_CONFIDENCE.print(|severity| print_confidence(*severity, |severity| severity_score(severity).to_owned())),
    );
    tables.push(
        SWITCHES.print(|is_on| if *is_on { "21 (switched on)" } else { "by the type (switched off)" }.to_owned()),
    );
    tables.push(OUTCOMES.print(|outcome| match outcome::of_detection(Some(*outcome), false) {
        EventOutcome::Unknown => "unknown, failure if an action failed".to_owned(),
        outcome => outcome::word(outcome).to_owned(),
    }));
    let ended = ENDED.print(|ended| match ended {
        Ended::Failed | Ended::Partial => "failure (report of a threat that is not mitigated)".to_owned(),
        Ended::Success | Ended::Pending => "by the other reports (of a threat that is not mitigated)".to_owned(),
    });
    tables.push(ended.named("event.outcome"));
    tables
        .push(REPORTED_OUTCOMES.print(|outcome| format!("{} (activity of an unknown type)", outcome::word(*outcome))));
    tables.push(CATEGORIES.print(|categories| print_categories(categories)));
    tables.push(
        ON_ENDPOINTS.print(|()| "intrusion_detection (unified alert, unless an endpoint is attacked)".to_owned()),
    );
    tables.push(SURFACES.print(|category| {
        let word = category_word(*category);
        match category {
            Category::Network => format!("{word} (attacked surface, if no classification but `network` is known)"),
            _ => format!("{word} (attacked surface, if no classification is known)"),
        }
    }));
    tables.push(DETECTION_TYPES.print(|kind| match kind {
        DetectionType::Static => "file (of an engine of the agent, if there is one)".to_owned(),
        DetectionType::Dynamic => "process (of an engine of the agent, if there is one)".to_owned(),
    }));
    tables.push(EVENT_KINDS.print(|kind| matched::print_class(*kind)));
    tables.push(OPERATIONS.print(|operation| {
        format!("{} (in place of another type of a file, a registry or a task)", type_word(*operation))
    }));
    tables.push(
        DEVICE_EVENTS.print(|is_connected| if *is_connected { "start (device)" } else { "end (device)" }.to_owned()),
    );
    tables.push(INDICATORS.print(|kind| detection::indicator_type(*kind).to_owned()));
    tables.push(detection::SIGNATURES.print(bool::to_string));
    tables.push(VERIFICATIONS.print(|signature| signature.exists().to_string()));
    tables.push(TACTICS.print(print_tactic));
    tables.push(OBSERVABLES.print(|kind| unified_alert::related_field(*kind).to_owned()));
    tables.push(PRODUCTS.print(|product| match product {
        Product::Engine => "`threat.id`".to_owned(),
        Product::CustomRule => "`alert.id`".to_owned(),
    }));
    let machines = MACHINES.print(|_| "the asset of a unified alert".to_owned()).named("host");
    tables.push(machines);
    tables.push(activity_data::EXCLUSIONS.print(activity_data::Excluded::field));
    tables.push(SCOPE_LEVELS.print(|level| print_scope_level(*level).to_owned()));
    tables
}

fn print_scope_level(level: ScopeLevel) -> &'static str {
    match level {
        ScopeLevel::Account => "no name in `data`; a site's name is left out, too",
        ScopeLevel::Site => "no name in `data`",
        ScopeLevel::Group => "`data.groupName`",
    }
}
