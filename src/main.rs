//! The command line of s1-forwarder.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    s1_forwarder::commands::main()
}
