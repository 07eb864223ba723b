//! No file imports a file that imports it back. What a crate may import, its `Cargo.toml` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the root package's files in this test.
const PROGRAM: &str = "program";

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

/// The files of all crates: `engine/lane/run.rs` is `crates/engine/src/lane/run.rs`, `program/main.rs` is
/// `src/main.rs`.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap());
    let crates = folders.map(|folder| (folder.file_name().into_string().unwrap(), folder.path().join("src")));
    let mut named = Vec::new();
    for (name, folder) in crates.chain([(PROGRAM.to_owned(), root.join("src"))]) {
        let mut files = Vec::new();
        source_files(&folder, &mut files);
        for file in files {
            let path = file.strip_prefix(&folder).unwrap().display();
            named.push((format!("{name}/{path}"), fs::read_to_string(&file).unwrap()));
        }
    }
    named
}

/// Lists, which name descriptions that stand in a file each: of the kinds of records, of the streams, of the commands.
const LISTS: [&str; 3] = ["emulator::generate", "record::stream", "program::commands"];

/// A path such as `console::client`, of the module in this file.
fn module(name: &str) -> String {
    name.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib").replace('/', "::")
}

/// The code of a file without comments and without its test module.
fn code(text: &str) -> String {
    let production = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub(super) mod tests"]
        .into_iter()
        .fold(text, |text, tests| text.split(tests).next().unwrap_or_default());
    let lines = production.lines();
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

/// `path` as seen from `module`, after the name of its crate.
fn absolute(module: &str, path: &str) -> String {
    let mut parents: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    if let Some(from_root) = rest.strip_prefix("crate::") {
        return format!("{}::{from_root}", parents[0]);
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
        let back = of.iter().filter(|other| one < *other && imports.get(*other).is_some_and(|its| its.contains(one)));
        let back = back.filter(|other| ![one, *other].iter().any(|file| LISTS.contains(&file.as_str())));
        mutual.extend(back.map(|other| (one.clone(), other.clone())));
    }
    assert!(mutual.is_empty(), "these import each other:\n{mutual:#?}");
}

#[test]
fn paths_are_expanded_and_made_absolute() {
    let found = paths("use super::{a, b::{C, D as E}};\nuse crate::x::y; fn f() { self::g::h() }");
    let found: BTreeSet<_> = found.iter().map(|path| absolute("engine::client", path)).collect();
    let wanted = ["engine::a", "engine::b::C", "engine::b::D", "engine::client::g::h", "engine::x::y"];
    assert_eq!(found, wanted.map(str::to_owned).into());
    assert_eq!(absolute("mapping::ecs", "crate::json"), "mapping::json");
}
