//! Fetches and builds all servers and tools, one after the other. Exits with 1 if one of them failed, after making the
//! others.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = false;
    for (name, get) in test_servers::ALL {
        match get() {
            Ok(path) => println!("{name}: {}", path.display()),
            Err(reason) => {
                failed = true;
                eprintln!("{name}: {reason}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
