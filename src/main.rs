//! The command line of s1-forwarder.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Returns freed memory to the system after four seconds, as `build.rs` configures it. With a thousand busy
/// lanes glibc's allocator keeps half of the peak memory after it was freed (docs/dev/performance.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    s1_forwarder::commands::main()
}
