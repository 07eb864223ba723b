//! OCSF: events are valid, keep every leaf, and have the right contents.

mod events;
mod golden;
mod json_schema;
mod older;
mod older_table;
mod schema;
pub mod validity;
