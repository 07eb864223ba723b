//! What each stream's records consist of, as parts that both schemas write. Only these files know the keys of a stream:
//! where a value stands in more than one place, they say which one counts.

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
