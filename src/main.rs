//! The command line of s1-forwarder.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives freed memory back, as `.cargo/config.toml` sets it: of what a thousand busy lanes have freed glibc keeps as much
/// again (docs/performance.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    s1_forwarder::commands::main()
}
