//! commands

pub mod emulate;
