//! Mapping, seen from outside: records in, events out.

mod mapping {
    mod quick;
}
