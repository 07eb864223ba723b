//! Mapping, seen from outside: records in, events out.

mod activities;
mod damage;
mod detections;
mod docs;
mod elastic;
mod generated;
mod joins;
mod missing_values;
mod observables;
pub mod ocsf;
mod placeholders;
mod properties;
mod rules;
mod schema;
mod steps;
mod subjects;
mod support;
mod users;
mod varied;
