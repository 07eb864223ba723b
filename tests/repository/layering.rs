//! The table of modules in ARCHITECTURE.md: imports run one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom, those that do not know each other on one level. What the crates below `crates/` may
/// import, the compiler checks.
const LEVELS: &[&[&str]] = &[
    &["commands"],
    &["server"],
    &["worker"],
    &["pipeline"],
    &["lane"],
    &["source", "transform", "sink", "state"],
    &["console", "kafka"],
    &["checkpoint"],
    &["settings"],
    &["telemetry"],
    &["usage"],
];

/// Crates of their own.
const CRATES: &[&str] = &["emulator", "mapping"];

/// What `module` may import besides itself.
fn allowed(module: &str) -> Vec<&'static str> {
    match module {
        "commands" => LEVELS.iter().copied().flatten().copied().chain(["emulator"]).collect(),
        _ => {
            let below = LEVELS.iter().skip_while(|level| !level.contains(&module)).skip(1);
            below.copied().flatten().copied().collect()
        }
    }
}

fn source_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The files below `src` as `lane/run.rs`, those of a crate below `crates` as `mapping/lib.rs`.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = Vec::new();
    let crates = CRATES.iter().map(|name| (format!("{name}/"), root.join("crates").join(name).join("src")));
    for (prefix, folder) in crates.chain([(String::new(), root.join("src"))]) {
        let mut files = Vec::new();
        source_files(&folder, &mut files);
        for file in files {
            let name = file.strip_prefix(&folder).unwrap().display();
            named.push((format!("{prefix}{name}"), fs::read_to_string(&file).unwrap()));
        }
    }
    named
}

/// Names of modules that `text` reaches through `crate::`, also in `use crate::{a, b::c}`; test modules may do as they
/// like.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n");
    let word = |text: &str| text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let after = &code[at + "crate::".len()..];
        let Some(list) = after.strip_prefix('{') else {
            found.insert(word(after));
            continue;
        };
        let mut depth = 1;
        let mut begins = true;
        for (place, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => begins = depth == 1,
                letter if begins && letter.is_alphanumeric() => {
                    found.insert(word(&list[place..]));
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn is_module(name: &str) -> bool {
    name == "emulator" || LEVELS.iter().any(|level| level.contains(&name))
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (name, text) in files() {
        let Some((module, file)) = name.split_once('/') else { continue };
        if CRATES.contains(&module) {
            continue;
        }
        if file.ends_with("tests.rs") || file.contains("tests/") {
            continue;
        }
        let allowed = allowed(module);
        let uses = imports(&text).into_iter().filter(|used| used != module && is_module(used));
        wrong.extend(uses.filter(|used| !allowed.contains(&used.as_str())).map(|used| format!("src/{name}: {used}")));
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// The folders whose files must not import each other in circles of two.
const FOLDERS: &[&str] = &[
    "lane",
    "source",
    "checkpoint",
    "state",
    "kafka",
    "console",
    "pipeline",
    "sink",
    "telemetry",
    "transform",
    "usage",
    "emulator",
    "mapping",
];

/// The list of kinds names their descriptions, which stand next to the generators of their records.
const LIST: &str = "emulator::generate";

/// A path such as `console::client`, of the module in this file.
fn module(name: &str) -> String {
    name.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib").replace('/', "::")
}

/// The code of a file without comments and without its test module.
fn code(text: &str) -> String {
    let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |code, line| code + line + "\n")
}

/// Every path in `code` that begins with `crate::`, `super::` or `self::`, braces expanded.
fn paths(code: &str) -> Vec<String> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let mut found = Vec::new();
    for (at, _) in ["crate::", "super::", "self::"].iter().flat_map(|root| code.match_indices(root)) {
        if code[..at].ends_with(is_path) {
            continue;
        }
        let end = code[at..].find(|letter| !is_path(letter)).map_or(code.len(), |end| at + end);
        let begin = code[at..end].to_owned();
        match (begin.ends_with("::"), code[end..].strip_prefix('{')) {
            (true, Some(list)) => _ = expand(&begin, list, &mut found),
            _ => found.push(begin),
        }
    }
    found
}

/// Appends the paths of a list in braces, and returns how long it is.
fn expand(prefix: &str, list: &str, found: &mut Vec<String>) -> usize {
    let mut at = 0;
    let mut path = String::new();
    while let Some(letter) = list[at..].chars().next() {
        at += letter.len_utf8();
        match letter {
            '{' => {
                at += expand(&format!("{prefix}{path}"), &list[at..], found);
                path.clear();
            }
            ',' | '}' => {
                if !path.is_empty() {
                    found.push(format!("{prefix}{}", path.split(" as ").next().unwrap()));
                }
                path.clear();
                if letter == '}' {
                    break;
                }
            }
            _ if letter.is_whitespace() && path.is_empty() => {}
            _ => path.push(letter),
        }
    }
    at
}

/// `path` as seen from `module`, from the root of the program; a crate is there under its name.
fn absolute(module: &str, path: &str) -> String {
    let mut parents: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    if let Some(from_root) = rest.strip_prefix("crate::") {
        let own = CRATES.iter().find(|name| parents[0] == **name);
        return own.map_or_else(|| from_root.to_owned(), |name| format!("{name}::{from_root}"));
    }
    rest = rest.strip_prefix("self::").unwrap_or(rest);
    while let Some(above) = rest.strip_prefix("super::") {
        parents.pop();
        rest = above;
    }
    parents.into_iter().chain([rest]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::")
}

/// Whether `code` has a path that begins with this module.
fn names(code: &str, module: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    code.match_indices(&format!("{module}::")).any(|(at, _)| !code[..at].ends_with(is_part))
}

/// What each module imports of others, re-exports followed to where they lead.
fn imported() -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeMap<String, String> =
        files().into_iter().map(|(name, text)| (module(&name), code(&text))).collect();
    let mut exports = BTreeMap::new();
    let mut uses = BTreeMap::new();
    for (module, code) in &files {
        // `pub use` in a `mod.rs` gives an item another path; it makes nobody depend on it.
        let (exported, used): (Vec<&str>, Vec<&str>) =
            code.split_inclusive(';').partition(|item| item.contains("pub use ") || item.contains("pub(crate) use "));
        for item in exported {
            let tail = item[item.find("use ").unwrap() + 4..].trim_end_matches(';');
            let tail = if ["crate::", "super::", "self::"].iter().any(|root| tail.starts_with(root)) {
                tail.to_owned()
            } else {
                format!("self::{tail}")
            };
            for path in paths(&tail) {
                let name = path.rsplit("::").next().unwrap().to_owned();
                exports.insert(format!("{module}::{name}"), absolute(module, &path));
            }
        }
        let used = used.concat();
        let mut of = paths(&used);
        // A `mod.rs` names its own files without `self::`.
        let own = files.keys().filter_map(|other| other.strip_prefix(&format!("{module}::")));
        of.extend(own.filter(|file| names(&used, file)).map(|file| format!("self::{file}")));
        uses.insert(module.clone(), of);
    }
    let resolve = |mut path: String| {
        for _ in 0..5 {
            let export = exports.iter().find(|(name, _)| path == **name || path.starts_with(&format!("{name}::")));
            let Some((name, target)) = export else { break };
            path = format!("{target}{}", &path[name.len()..]);
        }
        // The file is the longest part of the path that is a module.
        let mut parts: Vec<&str> = path.split("::").collect();
        while !parts.is_empty() && !files.contains_key(&parts.join("::")) {
            parts.pop();
        }
        parts.join("::")
    };
    let imports = uses.into_iter().map(|(module, paths)| {
        let of = paths.iter().map(|path| resolve(absolute(&module, path)));
        let of = of.filter(|target| !target.is_empty() && *target != module).collect();
        (module, of)
    });
    imports.collect()
}

#[test]
fn no_file_imports_a_file_that_imports_it_back() {
    let imports = imported();
    let mut mutual = BTreeSet::new();
    for (one, of) in &imports {
        let folder = one.split("::").next().unwrap();
        if !FOLDERS.contains(&folder) {
            continue;
        }
        let back = of.iter().filter(|other| other.split("::").next() == Some(folder) && *one < **other);
        let back = back.filter(|other| *one != LIST && *other != LIST);
        let back = back.filter(|other| imports.get(*other).is_some_and(|its| its.contains(one)));
        mutual.extend(back.map(|other| (one.clone(), other.clone())));
    }
    assert!(mutual.is_empty(), "these import each other:\n{mutual:#?}");
}

#[test]
fn paths_are_expanded_and_made_absolute() {
    let found = paths("use super::{a, b::{C, D as E}};\nuse crate::x::y; fn f() { self::g::h() }");
    let found: BTreeSet<_> = found.iter().map(|path| absolute("console::client", path)).collect();
    let wanted = ["console::a", "console::b::C", "console::b::D", "console::client::g::h", "x::y"];
    assert_eq!(found, wanted.map(str::to_owned).into());
    assert_eq!(absolute("mapping::ecs", "crate::json"), "mapping::json");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::sink::Sink;\nuse crate::{\n    console::{self, Client},\n    state, record::Stream,\n};\n\
                // crate::lane\nfn f(x: crate::worker::X) {}\n#[cfg(test)]\nmod tests {\n    use crate::emulator;\n}\n";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["console", "record", "sink", "state", "worker"]);
}
