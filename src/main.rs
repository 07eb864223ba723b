//! The command line of s1-forwarder.

use std::process::ExitCode;

fn main() -> ExitCode {
    s1_forwarder::commands::main()
}
