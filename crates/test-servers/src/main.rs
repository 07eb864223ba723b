//! Fetches and builds all servers and tools, one after the other. Ends with 1 if one of them failed; the others are
//! made all the same.

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
