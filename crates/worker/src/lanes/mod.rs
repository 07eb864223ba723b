//! The lanes of a worker: the settings that a lane is built from, the builder, and the runner that starts it again.

pub mod builder;
pub mod runner;
pub mod spec;
pub mod start_times;
