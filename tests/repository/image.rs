//! The container image: its build context, and the allocator's options, which must not depend on Cargo's configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::support::cache::{or_skip, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_s1-forwarder");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether deploy/Dockerfile.dockerignore admits a path. The last matching line decides.
fn is_admitted(ignore: &str, path: &Path) -> bool {
    let mut admitted = true;
    for line in ignore.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, admits) = line.strip_prefix('!').map_or((line, false), |pattern| (pattern, true));
        assert!(pattern == "*" || !pattern.contains(['*', '?', '[']), "this test does not know the pattern {line}");
        if pattern == "*" || path.starts_with(pattern) {
            admitted = admits;
        }
    }
    admitted
}

/// Files of the package that the compiler reads for the library and the program, relative to the root.
fn sources() -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(PROGRAM).with_file_name("deps")).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("s1_forwarder"));
    let lists = entries.filter(|path| is_ours(path) && path.extension().is_some_and(|kind| kind == "d"));
    let texts = lists.map(|path| fs::read_to_string(path).unwrap());
    // The others are of unit tests.
    let texts: Vec<_> = texts.filter(|text| text.contains(".rmeta: ") || text.contains(" src/main.rs")).collect();
    let lines = texts.iter().filter_map(|text| text.lines().next()?.split_once(": "));
    let files =
        lines.flat_map(|(_, files)| files.split(' ')).map(|file| root().join(file)).filter(|file| file.is_file());
    files.filter_map(|file| Some(file.strip_prefix(root()).ok()?.to_str()?.to_owned())).collect()
}

/// The file of each target that Cargo.toml declares. Cargo refuses the package if one does not exist.
fn declared_targets() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[[").skip(1);
    let targets = sections.map(|section| {
        let (kind, keys) = section.split_once("]]").unwrap();
        let keys = keys.split("\n[").next().unwrap();
        let value = |key: &str| {
            let line = keys.lines().find(|line| line.starts_with(&format!("{key} =")))?;
            Some(line.split('"').nth(1).unwrap().to_owned())
        };
        let name = value("name").unwrap();
        let directory = match kind {
            "bench" => "benches",
            "test" => "tests",
            "example" => "examples",
            other => panic!("this test does not know the target [[{other}]]"),
        };
        let candidates = [format!("{directory}/{name}.rs"), format!("{directory}/{name}/main.rs")];
        let file = value("path").or_else(|| candidates.into_iter().find(|file| root().join(file).is_file()));
        file.unwrap_or_else(|| panic!("the {kind} {name} has no file"))
    });
    targets.collect()
}

#[test]
fn the_image_is_built_from_every_file_that_the_build_reads() {
    let ignore = fs::read_to_string(root().join("deploy/Dockerfile.dockerignore")).unwrap();
    let mut read = sources();
    // Clippy lists its own settings in the same place; no build reads them.
    read.remove("clippy.toml");
    assert!(read.len() > 100 && read.contains("src/main.rs") && read.contains("src/lib.rs"), "{read:?}");
    read.extend(declared_targets());
    read.extend(["Cargo.toml", "Cargo.lock", "build.rs"].map(str::to_owned));
    // Cargo reads these where they exist.
    for file in [".cargo/config.toml", ".cargo/openssl-perl", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"]
    {
        read.extend(root().join(file).exists().then(|| file.to_owned()));
    }
    let hidden: Vec<_> = read.iter().filter(|file| !is_admitted(&ignore, Path::new(file))).collect();
    assert!(hidden.is_empty(), "the build in the image does not see {hidden:?}");
    for file in ["target/debug/s1-forwarder", ".git/HEAD", "tests/it.rs", "crates/mapping/tests/it/main.rs"] {
        assert!(!is_admitted(&ignore, Path::new(file)), "{file} is not needed in the image");
    }
}

#[test]
fn base_images_are_named_by_digest_and_the_last_one_has_no_shell() {
    let dockerfile = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    for stage in &stages {
        let image = stage.split_whitespace().next().unwrap();
        let (name, digest) = image.split_once("@sha256:").unwrap_or_else(|| panic!("{image} has no digest"));
        assert!(name.contains(':') && digest.len() == 64, "{image}");
    }
    // Nothing could run these commands in an image without a shell.
    let last = stages.last().unwrap();
    assert!(last.starts_with("gcr.io/distroless/") && !last.contains("\nRUN "), "{last}");
}

/// The last image has glibc and the runtime of the compiler, and no more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_program_needs_no_libraries_but_those_of_the_image() {
    let ran = run(Command::new("ldd").arg(PROGRAM), root());
    let Some(listed) = or_skip("list of the libraries that the program needs", ran) else { return };
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let is_known = |name: &str| {
        ["linux-vdso", "libc.", "libm.", "libgcc_s.", "libstdc++."].iter().any(|known| name.starts_with(known))
            || name.contains("/ld-linux")
    };
    assert!(names.len() > 2, "{listed}");
    let unknown: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "the image has no {unknown:?}");
}

/// `cargo install` and the image's build know nothing of a configuration outside the package.
#[test]
fn the_allocator_has_its_options_without_any_configuration() {
    for file in [".cargo/config.toml", ".cargo/config"] {
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(!text.contains("MALLOC_CONF"), "{file} sets the allocator's options, which belong to build.rs");
    }
    let options = |environment: &str| {
        let mut command = Command::new(PROGRAM);
        let output = command.arg("--version").env("_RJEM_MALLOC_CONF", environment).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let set = options("stats_print:true");
    for option in ["opt.narenas: 4\n", "opt.dirty_decay_ms: 4000 ", "opt.muzzy_decay_ms: 0 "] {
        assert!(set.contains(option), "{option} is missing in\n{set}");
    }
    let changed = options("stats_print:true,narenas:2");
    assert!(changed.contains("opt.narenas: 2\n"), "the environment takes precedence:\n{changed}");
}
