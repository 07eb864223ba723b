//! The way of a record in ARCHITECTURE.md: the functions and types that it names exist.

use std::fs;
use std::path::Path;

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
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let section = document.split("\n## ").find(|section| section.starts_with("The way of a record")).unwrap();
    let (steps, types) = section.split_once("On this way a record is in these types").unwrap();
    let types = types.split("\n\n").nth(1).unwrap();
    let functions = items(steps);
    let types = items(types);
    assert!(!functions.is_empty() && !types.is_empty(), "the section names functions and types");
    assert_eq!((missing(&functions, &["fn"]), missing(&types, &["struct", "enum"])), (vec![], vec![]));
}
