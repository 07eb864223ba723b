//! A command in a text of the program stands last and alone, so that the end of the line can be copied and run.

use std::fs;

use quote::ToTokens;
use regex::Regex;
use syn::Lit;
use syn::buffer::{Cursor, TokenBuffer};

use super::streams::program_files;

/// The texts in code, those of attributes included, without comments.
fn texts(mut code: Cursor<'_>, found: &mut Vec<String>) {
    while !code.eof() {
        if let Some((inside, _, _, after)) = code.any_group() {
            if inside.ident().is_none_or(|(name, _)| name != "doc") {
                texts(inside, found);
            }
            code = after;
        } else if let Some((literal, after)) = code.literal() {
            if let Lit::Str(text) = Lit::new(literal) {
                found.push(text.value());
            }
            code = after;
        } else {
            let Some((_, after)) = code.token_tree() else { return };
            code = after;
        }
    }
}

/// What follows a command in one of its lines that is no part of it.
fn faults(text: &str) -> Vec<String> {
    let command = Regex::new(
        r"(?:s1-forwarder (?:backfill|check|dead-letters|preview|retry|run|state|status|verify)|kubectl (?:-n|apply|annotate|delete))\b(.*)",
    )
    .unwrap();
    let is_fault = |rest: &str| rest.contains([';', ',', '`']) || rest.ends_with(['.', ')']);
    // The explanation of a command stands in a column of its own.
    let rests = command.captures_iter(text).map(|found| found[1].split("  ").next().unwrap_or_default().to_owned());
    rests.filter(|rest| is_fault(rest)).collect()
}

#[test]
fn a_command_in_a_text_stands_last_and_alone() {
    let files = program_files();
    assert!(files.len() > 300, "{}", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        // Parsing all of the files takes seconds.
        if text.contains("s1-forwarder ") || text.contains("kubectl ") {
            let code = TokenBuffer::new2(syn::parse_file(text).unwrap().to_token_stream());
            let mut of_file = Vec::new();
            texts(code.begin(), &mut of_file);
            found.extend(of_file.iter().flat_map(|text| faults(text)).map(|rest| format!("{file}: …{rest}")));
        }
    }
    assert!(found.is_empty(), "what follows these commands stands before them: {found:#?}");
}

#[test]
fn what_follows_a_command_is_seen() {
    for text in [
        "run `s1-forwarder check FILE` first",
        "remove it (s1-forwarder state delete LANE)",
        "run: s1-forwarder state rename a b; its worker may still run",
        "kubectl -n acme delete secret x.",
    ] {
        assert_eq!(faults(text).len(), 1, "{text}");
    }
    for text in
        ["try it now: s1-forwarder retry acme", "\ns1-forwarder check FILE    tests, and more\n", "`check`, too"]
    {
        assert_eq!(faults(text), <[&str; 0]>::default());
    }
}
