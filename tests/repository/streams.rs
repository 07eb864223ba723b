//! A stream is described, not asked about: code that compares streams stands where the lists below say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quote::ToTokens;
use s1_forwarder::console::Endpoint;
use s1_forwarder::record::Stream;
use s1_forwarder::source::Pull;
use syn::visit::{self, Visit};
use syn::{BinOp, ExprBinary, ExprLet, ExprMatch, ImplItemFn, ItemFn, ItemMod, Macro, Pat};

/// File, function, and why it compares streams.
const COMPARES: [(&str, &str, &str); 10] = [
    ("src/console/endpoint.rs", "of", "the list of the endpoints"),
    ("crates/mapping/src/record.rs", "", "the list of the types of records, of which an activity is two"),
    ("src/sink/http/destination/azure_logs/columns.rs", "declared", "the list of the tables that the vendor declares"),
    ("src/sink/syslog/cef_fields.rs", "of_stream", "the list of the CEF extensions"),
    ("src/sink/syslog/notification/mod.rs", "of", "the console has keys of their own for unified alerts"),
    ("src/sink/syslog/notification/facts.rs", "of", "the list of what the console's notifications say"),
    ("crates/mapping/src/ecs/mod.rs", "provenance", "unified alerts name their provider themselves"),
    ("crates/mapping/src/coverage.rs", "add", "two values of a finding are made of others"),
    ("crates/mapping/src/coverage.rs", "vendor_path", "`data` of an activity is flattened"),
    ("crates/mapping/src/drift.rs", "learn", "`data` of an activity has fields by its type"),
];

/// Finds comparisons with a variant of `Stream` outside tests.
#[derive(Default)]
struct Comparisons {
    functions: Vec<String>,
    /// The functions that compare.
    found: Vec<String>,
}

/// Whether these tokens name a stream: `Stream::Threats`.
fn names_stream(tokens: &impl ToTokens) -> bool {
    let text = tokens.to_token_stream().to_string();
    let mut rest = text.split("Stream :: ").skip(1);
    rest.any(|after| {
        let name: String = after.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        Stream::ALL.iter().any(|stream| format!("{stream:?}") == name)
    })
}

impl Comparisons {
    fn see(&mut self, compares: bool) {
        if compares {
            self.found.push(self.functions.last().cloned().unwrap_or_default());
        }
    }

    fn within(&mut self, function: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        self.functions.push(function.to_string());
        visit(self);
        self.functions.pop();
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let attributes = attributes.iter().map(|attribute| attribute.to_token_stream().to_string());
    attributes.into_iter().any(|attribute| attribute.contains("cfg (test)") || attribute.ends_with("test]"))
}

impl<'ast> Visit<'ast> for Comparisons {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        if !is_test(&function.attrs) {
            self.within(&function.sig.ident, |this| visit::visit_item_fn(this, function));
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            self.within(&function.sig.ident, |this| visit::visit_impl_item_fn(this, function));
        }
    }

    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        self.see(expression.arms.iter().any(|arm| names_stream(&arm.pat)));
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_let(&mut self, expression: &'ast ExprLet) {
        self.see(names_stream(&expression.pat));
        visit::visit_expr_let(self, expression);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.see(!matches!(local.pat, Pat::Ident(_)) && names_stream(&local.pat));
        visit::visit_local(self, local);
    }

    fn visit_expr_binary(&mut self, expression: &'ast ExprBinary) {
        let compares = matches!(expression.op, BinOp::Eq(_) | BinOp::Ne(_));
        // The parts of `a && b` are comparisons of their own.
        self.see(compares && (names_stream(&expression.left) || names_stream(&expression.right)));
        visit::visit_expr_binary(self, expression);
    }

    /// What stands in a macro is not parsed.
    fn visit_macro(&mut self, called: &'ast Macro) {
        let is_matches = called.path.is_ident("matches");
        let text = called.tokens.to_string();
        let compares = is_matches || text.contains("==") || text.contains("!=") || text.contains("match ");
        self.see(compares && names_stream(&called.tokens));
    }
}

pub fn production_files(directory: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            production_files(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn streams_are_compared_where_the_list_says() {
    let mut files = Vec::new();
    for folder in ["src", "crates/record/src", "crates/mapping/src"] {
        production_files(Path::new(folder), &mut files);
    }
    assert!(files.len() > 300, "{}", files.len());
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // Most files name no stream, and parsing all of them takes seconds.
        if text.contains("Stream::") {
            let mut comparisons = Comparisons::default();
            comparisons.visit_file(&syn::parse_file(&text).unwrap());
            found.extend(comparisons.found.into_iter().map(|function| (file.clone(), function)));
        }
    }
    let listed: BTreeSet<(String, String)> =
        COMPARES.iter().map(|(file, function, _)| ((*file).to_owned(), (*function).to_owned())).collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(unlisted.is_empty(), "what differs from stream to stream belongs into its description: {unlisted:?}");
    assert!(gone.is_empty(), "{gone:?} compares no streams");
}

#[test]
fn every_way_to_compare_a_stream_is_seen() {
    for body in [
        "match stream { Stream::Threats => 1, _ => 2 }",
        "matches!(stream, Stream::Threats | Stream::Alerts)",
        "stream == Stream::Threats",
        "Stream::Threats != stream && other",
        "if let Stream::Threats = stream {}",
        "let Stream::Threats = stream else { return };",
        "match (stream, key) { (Stream::Threats, _) => 1, _ => 2 }",
        "debug_assert!(stream == Stream::Threats)",
        "list.iter().any(|pull| pull.stream == record::Stream::Threats)",
    ] {
        let mut comparisons = Comparisons::default();
        comparisons.visit_file(&syn::parse_str(&format!("fn asks() {{ {body} }}")).unwrap());
        assert_eq!(comparisons.found, ["asks"], "{body}");
    }
    for body in ["Stream::ALL.len()", "Pull::of(Stream::Threats)", "let stream = Stream::Threats;"] {
        let mut comparisons = Comparisons::default();
        comparisons.visit_file(&syn::parse_str(&format!("fn asks() {{ {body} }}")).unwrap());
        assert!(comparisons.found.is_empty(), "{body}");
    }
}

/// Files that know keys of a record next to `crates/record/src` and `crates/mapping/src/streams`.
const KNOW_KEYS: [&str; 5] = [
    "src/sink/http/destination/azure_logs/columns.rs",
    "src/sink/http/destination/splunk_hec/events.rs",
    "src/sink/syslog/notification/facts.rs",
    "src/sink/syslog/notification/keys.rs",
    "src/sink/syslog/notification/names.rs",
];

/// Objects and keys that only records of threats, alerts, activities and findings have.
const TELLING: [&str; 8] = [
    "threatInfo",
    "agentRealtimeInfo",
    "agentDetectionInfo",
    "alertInfo",
    "ruleInfo",
    "sourceProcessInfo",
    "primaryDescription",
    "cveId",
];

/// Who adds a field finds each place that may have to name it.
#[test]
fn keys_of_records_stand_where_contributing_says() {
    let mut files = Vec::new();
    for folder in ["src", "crates/record/src", "crates/mapping/src"] {
        production_files(Path::new(folder), &mut files);
    }
    let contributing = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let knows = |line: &str| {
            TELLING.iter().any(|key| [".", "\""].iter().any(|end| line.contains(&format!("\"{key}{end}"))))
        };
        if lines.into_iter().any(knows)
            && !["crates/record/src/", "crates/mapping/src/streams/"].iter().any(|place| file.starts_with(place))
        {
            let parts: Vec<&str> = file.rsplitn(3, '/').collect();
            let name = format!("{}/{}", parts[1], parts[0]);
            assert!(contributing.contains(&name), "CONTRIBUTING does not say that {file} knows keys of records");
            found.insert(file);
        }
    }
    assert_eq!(found, KNOW_KEYS.map(str::to_owned).into());
}

/// Alerts and dashboards leave out what says nothing of a pause, or is polled too rarely for a lag of minutes.
#[test]
fn alerts_and_dashboards_name_the_streams_that_differ() {
    let named = |is_named: &dyn Fn(Stream) -> bool| {
        let names: Vec<_> = Stream::ALL.into_iter().filter(|stream| is_named(*stream)).map(Stream::name).collect();
        let mut names = names;
        names.sort_unstable();
        names.join("|")
    };
    let quiet = named(&|stream| !stream.description().has_own_time());
    let slow = named(&|stream| Pull::of(stream).interval >= Duration::from_secs(900));
    let files = Path::new("deploy/helm/s1-forwarder/files");
    let boards = fs::read_dir(files.join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let lists = regex::Regex::new(r#"stream[!=]~\\?"([^"\\]*)"#).unwrap();
    let mut found = 0;
    for file in boards.chain([files.join("alerts.yaml")]) {
        for list in lists.captures_iter(&fs::read_to_string(&file).unwrap()) {
            let mut names: Vec<&str> = list[1].split('|').collect();
            names.sort_unstable();
            let names = names.join("|");
            // A variable of a dashboard.
            if !names.starts_with('$') {
                assert!(names == quiet || names == slow, "{file:?}: {names}; quiet are {quiet}, slow are {slow}");
                found += 1;
            }
        }
    }
    assert!(found >= 5, "{found}");
}

/// What describes all streams has each of them.
#[test]
fn documents_have_every_stream() {
    for file in ["docs/streams.md", "docs/guides/console-access.md"] {
        let text = fs::read_to_string(file).unwrap();
        for stream in Stream::ALL {
            let name = stream.name();
            assert!(text.contains(name), "{file} does not name {name}");
        }
    }
    let access = fs::read_to_string("docs/guides/console-access.md").unwrap();
    for stream in Stream::ALL {
        let page = Endpoint::permission(stream).split(" → ").next().unwrap();
        let row =
            access.lines().find(|line| line.trim_start().starts_with('|') && line.contains(&format!("`{stream}`")));
        assert!(row.is_some_and(|row| row.contains(page)), "{page} is not in the row of {stream}: {row:?}");
    }
}
