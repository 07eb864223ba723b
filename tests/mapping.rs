//! Mapping, seen from outside: records in, events out.

#![recursion_limit = "512"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

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
