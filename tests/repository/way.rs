//! The way of a record in ARCHITECTURE.md: short, and as the code has it.

use std::fs;
use std::path::Path;

/// The most functions and types on the way.
const MOST_FUNCTIONS: usize = 35;
const MOST_TYPES: usize = 8;

/// File and name of every `` `file.rs: name` `` in `text`.
fn items(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| quoted.split_once(": ")).filter(|(file, _)| file.ends_with(".rs")).collect()
}

/// The items that no line of their file defines with one of these words.
fn missing<'a>(items: &[(&'a str, &'a str)], words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_defined = |(file, name): &(&str, &str)| {
        let text = fs::read_to_string(root.join("src").join(file)).unwrap_or_default();
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
fn the_way_of_a_record_is_short_and_as_the_code_has_it() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let section = document.split("\n## ").find(|section| section.starts_with("The way of a record")).unwrap();
    let (steps, types) = section.split_once("On this way a record is in these types").unwrap();
    let types = types.split("\n\n").nth(1).unwrap();
    let (functions, types) = (items(steps), items(types));
    let numbered = steps.lines().filter(|line| line.split_once(". ").is_some_and(|(at, _)| at.parse::<u32>().is_ok()));
    assert_eq!(numbered.count(), functions.len(), "one function in each step");
    assert!((20..=MOST_FUNCTIONS).contains(&functions.len()), "{} functions", functions.len());
    assert!((1..=MOST_TYPES).contains(&types.len()), "{} types", types.len());
    assert_eq!((missing(&functions, &["fn"]), missing(&types, &["struct", "enum"])), (vec![], vec![]));
}
