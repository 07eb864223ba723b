//! What is decided the same in all schemas: users, addresses, severities, outcomes, the kinds of what a rule matched.

pub(super) mod account;
pub(super) mod activity_types;
pub(super) mod address;
pub(super) mod attack;
pub(super) mod classification;
pub(super) mod cloud;
pub(super) mod date;
pub(super) mod dns;
pub(super) mod event_kind;
pub(super) mod float;
pub(super) mod hash;
pub(super) mod matched;
pub(super) mod os;
pub(super) mod page;
pub(super) mod placeholder;
pub(super) mod registry;
pub(super) mod remaining;
pub(super) mod remote_origin;
pub(super) mod severity;
pub(super) mod text_set;
pub(super) mod threat;
pub(super) mod word;
pub(super) mod words;
pub(super) mod workload;
