//! The table of docs/dev/performance.md: `cargo bench --bench table` prints it. Names of scenarios after `--` print
//! only their rows, `-- --light` takes a tenth of the load, and `-- --save` also writes what was measured to
//! benches/results.

#![allow(clippy::unwrap_used, reason = "a benchmark may end in a panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod common;
mod measurements;

fn main() {
    measurements::run();
}
