//! The files, functions and types that documents name exist.

use std::fs;
use std::path::Path;
use std::process::Command;

/// File and name of every `` `file.rs: name` `` in `text`.
fn items(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| quoted.split_once(": ")).filter(|(file, _)| file.ends_with(".rs")).collect()
}

/// The items that no line of their file defines with one of these words.
fn missing<'a>(items: &[(&'a str, &'a str)], words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_defined = |(file, name): &(&str, &str)| {
        let in_crate = file.split_once('/').map(|(name, file)| root.join("crates").join(name).join("src").join(file));
        let text = fs::read_to_string(root.join("crates/engine/src").join(file));
        let text = text.or_else(|_| fs::read_to_string(in_crate.unwrap_or_default())).unwrap_or_default();
        let starts = |word: &&str| {
            let start = format!("{word} {name}");
            let goes_on = |letter: char| letter.is_alphanumeric() || letter == '_';
            text.match_indices(&start).any(|(at, _)| !text[at + start.len()..].starts_with(goes_on))
        };
        words.iter().any(starts)
    };
    items.iter().filter(|item| !is_defined(item)).map(|(file, name)| format!("{file}: {name}")).collect()
}

#[test]
fn the_functions_and_types_on_the_way_of_a_record_exist() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let architecture = read("ARCHITECTURE.md");
    let short = architecture.split("\n## ").find(|section| section.starts_with("The way of a record")).unwrap();
    let page = read("docs/dev/way-of-a-record.md");
    let (steps, types) = page.split_once("\n## Types\n").unwrap();
    let types = types.split("\n\n").nth(1).unwrap();
    let functions = [items(short), items(steps)].concat();
    let types = items(types);
    assert!(!functions.is_empty() && !types.is_empty(), "the page names functions and types");
    assert_eq!((missing(&functions, &["fn"]), missing(&types, &["struct", "enum"])), (vec![], vec![]));
}

/// The lines that a `diff` of `text` has in common with its files, each with the file.
fn context_lines(text: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for diff in text.split("```diff\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let mut file = "";
        for line in diff.lines() {
            match line.strip_prefix("--- ") {
                Some(path) => file = path,
                // A line that is removed is there, too.
                None if line.starts_with([' ', '-']) => lines.push((file.to_owned(), line[1..].trim().to_owned())),
                None => {}
            }
        }
    }
    lines
}

#[test]
fn the_changes_that_a_contributor_is_shown_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lines = context_lines(&fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap());
    assert!(lines.len() > 5, "{lines:?}");
    for (file, line) in lines {
        let text = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.lines().any(|other| other.trim() == line), "{file} has no line `{line}`");
    }
}

/// Whether `character` may stand in a path.
fn is_of_path(character: char) -> bool {
    character.is_alphanumeric() || "_./-".contains(character)
}

/// The paths of Rust files in code spans. One with a capital letter stands for several files.
fn rust_files(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    let paths = spans.filter_map(|span| span.split(|character| !is_of_path(character)).next());
    paths.filter(|path| path.ends_with(".rs") && !path.contains(char::is_uppercase))
}

#[test]
fn the_files_that_documents_and_comments_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git").arg("ls-files").current_dir(root).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed.lines().filter(|file| root.join(file).is_file()).collect();
    let exists = |path: &str| {
        let in_crate = path.split_once('/').map(|(name, file)| format!("crates/{name}/src/{file}"));
        files
            .iter()
            .any(|file| *file == path || file.ends_with(&format!("/{path}")) || in_crate.as_deref() == Some(*file))
    };
    let mut named = 0;
    let mut missing = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".md") || file.ends_with(".rs")) {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let lines = text.lines().filter(|line| file.ends_with(".md") || line.trim_start().starts_with("//"));
        for path in lines.flat_map(rust_files) {
            named += 1;
            if !exists(path) {
                missing.push(format!("{file}: {path}"));
            }
        }
    }
    assert!(named > 100, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}
