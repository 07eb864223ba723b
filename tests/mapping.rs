//! Mapping, seen from outside: records in, events out.

mod mapping {
    mod activities;
    mod elastic;
    mod generated;
    mod properties;
    mod rules;
    mod schema;
    mod support;
}
