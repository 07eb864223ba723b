//! The parts of each stream's records, which both schemas write. Only these files know the keys of a stream. If a value
//! is in more than one place, they say which one counts.

pub mod activity;
pub mod agent;
pub mod alert;
mod cloud;
mod engines;
pub mod enrichment;
pub mod group;
mod interfaces;
pub mod rule_hit;
pub mod threat;
pub mod unified_alert;
pub mod unread;
pub mod vulnerability;

use std::borrow::Cow;

use s1_forwarder_record::Value;

/// Returns the value of a key that has no field in the record type.
fn other<'a>(others: &[(Cow<'a, str>, Value<'a>)], key: &str) -> Value<'a> {
    others.iter().find(|(known, _)| known == key).map(|(_, value)| *value).unwrap_or_default()
}
