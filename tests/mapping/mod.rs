//! Mapping, seen from outside: records in, events out.

mod activities;
mod docs;
mod elastic;
mod generated;
mod properties;
mod rules;
mod schema;
mod support;
