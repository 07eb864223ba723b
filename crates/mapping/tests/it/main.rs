//! The mapping seen from outside: records in, events out. `cargo test -p s1-forwarder-mapping` needs no C compiler.

#![recursion_limit = "512"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod activities;
mod bounds;
mod corrections;
mod damage;
mod detections;
mod docs;
mod drift;
mod elastic;
mod expectations;
mod generated;
mod joins;
mod labels;
mod missing_values;
mod names;
mod observables;
mod ocsf;
mod placeholders;
mod processes;
mod properties;
mod rules;
mod schema;
mod secrets;
mod subjects;
mod support;
mod templates;
mod unexpected;
mod users;
mod varied;
mod words;
