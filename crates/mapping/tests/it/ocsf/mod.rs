//! OCSF: that events are valid, that they keep every leaf, and what they say.

mod events;
mod golden;
mod json_schema;
mod older;
mod older_table;
mod schema;
pub mod validity;
