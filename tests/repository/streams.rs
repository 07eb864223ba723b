//! A stream is described, not asked about, and so is a kind of the emulator: code that compares them stands where the
//! lists below say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quote::ToTokens;
use s1_forwarder::console::Endpoint;
use s1_forwarder::emulator::Kind;
use s1_forwarder::record::{Accounting, Frequency, SeverityKeys, Stream};
use s1_forwarder::settings::Period;
use s1_forwarder::source::{PassKeys, PullSettings};
use s1_forwarder::transform::{Labeler, UNKNOWN};

use serde_json::Value;
use syn::visit::{self, Visit};
use syn::{BinOp, ExprBinary, ExprLet, ExprMatch, ImplItemFn, ItemFn, ItemMod, Macro, Pat};

/// File, function, and why it compares streams.
const COMPARES: [(&str, &str, &str); 10] = [
    ("crates/engine/src/console/endpoint.rs", "of", "the list of the endpoints"),
    ("crates/mapping/src/record.rs", "", "the list of the types of records, of which an activity is two"),
    (
        "crates/destinations/src/http/destination/azure_logs/columns.rs",
        "declared",
        "the list of the tables that the vendor declares",
    ),
    ("crates/destinations/src/syslog/cef_fields.rs", "of_stream", "the list of the CEF extensions"),
    (
        "crates/destinations/src/syslog/notification/mod.rs",
        "of",
        "the console has keys of their own for unified alerts",
    ),
    ("crates/destinations/src/syslog/notification/facts.rs", "of", "the list of what the console's notifications say"),
    ("crates/mapping/src/ecs/mod.rs", "provenance", "unified alerts name their provider themselves"),
    ("crates/mapping/src/coverage.rs", "add", "two values of a finding are made of others"),
    ("crates/mapping/src/coverage.rs", "vendor_path", "`data` of an activity is flattened"),
    ("crates/mapping/src/drift.rs", "learn", "`data` of an activity has fields by its type"),
];

/// The files of production code, what is not compared there, and its variants.
fn described() -> [(Vec<String>, &'static str, Vec<String>); 2] {
    let streams = Stream::ALL.iter().map(|stream| format!("{stream:?}")).collect();
    let kinds = Kind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    let mut emulator = Vec::new();
    production_files(Path::new("crates/emulator/src"), &mut emulator);
    [(program_files(), "Stream", streams), (emulator, "Kind", kinds)]
}

/// Finds comparisons with a variant of an enum outside tests.
struct Comparisons<'a> {
    name: &'a str,
    variants: &'a [String],
    functions: Vec<String>,
    /// The functions that compare.
    found: Vec<String>,
}

impl<'a> Comparisons<'a> {
    fn of(name: &'a str, variants: &'a [String]) -> Self {
        Self { name, variants, functions: Vec::new(), found: Vec::new() }
    }

    /// The functions of a file that compare.
    fn within_file(mut self, file: &syn::File) -> Vec<String> {
        self.visit_file(file);
        self.found
    }

    /// Whether these tokens name a variant: `Stream::Threats`.
    fn names_variant(&self, tokens: &impl ToTokens) -> bool {
        let text = tokens.to_token_stream().to_string();
        let path = format!("{} :: ", self.name);
        let mut rest = text.split(&path).skip(1);
        rest.any(|after| {
            let name: String = after.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            self.variants.contains(&name)
        })
    }

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

impl<'ast> Visit<'ast> for Comparisons<'_> {
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
        self.see(expression.arms.iter().any(|arm| self.names_variant(&arm.pat)));
        visit::visit_expr_match(self, expression);
    }

    fn visit_expr_let(&mut self, expression: &'ast ExprLet) {
        self.see(self.names_variant(&expression.pat));
        visit::visit_expr_let(self, expression);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.see(!matches!(local.pat, Pat::Ident(_)) && self.names_variant(&local.pat));
        visit::visit_local(self, local);
    }

    fn visit_expr_binary(&mut self, expression: &'ast ExprBinary) {
        let compares = matches!(expression.op, BinOp::Eq(_) | BinOp::Ne(_));
        // The parts of `a && b` are comparisons of their own.
        self.see(compares && (self.names_variant(&expression.left) || self.names_variant(&expression.right)));
        visit::visit_expr_binary(self, expression);
    }

    /// What stands in a macro is not parsed.
    fn visit_macro(&mut self, called: &'ast Macro) {
        let is_matches = called.path.is_ident("matches");
        let text = called.tokens.to_string();
        let compares = is_matches || text.contains("==") || text.contains("!=") || text.contains("match ");
        self.see(compares && self.names_variant(&called.tokens));
    }
}

fn production_files(directory: &Path, files: &mut Vec<String>) {
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

/// The files of the program's crates, without their tests: of the root's, and of those that it is linked with.
pub fn program_files() -> Vec<String> {
    let mut files = Vec::new();
    production_files(Path::new("src"), &mut files);
    for entry in fs::read_dir("crates").unwrap() {
        let folder = entry.unwrap().path();
        if !["emulator", "test-servers"].iter().any(|name| folder.ends_with(name)) {
            production_files(&folder.join("src"), &mut files);
        }
    }
    files
}

#[test]
fn streams_are_compared_where_the_list_says() {
    let mut found = BTreeSet::new();
    let mut parsed = 0;
    for (files, name, variants) in described() {
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // Most files name no stream, and parsing all of them takes seconds.
            if text.contains(&format!("{name}::")) {
                let compares = Comparisons::of(name, &variants).within_file(&syn::parse_file(&text).unwrap());
                found.extend(compares.into_iter().map(|function| (file.clone(), function)));
                parsed += 1;
            }
        }
    }
    assert!(parsed > 50, "{parsed}");
    let listed: BTreeSet<(String, String)> =
        COMPARES.iter().map(|(file, function, _)| ((*file).to_owned(), (*function).to_owned())).collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(unlisted.is_empty(), "what differs from stream to stream belongs into its description: {unlisted:?}");
    assert!(gone.is_empty(), "{gone:?} compares no streams");
}

#[test]
fn every_way_to_compare_a_stream_is_seen() {
    let [(_, name, variants), ..] = described();
    let compares = |body: &str| {
        let file = syn::parse_str(&format!("fn asks() {{ {body} }}")).unwrap();
        Comparisons::of(name, &variants).within_file(&file)
    };
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
        assert_eq!(compares(body), ["asks"], "{body}");
    }
    for body in ["Stream::ALL.len()", "Pull::of(Stream::Threats)", "let stream = Stream::Threats;"] {
        assert!(compares(body).is_empty(), "{body}");
    }
}

/// Files that know keys of a record next to `crates/record/src` and `crates/mapping/src/streams`.
const KNOW_KEYS: [&str; 6] = [
    "crates/engine/src/lane/known_threats.rs",
    "crates/destinations/src/http/destination/azure_logs/columns.rs",
    "crates/destinations/src/http/destination/splunk_hec/events.rs",
    "crates/destinations/src/syslog/notification/facts.rs",
    "crates/destinations/src/syslog/notification/keys.rs",
    "crates/destinations/src/syslog/notification/names.rs",
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
    let contributing = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let mut found = BTreeSet::new();
    for file in program_files() {
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

/// One failure names each place: who adds a stream runs this test, and fixes what it names.
#[test]
fn documents_alerts_and_tests_have_every_stream() {
    let checks: [fn() -> Vec<String>; 6] =
        [unnamed_streams, missing_rows, wrong_in_verify, wrong_in_tables, wrong_lists_of_alerts, missing_records];
    let problems: Vec<String> = checks.iter().flat_map(|check| check()).collect();
    assert!(problems.is_empty(), "{} places differ from the descriptions:\n{}", problems.len(), problems.join("\n"));
}

/// The documents that describe all streams, without a stream's name.
fn unnamed_streams() -> Vec<String> {
    let files = [
        "docs/guides/console-access.md",
        "docs/sinks/elasticsearch.md",
        "docs/integrations.md",
        "docs/delivery.md",
        "CHANGELOG.md",
    ];
    let mut problems = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for stream in Stream::ALL {
            let name = stream.name().replace('_', "[_ ]");
            if !regex::Regex::new(&format!(r"(?i)\b{name}\b")).unwrap().is_match(&text) {
                problems.push(format!("{file} does not name {stream}"));
            }
        }
    }
    problems
}

/// The tables without a row for a stream.
fn missing_rows() -> Vec<String> {
    let mut problems = Vec::new();
    for file in ["docs/mapping-ocsf.md", "docs/transform.md"] {
        let table = rows(&fs::read_to_string(file).unwrap(), "stream");
        for stream in Stream::ALL {
            if !table.iter().any(|row| row[1].split(", ").any(|name| name == stream.name())) {
                problems.push(format!("{file} has no row for {stream}"));
            }
        }
    }
    let file = "docs/guides/console-access.md";
    let access = fs::read_to_string(file).unwrap();
    for stream in Stream::ALL {
        let page = Endpoint::permission(stream).split(" → ").next().unwrap();
        let name = format!("`{stream}`");
        let row = access.lines().find(|line| line.trim_start().starts_with('|') && line.contains(&name));
        if !row.is_some_and(|row| row.contains(page)) {
            problems.push(format!("{file} has no row with {stream} and its permission {page}: {row:?}"));
        }
    }
    problems
}

/// What docs/verify.md says of a stream and its description does not.
fn wrong_in_verify() -> Vec<String> {
    let mut problems = Vec::new();
    let verify = fs::read_to_string("docs/verify.md").unwrap();
    for stream in Stream::ALL {
        let mut items = verify.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**: "));
        let how = items.find(|(names, _)| names.split(", ").any(|name| name == stream.name())).map(|(_, how)| how);
        let expected = match stream.description().accounting {
            Accounting::Records => "by count",
            Accounting::Ids => "by identity",
            Accounting::Nothing => "not compared",
        };
        if !how.is_some_and(|how| how.starts_with(expected)) {
            problems.push(format!("docs/verify.md: {stream} is compared {how:?}, which should be {expected:?}"));
        }
    }
    // A destination is compared by the version of each record, which some streams do not have.
    let unknown = verify.lines().find(|line| line.ends_with("it is not known which")).unwrap();
    let mut unknown: Vec<&str> = unknown.split('`').skip(1).step_by(2).take_while(|name| *name != "volatile").collect();
    unknown.retain(|name| name.parse::<Stream>().is_ok());
    let has_versions = |stream: &Stream| {
        stream.description().accounting != Accounting::Nothing
            && PullSettings::of(*stream).passes().iter().all(|pass| pass.keys != PassKeys::Latest)
    };
    let mut without: Vec<&str> =
        Stream::ALL.into_iter().filter(|stream| !has_versions(stream)).map(Stream::name).collect();
    unknown.sort_unstable();
    without.sort_unstable();
    if unknown != without {
        problems.push(format!(
            "docs/verify.md: the streams whose versions at a destination are not known are {without:?}, not {unknown:?}"
        ));
    }
    problems
}

/// Alerts and dashboards leave out what says nothing of a pause, or is polled too rarely for a lag of minutes. Returns
/// the lists that name other streams.
fn wrong_lists_of_alerts() -> Vec<String> {
    let named = |is_named: &dyn Fn(Stream) -> bool| {
        let names: Vec<_> = Stream::ALL.into_iter().filter(|stream| is_named(*stream)).map(Stream::name).collect();
        let mut names = names;
        names.sort_unstable();
        names.join("|")
    };
    let quiet = named(&|stream| !stream.description().has_own_time());
    let slow = named(&|stream| PullSettings::of(stream).interval >= Duration::from_mins(15));
    let files = Path::new("deploy/helm/s1-forwarder/files");
    let boards = fs::read_dir(files.join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let lists = regex::Regex::new(r#"stream[!=]~\\?"([^"\\]*)"#).unwrap();
    let mut found = 0;
    let mut problems = Vec::new();
    for file in boards.chain([files.join("alerts.yaml")]) {
        for list in lists.captures_iter(&fs::read_to_string(&file).unwrap()) {
            let mut names: Vec<&str> = list[1].split('|').collect();
            names.sort_unstable();
            let names = names.join("|");
            // A variable of a dashboard.
            if names.starts_with('$') {
                continue;
            }
            found += 1;
            if names != quiet && names != slow {
                problems.push(format!("{}: {names}; quiet are {quiet}, slow are {slow}", file.display()));
            }
        }
    }
    assert!(found >= 5, "{found}");
    problems
}

/// The files with records of each stream that lack one.
fn missing_records() -> Vec<String> {
    let mut problems = Vec::new();
    for file in ["crates/mapping/tests/data/probes.json", "crates/mapping/tests/data/examples.json"] {
        let records: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let without = Stream::ALL.into_iter().filter(|stream| records.get(stream.name()).is_none());
        problems.extend(without.map(|stream| format!("{file} has no record of {stream}")));
    }
    problems
}

/// The rows of the tables of a document whose header begins with this cell, and the texts of their cells.
fn rows(text: &str, header: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        match cells.get(1) {
            Some(first) if is_inside => found.push((first.clone(), cells)),
            Some(first) => is_inside = first == header,
            None => is_inside = false,
        }
    }
    found.into_iter().filter(|(first, _)| !first.starts_with("---")).map(|(_, cells)| cells).collect()
}

/// What a table of defaults says of a stream: `60s; activities 30s; agents, groups 15m`.
fn default_of(defaults: &str, stream: Stream) -> String {
    let mut clauses = defaults.split("; ");
    let usual = clauses.next().unwrap();
    let own = clauses.filter_map(|clause| clause.rsplit_once(' '));
    let own = own.into_iter().find(|(names, _)| names.split(", ").any(|name| name == stream.name()));
    own.map_or(usual, |(_, value)| value).trim_matches('`').to_owned()
}

/// What the tables of docs/streams.md say of a stream and its descriptions do not.
fn wrong_in_tables() -> Vec<String> {
    let text = fs::read_to_string("docs/streams.md").unwrap();
    let of_streams = rows(&text, "stream");
    let defaults = rows(&text, "key");
    let silent = rows(&text, "`silent_after`");
    let (before, _) = text.split_once(" are never silent").unwrap();
    let never = before.lines().next_back().unwrap();
    let default = |key: &str, stream| {
        let row = defaults.iter().find(|row| row[1] == format!("`{key}`")).unwrap();
        default_of(&row[2], stream)
    };
    let period = |text: &str| text.parse::<Period>().unwrap().0;
    let mut problems = Vec::new();
    for stream in Stream::ALL {
        let name = format!("`{stream}`");
        let own: Vec<_> = of_streams.iter().filter(|row| row[1].split(", ").any(|word| word == name)).collect();
        let endpoint = Endpoint::of(stream);
        let (page, _) = endpoint.permission.split_once(',').unwrap_or((endpoint.permission, ""));
        let says = |row: &Vec<String>| {
            row[2].ends_with(&format!("/{}`", endpoint.path))
                && row[3].contains(page)
                && row[4].contains(&format!("`{}`", endpoint.order.sort_by))
        };
        let mut require = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("docs/streams.md, {stream}: {what}"));
            }
        };
        require(own.iter().any(|row| row.len() > 5 && says(row)), "no row has its path, permission and order");
        require(own.iter().any(|row| row.len() == 5), "no row has its position");

        let is_by_creation = stream.description().is_ordered_by_creation();
        assert_eq!(is_by_creation, endpoint.created == Some(endpoint.order), "the order of {stream}");

        let pull = PullSettings::of(stream);
        for (key, value) in [("interval", pull.interval), ("overlap", pull.overlap)] {
            let said = default(key, stream);
            require(period(&said) == value, &format!("the default of `{key}` is {}, not {said}", Period(value)));
        }
        let since = default("since", stream);
        require(since == pull.since.to_string(), &format!("the default of `since` is {}, not {since}", pull.since));

        let auto: Vec<_> = silent.iter().filter(|row| row[1] == "`auto`").map(|row| row[2].contains(&name)).collect();
        let frequency = stream.description().frequency;
        let is_named = auto == [frequency == Frequency::Daily, frequency == Frequency::Irregular];
        require(is_named, &format!("the rows of `silent_after` contradict its frequency, {frequency:?}"));
        let is_never = never.split_whitespace().any(|word| word.trim_end_matches(',') == name);
        let is_inventory = frequency == Frequency::Inventory;
        require(
            is_never == is_inventory,
            &format!("the list of what is never silent contradicts its frequency, {frequency:?}"),
        );
    }
    problems
}

/// Labels are made of what a record says of its owner, else of the scope that its page was asked by. `owners` is empty
/// where records say nothing, and the table of labels says so.
#[test]
fn records_say_whose_they_are_where_the_descriptions_say() {
    const KEYS: [&str; 6] = ["accountId", "accountName", "siteId", "siteName", "groupId", "groupName"];
    let table = rows(&fs::read_to_string("docs/transform.md").unwrap(), "stream");
    let probes = fs::read_to_string("crates/mapping/tests/data/probes.json").unwrap();
    let probes: Value = serde_json::from_str(&probes).unwrap();
    let ids = ["account", "site", "group"].map(|level| (level.to_owned(), format!("{{{level}.id}}")));
    for stream in Stream::ALL {
        let labeler = Labeler::new(&ids.clone().into(), stream).unwrap();
        let says = |record: &Value| {
            let labelled = labeler.label(record.to_string().as_bytes(), None);
            labelled.labels.values().any(|id| id != UNKNOWN)
        };
        let says = match &probes[stream.name()] {
            Value::Array(kinds) => kinds.iter().any(|kind| says(&kind["record"])),
            record => says(record),
        };
        assert_eq!(says, !stream.description().owners.is_empty(), "whether a record of {stream} says whose it is");
        let record = probes[stream.name()].to_string();
        assert!(says || KEYS.iter().all(|key| !record.contains(&format!("\"{key}\""))), "{stream}: {record}");
        let row = table.iter().find(|row| row[1].split(", ").any(|name| name == stream.name())).unwrap();
        let asked = ["account", "site", "group"].map(|level| format!("of `console.{level}s`"));
        assert_eq!(says, row[2..5] != asked, "docs/transform.md: whose the records of {stream} are: {row:?}");
    }
}

/// Keys of the console's secrets.
const SECRETS: [&str; 3] = ["registrationToken", "passphrase", "licenseKey"];

/// A description that lacks what a record has would cost syslog its severity, and the mapping a second pass.
#[test]
fn severity_and_secrets_are_where_the_descriptions_say() {
    let probes = fs::read_to_string("crates/mapping/tests/data/probes.json").unwrap();
    let probes: Value = serde_json::from_str(&probes).unwrap();
    for stream in Stream::ALL {
        let records: Vec<&Value> = match &probes[stream.name()] {
            Value::Array(kinds) => kinds.iter().map(|kind| &kind["record"]).collect(),
            record => vec![record],
        };
        let at = |path: &[&str]| records.iter().any(|record| record.pointer(&pointer(path)).is_some());
        let description = stream.description();
        match description.severity {
            SeverityKeys::Nowhere => {
                let places: [&[&str]; 4] = [
                    &["severity"],
                    &["alertInfo", "severity"],
                    &["ruleInfo", "severity"],
                    &["threatInfo", "confidenceLevel"],
                ];
                assert!(places.iter().all(|place| !at(place)), "{stream} has a severity that its description lacks");
            }
            SeverityKeys::Word(path) => assert!(at(path), "{stream} has no severity at {path:?}"),
            SeverityKeys::Confidence { level, classification } => {
                assert!(at(level) && at(classification), "{stream} has no {level:?} or {classification:?}");
            }
        }
        let has_secrets = records.iter().any(|record| SECRETS.iter().any(|key| record.get(key).is_some()));
        assert_eq!(has_secrets, description.has_secrets, "{stream}");
    }
}

fn pointer(path: &[&str]) -> String {
    path.iter().map(|key| format!("/{key}")).collect()
}
