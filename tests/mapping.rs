//! Mapping, seen from outside: records in, events out.

#![recursion_limit = "512"]

mod mapping {
    mod activities;
    mod docs;
    mod elastic;
    mod generated;
    mod properties;
    mod rules;
    mod schema;
    mod support;
}
