//! commands

pub mod emulate;
pub mod map;
