//! OCSF: that events are valid, that they keep every leaf, and what they say.

mod events;
mod golden;
mod json_schema;
mod schema;
pub mod validity;
