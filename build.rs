//! Sets the options of the program's allocator, jemalloc.
//!
//! jemalloc reads them from the C variable `malloc_conf` before `main` begins. A small C object defines it, since Rust
//! could only do so with an `unsafe` attribute. Cargo's configuration could set them too, but `cargo install` does not
//! read it. `_RJEM_MALLOC_CONF` in the environment of the program takes precedence.

use std::path::Path;
use std::{env, fs};

/// `dirty_decay_ms`: freed pages return to the kernel after this time. `narenas`: the default is four for each core,
/// which is too many on large nodes. docs/dev/performance.md has the measurements.
const OPTIONS: &str = "dirty_decay_ms:4000,muzzy_decay_ms:0,narenas:4";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let source = Path::new(&env::var("OUT_DIR")?).join("malloc_conf.c");
    fs::write(&source, format!("const char *_rjem_malloc_conf = \"{OPTIONS}\";\n"))?;
    for object in cc::Build::new().file(&source).compile_intermediates() {
        println!("cargo::rustc-link-arg-bins={}", object.display());
        println!("cargo::rustc-link-arg-benches={}", object.display());
    }
    Ok(())
}
