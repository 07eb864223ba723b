//! Checks that concern several values: contradictions, values without sense, and warnings.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_destinations::{BuildError, SharedSinkResources, SinkSettings};
use s1_forwarder_engine::source::Enrichment;
use s1_forwarder_engine::transform::{Labels, OcsfVersion, Schema};
use s1_forwarder_engine::{console, source, transform};
use s1_forwarder_record::{Stream, Timestamp, check_name};
use s1_forwarder_settings::{Id, Period, Tls, check_token};

use super::problem::{Place, Problem, Severity};
use super::yaml::Node;
use super::{Case, Pipeline, yaml};

/// The console accepts no more ids in one filter.
const MAX_SCOPE_IDS: usize = 500;
/// The stream that also contains the detections of two others.
const UNIFIED: &str = "unified_alerts";
/// Warning from here on: each lane remembers the keys of all records within the overlap.
const LONG_OVERLAP: Duration = Duration::from_hours(24);
/// Warning from here on: alerts rarely change after a month.
const LONG_LOOKBACK: Duration = Duration::from_hours(744);

/// Collects the problems of one part of the tree.
struct Report<'a> {
    root: &'a Node,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    /// Adds a problem at the node at `keys`, or at the innermost existing node on the path to it.
    fn push(&mut self, keys: &[&str], severity: Severity, message: impl Into<Cow<'static, str>>) {
        self.at(&self.root.nearest(keys).place.clone(), &keys.join("."), severity, message);
    }

    fn error(&mut self, keys: &[&str], message: impl Into<Cow<'static, str>>) {
        self.push(keys, Severity::Error, message);
    }

    fn at(&mut self, place: &Place, key: &str, severity: Severity, message: impl Into<Cow<'static, str>>) {
        self.problems.push(Problem::at(place, key, severity, message));
    }
}

pub(super) fn console(root: &Node, console: &console::ConsoleSettings, problems: &mut Vec<Problem>) {
    let mut report = Report { root, problems };
    let mut seen: BTreeMap<&Id, &str> = BTreeMap::new();
    for (key, ids) in [("accounts", &console.accounts), ("sites", &console.sites), ("groups", &console.groups)] {
        if ids.len() > MAX_SCOPE_IDS {
            report.error(&["console", key], format!("{} ids; the console accepts at most {MAX_SCOPE_IDS}", ids.len()));
        }
        for (index, id) in ids.iter().enumerate() {
            if let Some(before) = seen.insert(id, key) {
                let message = if before == key {
                    format!("{id} is given twice")
                } else {
                    format!("{id} cannot be the id of something in `{before}` and in `{key}`")
                };
                let list = root.nearest(&["console", key]);
                let place = list.list().get(index).unwrap_or(list).place.clone();
                report.at(&place, &format!("console.{key}[{index}]"), Severity::Error, message);
            }
        }
    }
    if let Some(rate) = console.requests_per_second
        && !(0.001..=1_000.0).contains(&rate)
    {
        report
            .error(&["console", "requests_per_second"], format!("expected a number from 0.001 to 1000, found {rate}"));
    }
    if console.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
        report.error(&["console", "timeout"], "a timeout of 0 would let no request succeed");
    }
    if console.url.base().starts_with("http://") && !is_loopback(console.url.host()) {
        let message = "the API token is sent unencrypted; write https:// unless this is a test";
        report.push(&["console", "url"], Severity::Warning, message);
    }
    if let Some(path) = root.nearest(&["console", "url"]).text().and_then(pasted_path) {
        let message = format!("`{path}` is ignored: requests go to {}", console.url);
        report.push(&["console", "url"], Severity::Warning, message);
    }
    literal_tokens(&mut report, root.get("console"), "console");
    tls(&mut report, &["console", "tls"], &console.tls);
}

/// Keys of tokens, here and in `auth`.
const TOKENS: [&str; 4] = ["token", "api_key", "intake_key", "code"];

/// Checks tokens in the file itself for mistakes that show without a request.
fn literal_tokens(report: &mut Report<'_>, parent: Option<&Node>, prefix: &str) {
    for key in TOKENS {
        let Some(node) = parent.and_then(|parent| parent.get(key)) else { continue };
        let key = format!("{prefix}.{key}");
        let listed = node.list().iter().enumerate().map(|(index, node)| (format!("{key}[{index}]"), node));
        for (key, one) in std::iter::once((key.clone(), node)).chain(listed) {
            if let Some(Err(reason)) = one.text().map(check_token) {
                report.at(&one.place, &key, Severity::Error, format!("the token {reason}"));
            }
        }
    }
}

/// Returns the path after the host of a pasted address. `None` if there is none.
fn pasted_path(address: &str) -> Option<&str> {
    let address = address.trim();
    let after_scheme = address.find("://").map_or(0, |at| at + 3);
    let host = &address[after_scheme..];
    Some(&host[host.find('/')?..]).filter(|path| *path != "/")
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.starts_with("127.") || name == "[::1]"
}

fn tls(report: &mut Report<'_>, keys: &[&str], tls: &Tls) {
    let (given, missing) = match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => ("cert_file", "key_file"),
        (None, Some(_)) => ("key_file", "cert_file"),
        _ => return,
    };
    report.error(&[keys, &[given]].concat(), format!("`{given}` needs `{missing}` too"));
}

pub(super) fn streams(root: &Node, streams: &source::StreamSettings, problems: &mut Vec<Problem>) {
    let mut report = Report { root, problems };
    let pulls = streams.pulls();
    if pulls.is_empty() {
        report.error(&["streams"], "no stream is named, so nothing would be pulled; for example `threats: {}`");
    }
    for pull in pulls {
        let stream = pull.stream.name();
        if pull.interval.is_zero() {
            report.error(&["streams", stream, "interval"], "an interval of 0 would ask the console without a pause");
        }
        if pull.overlap > LONG_OVERLAP {
            let message = "every lane remembers all records of its overlap; minutes are usual, a day is the most that makes sense";
            report.push(&["streams", stream, "overlap"], Severity::Warning, message);
        }
        if let source::SilentAfter::Period(period) = pull.silent_after {
            if !pull.stream.description().has_own_time() {
                let message = "a pause of this stream says nothing: it lists what exists, which changes only when a \
                               user changes it; leave the key out";
                report.error(&["streams", stream, "silent_after"], message);
            } else if period.0.is_zero() {
                let message = "0 would call every pause a silence; `off` turns it off";
                report.error(&["streams", stream, "silent_after"], message);
            }
        }
        if let source::Since::At(time) = pull.since
            && time > Timestamp::now()
        {
            report.push(&["streams", stream, "since"], Severity::Warning, "this time is in the future");
        }
        if pull.lookback().is_some_and(|lookback| lookback > LONG_LOOKBACK) {
            let message = "every lane remembers all alerts of its lookback, and reads them again every 10 minutes";
            report.push(&["streams", stream, "lookback"], Severity::Warning, message);
        }
        let excluded: BTreeSet<_> = pull.excluded_types().iter().collect();
        let types = pull.activities().into_iter().flat_map(|activities| &activities.types);
        for both in types.filter(|activity_type| excluded.contains(activity_type)) {
            let message = format!("activity type {both} is in `types` and in `exclude_types`");
            report.error(&["streams", stream, "exclude_types"], message);
        }
    }
    if let Some(settings) = &streams.agents {
        agents(&mut report, settings);
    }
}

fn agents(report: &mut Report<'_>, agents: &source::Agents) {
    let is_snapshot = agents.mode == source::AgentMode::Snapshot;
    if is_snapshot && agents.volatile.is_some() {
        let message = "`mode: snapshot` sends every agent each time; `volatile` is for `mode: changes`";
        report.error(&["streams", "agents", "volatile"], message);
    }
    if agents.marker && !is_snapshot {
        report.error(&["streams", "agents", "marker"], "a marker ends a snapshot; it needs `mode: snapshot`");
    }
    if let Some(path) = agents.volatile.iter().flatten().find(|name| name.contains('.')) {
        let message = format!("`{path}` is not a key of an agent: only top-level keys can be left out");
        report.error(&["streams", "agents", "volatile"], message);
    }
}

/// Checks the labels. A file may have any number of labels: each is looked up once.
fn labels(report: &mut Report<'_>, labels: &Labels) {
    let node = report.root.nearest(&["transform", "labels"]);
    let places: HashMap<_, _> = node.entries().iter().map(|entry| (&*entry.key, &entry.node.place)).collect();
    let mut error = |name: &str, message: String| {
        let place = places.get(name).copied().unwrap_or(&node.place);
        report.at(place, &format!("transform.labels.{name}"), Severity::Error, message);
    };
    for (name, value) in labels {
        // Some destinations know no upper case in names.
        if name.eq_ignore_ascii_case("pipeline") {
            error(name, "the label `pipeline` always has the pipeline's name".to_owned());
        } else if !is_label(name) {
            error(name, format!("`{name}` is not a label's name: letters, digits, `_`, `-` and `.`, at most 63"));
        }
        let mut beginnings = name.match_indices('.').filter_map(|(dot, _)| name.get(..dot));
        let excludes = |beginning: &&str| *beginning == "pipeline" || labels.contains_key(*beginning);
        if let Some(other) = beginnings.find(excludes) {
            let message = format!(
                "`{name}` and the label `{other}` exclude each other: destinations read a dot as a level, and `{other}` \
                 is a text there, not an object; use a name without the dot, such as `{}`",
                name.replace('.', "_")
            );
            error(name, message);
        }
        if let Err(problem) = transform::check_label(value) {
            error(name, problem);
        }
    }
}

pub(super) fn transform(root: &Node, transform: &transform::TransformSettings, problems: &mut Vec<Problem>) {
    labels(&mut Report { root, problems }, &transform.labels);
    let mut report = Report { root, problems };
    for (index, redaction) in transform.redact.iter().enumerate() {
        let label = redaction.path.strip_prefix("labels.").filter(|label| transform.labels.contains_key(*label));
        if let Some(label) = label {
            let message = format!(
                "the label `{label}` is redacted in the event only: topics, indices, headers and envelopes still have it"
            );
            let list = report.root.nearest(&["transform", "redact"]);
            let place = list.list().get(index).unwrap_or(list).place.clone();
            report.at(&place, &format!("transform.redact[{index}]"), Severity::Warning, message);
        }
    }
    if transform.schema == transform::Schema::Raw && transform.keep_original.is_some() {
        let message = "without effect: with `schema: raw` the event is the record itself";
        report.push(&["transform", "keep_original"], Severity::Warning, message);
    }
}

/// Tests that check nothing, or that look the same.
pub(super) fn tests(root: &Node, tests: &[Case], problems: &mut Vec<Problem>) {
    let nodes = root.get("tests").map_or(&[][..], Node::list);
    let mut names = BTreeSet::new();
    for (index, (node, test)) in nodes.iter().zip(tests).enumerate() {
        let mut report = |message: String| {
            problems.push(Problem::at(&node.place, &format!("tests[{index}]"), Severity::Error, message));
        };
        if !names.insert(&test.name) {
            report(format!("another test is named `{}`", test.name));
        }
        match (test.dropped, test.expect.is_empty() && test.absent.is_empty()) {
            (false, true) => report("a test needs `expect`, `absent` or `dropped: true`".to_owned()),
            (true, false) => report("a dropped event has nothing to `expect`".to_owned()),
            _ => {}
        }
    }
}

fn is_label(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= 63 && name.bytes().all(valid)
}

/// Checks the sinks. `sinks` has one element per sink of the file, `None` for a sink that could not be read. Names and
/// streams are therefore read from the tree.
pub(super) fn sinks(root: &Node, sinks: &[Option<SinkSettings>], problems: &mut Vec<Problem>) {
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    let pulled: Vec<&str> = root.nearest(&["streams"]).entries().iter().map(|entry| entry.key.as_str()).collect();
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for (index, (node, sink)) in nodes.iter().zip(sinks).enumerate() {
        let prefix = format!("sinks[{index}]");
        let mut report = Report { root: node, problems };
        if let Some(sink) = sink {
            sink_settings(&mut report, &prefix, sink);
        }
        literal_tokens(&mut report, Some(node), &prefix);
        literal_tokens(&mut report, node.get("auth"), &format!("{prefix}.auth"));
        unencrypted(&mut report, &prefix);
        let given = node.get("name").and_then(Node::text);
        let name = given.or_else(|| node.get("type").and_then(Node::text)).unwrap_or_default();
        match names.get(name) {
            Some(line) if !name.is_empty() => {
                let message = match given {
                    Some(_) => format!("the sink on line {line} has the name `{name}` too"),
                    None => format!("the sink on line {line} has the name `{name}` too: give one of them a `name`"),
                };
                report.at(&node.nearest(&["name"]).place, &format!("{prefix}.name"), Severity::Error, message);
            }
            _ => {
                names.insert(name, node.place.line);
            }
        }
        let listed = node.get("streams").map_or(&[][..], Node::list);
        for (position, element) in listed.iter().enumerate() {
            let Some(stream) = element.text().filter(|stream| stream.parse::<Stream>().is_ok()) else { continue };
            let key = format!("{prefix}.streams[{position}]");
            if !pulled.contains(&stream) {
                let message =
                    format!("the pipeline does not pull `{stream}`: name it in `streams`, or leave it out here");
                report.at(&element.place, &key, Severity::Error, message);
            } else if listed.iter().take(position).any(|before| before.text() == Some(stream)) {
                report.at(&element.place, &key, Severity::Error, format!("`{stream}` is given twice"));
            }
        }
    }
    let Some(sinks) = sinks.iter().map(Option::as_ref).collect::<Option<Vec<_>>>().filter(|sinks| !sinks.is_empty())
    else {
        return;
    };
    for stream in pulled.iter().filter_map(|stream| stream.parse::<Stream>().ok()) {
        if !sinks.iter().any(|sink| sink.accepts(stream)) {
            let message = "no sink accepts this stream, so it is not pulled";
            Report { root, problems }.push(&["streams", stream.name()], Severity::Warning, message);
        }
    }
}

/// Keys of sinks that hold credentials.
const CREDENTIALS: [&str; 7] = ["auth", "token", "api_key", "intake_key", "code", "client_secret", "password"];

/// Warns about credentials that would be sent to another host without TLS.
fn unencrypted(report: &mut Report<'_>, prefix: &str) {
    let root = report.root;
    if !CREDENTIALS.iter().any(|key| root.get(key).is_some()) {
        return;
    }
    let urls = root.get("url").into_iter().chain(root.get("urls").map_or(&[][..], Node::list));
    for url in urls {
        let Some(rest) = url.text().and_then(|text| text.trim().strip_prefix("http://")) else { continue };
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        if !is_loopback(host) {
            let message = "the credentials are sent unencrypted; write https:// unless this is a test";
            report.at(&url.place, &format!("{prefix}.url"), Severity::Warning, message);
        }
    }
}

fn sink_settings(report: &mut Report<'_>, prefix: &str, sink: &SinkSettings) {
    let common = &sink.common;
    let mut error = |keys: &[&str], message: String| {
        let place = report.root.nearest(keys).place.clone();
        report.at(&place, &format!("{prefix}.{}", keys.join(".")), Severity::Error, message);
    };
    if let Some(Err(refused)) = common.name.as_deref().map(check_name) {
        error(&["name"], refused.to_string());
    }
    if common.streams.as_ref().is_some_and(Vec::is_empty) {
        error(&["streams"], "no stream is named, so nothing would be sent; leave the key out to send all".to_owned());
    }
    if common.batch.bytes.is_some_and(|bytes| bytes.0 == 0) {
        error(&["batch", "bytes"], "a batch of 0 bytes has no room for an event".to_owned());
    }
    if common.retry.initial > common.retry.max {
        let message =
            format!("the first wait ({}) is longer than the longest ({})", common.retry.initial, common.retry.max);
        error(&["retry", "initial"], message);
    }
    for (key, wait) in [("initial", common.retry.initial), ("max", common.retry.max)] {
        if wait.0.is_zero() {
            let message = "without a wait between attempts, a failing sink would get requests without pause".to_owned();
            error(&["retry", key], message);
        }
    }
    if common.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
        error(&["timeout"], "a timeout of 0 would let no request succeed".to_owned());
    }
    match (&common.tls.cert_file, &common.tls.key_file) {
        (Some(_), None) => error(&["tls", "cert_file"], "`cert_file` needs `key_file` too".to_owned()),
        (None, Some(_)) => error(&["tls", "key_file"], "`key_file` needs `cert_file` too".to_owned()),
        _ => {}
    }
}

/// Warns if a sink would get a detection several times: unified alerts contain the detections of threats and alerts.
pub(super) fn detections(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    let pulls = &pipeline.pulls;
    let takes = |sink: &SinkSettings, name: &str| {
        pulls.iter().any(|pull| pull.stream.name() == name && sink.accepts(pull.stream))
    };
    let whole = pulls.iter().any(|pull| pull.unified_alerts().is_some_and(|alerts| alerts.products.is_empty()));
    let twice = |sink: &&Arc<SinkSettings>| {
        takes(sink, UNIFIED) && (takes(sink, Stream::Threats.name()) || takes(sink, Stream::Alerts.name()))
    };
    if let Some(sink) = pipeline.sinks.iter().find(twice)
        && whole
    {
        let message = format!(
            "sink `{}` would get one detection several times, as a unified alert and as a threat or an alert, under different \
             ids; docs/streams.md says which streams to choose",
            sink.name()
        );
        Report { root, problems }.push(&["streams", UNIFIED], Severity::Warning, message);
    }
}

/// Says so if a sink does not follow `transform.schema`, because its destination reads raw records.
pub(super) fn schemas(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    let (Some(_), schema) = (root.nearest(&["transform"]).get("schema"), pipeline.transform.schema) else { return };
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let own = sink
            .type_settings
            .as_sink_type()
            .default_schema()
            .filter(|own| sink.common.schema.is_none() && *own != schema);
        let Some(own) = own else { continue };
        if sink.type_settings.as_sink_type().integration().is_some() {
            continue;
        }
        let message = format!(
            "the destination has a parser for the console's own records, so this sink sends `{}` whatever \
             `transform.schema` says: write `schema: {}` on the sink if that is meant, otherwise `schema: {}`",
            own.name(),
            own.name(),
            schema.name()
        );
        let node = root.get("sinks").and_then(|sinks| sinks.list().get(index)).unwrap_or(root);
        problems.push(Problem::at(&node.place, &format!("sinks[{index}].schema"), Severity::Warning, message));
    }
}

/// Names the sinks whose OCSF events are of a version that their reader does not know, and versions without effect.
pub(super) fn ocsf_versions(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    let transform = root.nearest(&["transform"]).get("ocsf_version");
    let (schema, version) = (pipeline.transform.schema, pipeline.transform.ocsf_version);
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    for (index, (node, sink)) in nodes.iter().zip(&pipeline.sinks).enumerate() {
        let key = format!("sinks[{index}].ocsf_version");
        let own = node.get("ocsf_version");
        if sink.schema(schema) != Schema::Ocsf {
            if let Some(own) = own {
                let message = format!("without effect: the sink has `schema: {}`", sink.schema(schema).name());
                problems.push(Problem::at(&own.place, &key, Severity::Warning, message));
            }
            continue;
        }
        // An explicit `ocsf_version` needs no advice.
        if let Some(reader) = sink.type_settings.as_sink_type().older_ocsf_reader()
            && sink.ocsf_version(version) == OcsfVersion::default()
            && own.or(transform).is_none()
        {
            let message = format!(
                "{reader}: write `ocsf_version: \"{}\"` on the sink, or \"{}\" if another reader is meant",
                OcsfVersion::V1_3.name(),
                OcsfVersion::default().name()
            );
            problems.push(Problem::at(&node.place, &key, Severity::Warning, message));
        }
    }
    if let Some(node) = transform
        && !pipeline.sinks.iter().any(|sink| sink.schema(schema) == Schema::Ocsf)
    {
        let message = "without effect: no sink has `schema: ocsf`".to_owned();
        problems.push(Problem::at(&node.place, "transform.ocsf_version", Severity::Warning, message));
    }
}

/// Warns of a `batch.timeout` that never passes.
pub(super) fn batches(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    for (index, (node, sink)) in nodes.iter().zip(&pipeline.sinks).enumerate() {
        let Some(timeout) = sink.common.batch.timeout else { continue };
        let sooner = pipeline.pulls.iter().filter(|pull| sink.accepts(pull.stream) && pull.interval < timeout.0);
        let sooner: Vec<_> = sooner.map(|pull| format!("{} ({})", pull.stream.name(), Period(pull.interval))).collect();
        if sooner.is_empty() {
            continue;
        }
        let message = format!(
            "a batch is sent when its poll ends, and these streams are polled more often than every {timeout}, so that \
             the time has no effect on them: {}",
            sooner.join(", ")
        );
        let place = &node.nearest(&["batch", "timeout"]).place;
        problems.push(Problem::at(place, &format!("sinks[{index}].batch.timeout"), Severity::Warning, message));
    }
}

/// Reports settings that add to the console's records, if the content of a destination's integration has no place for
/// the addition.
pub(super) fn contents(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let Some(integration) = sink.type_settings.as_sink_type().integration() else { continue };
        let mut report = Report { root, problems };
        let has = format!("sinks[{index}] has `content: integration`");
        for pull in pipeline.pulls.iter().filter(|pull| sink.accepts(pull.stream)) {
            let stream = pull.stream.name();
            if pull.has_marker() {
                let message = format!(
                    "{has}, which knows records only, and a marker is none: leave it out, or `{stream}` out of that sink"
                );
                report.error(&["streams", stream, "marker"], message);
            }
            let has_lists = matches!(pull.addition(), Some(Enrichment::Lists(_)));
            if let Some(included) = integration.included.filter(|_| has_lists) {
                let message = format!("{has}, {included}");
                report.push(&["streams", stream, "include"], Severity::Warning, message);
            }
        }
        if !integration.has_labels && !pipeline.transform.labels.is_empty() {
            let message = format!("{has}, which has no place for labels: they are left out there");
            report.push(&["transform", "labels"], Severity::Warning, message);
        }
    }
}

/// Refuses the variables of a shell: they would be sent unexpanded. Programs and test cases may have any text.
pub(super) fn variables(node: &Node, key: &str, problems: &mut Vec<Problem>) {
    for entry in node.entries().iter().filter(|entry| !["remap", "drop", "tests"].contains(&&*entry.key)) {
        variables(&entry.node, &yaml::join(key, &entry.key), problems);
    }
    for (index, item) in node.list().iter().enumerate() {
        variables(item, &format!("{key}[{index}]"), problems);
    }
    let name = node.text().and_then(|text| text.split_once("${")?.1.split_once('}'));
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if let Some((name, _)) = name.filter(|(name, _)| is_name(name)) {
        let message = format!(
            "${{{name}}} is not expanded: write the value; for a secret, write the whole value as {{ env: {name} }}"
        );
        problems.push(Problem::at(&node.place, key, Severity::Error, message));
    }
}

/// Compiles the programs and checks the redactions. The file may be a tenant's.
pub(super) fn steps(root: &Node, pipeline: &Pipeline, is_tenants: bool, problems: &mut Vec<Problem>) {
    let mut compiler = transform::Compiler::of(&pipeline.name).strict(is_tenants);
    for error in transform::Steps::check(&pipeline.transform, &mut compiler).err().into_iter().flatten() {
        let place = &element(root.nearest(&["transform"]), &error.key).place;
        let key = format!("transform.{}", error.place());
        problems.push(Problem::at(place, &key, Severity::Error, error.problem));
    }
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    for (index, (node, sink)) in nodes.iter().zip(&pipeline.sinks).enumerate() {
        let Some(source) = &sink.common.remap else { continue };
        let Err(problem) = compiler.check(source) else { continue };
        let place = &node.nearest(&["remap"]).place;
        problems.push(Problem::at(place, &format!("sinks[{index}].remap"), Severity::Error, problem));
    }
    if compiler.takes_long() {
        let message = "the programs of this file take long to compile, each time it changes: assign to fewer paths, \
                       or divide them among files; of a tenant's file they would be refused";
        let place = &root.nearest(&["transform"]).place;
        problems.push(Problem::at(place, "transform", Severity::Warning, message.to_owned()));
    }
}

/// Returns the node at keys and indices of lists, or the innermost one on the path to it.
fn element<'a>(mut node: &'a Node, keys: &[String]) -> &'a Node {
    for key in keys {
        let inner = node.get(key).or_else(|| node.list().get(key.parse::<usize>().ok()?));
        match inner {
            Some(inner) => node = inner,
            None => break,
        }
    }
    node
}

/// Builds each sink, to find errors that depend on the lane, such as placeholders in topics.
pub(super) fn builds(root: &Node, pipeline: &Pipeline, problems: &mut Vec<Problem>) {
    let nodes = root.get("sinks").map_or(&[][..], Node::list);
    for (index, (node, sink)) in nodes.iter().zip(&pipeline.sinks).enumerate() {
        let Some(context) = pipeline.sink_context(sink, SharedSinkResources::default()) else { continue };
        let streams: Vec<Stream> =
            pipeline.pulls.iter().map(|pull| pull.stream).filter(|stream| sink.accepts(*stream)).collect();
        let built = sink.type_settings.as_sink_type().check_streams(&streams).and_then(|()| sink.build(&context));
        let Err(error) = built else { continue };
        let key = match &error {
            BuildError::Compression { .. } => "compression",
            BuildError::Placeholder { key, .. } => key,
            BuildError::Value { key, .. } => key,
            // The files of `tls:` may appear later, without a change of this file. The lane reports them and tries
            // again.
            BuildError::Client(_) => continue,
        };
        let place = &follow(node, key).place;
        problems.push(Problem::at(place, &format!("sinks[{index}]"), Severity::Error, error.to_string()));
    }
}

/// Returns the node at a dotted key. The parts may have dots themselves, as in `options.sasl.password`.
pub(super) fn follow<'a>(node: &'a Node, key: &str) -> &'a Node {
    if let Some(inner) = node.get(key) {
        return inner;
    }
    let split = key.split_once('.').and_then(|(first, rest)| Some((node.get(first)?, rest)));
    split.map_or(node, |(inner, rest)| follow(inner, rest))
}
