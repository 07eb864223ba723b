//! What a record costs grows no faster than the record: no console stops a worker with a record that is made for it.
//!
//! Instructions are counted, as `just bench-cost` does, so other load changes nothing. One process under valgrind does
//! all the work, and callgrind writes a file for each part of it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use s1_forwarder::pipeline::{FileOptions, load};
use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Labeler, Labels, Schema};
use tokio::time::{Instant, sleep};

use crate::transform::{settings, transformer};

/// What a record may cost that is four times as long, as a multiple of the shorter one.
const MAX_GROWTH: f64 = 5.0;
/// All parts take less than a minute.
const MAX_TIME: Duration = Duration::from_mins(5);

/// Something of which there may be any number in a record.
struct Case {
    name: &'static str,
    stream: Stream,
    /// A record with this number of it.
    record: fn(usize) -> String,
    count: usize,
    steps: Steps,
}

/// What is done with the record.
#[derive(Debug, Clone, Copy)]
enum Steps {
    /// It is mapped to each schema.
    Map,
    /// Then values are redacted everywhere.
    Redact,
    /// It is labelled, with `count` labels.
    Label,
    /// `count` of it are labelled, each with a site of its own.
    LabelEach,
    /// It is a pipeline file, which is checked.
    Check,
}

type Work = Box<dyn FnMut()>;

/// What is counted of a case.
fn work_of(case: &Case, count: usize) -> Work {
    let record = (case.record)(count);
    let redact = "keep_original: true\nredact: [{ path: data.username, with: replace, everywhere: true }, \
                  { path: data.x.y, with: replace }, alertInfo.x]";
    let map = |settings_of_case: &str| -> Work {
        let settings = settings(settings_of_case);
        let mut transformers = [Schema::Ecs, Schema::Ocsf].map(|schema| transformer(&settings, schema, case.stream));
        let record = record.clone();
        Box::new(move || {
            for transformer in &mut transformers {
                let mut event = Vec::new();
                let _ = transformer.map(record.as_bytes(), &mut event);
                assert!(!event.is_empty());
            }
        })
    };
    let labeler = |labels: usize| {
        let label = |number| (format!("label{number}"), "{site.name} of {account.name}, {site.id}".to_owned());
        let labels: Labels = (0..labels).map(label).collect();
        Labeler::new(&labels, case.stream).unwrap()
    };
    match case.steps {
        Steps::Map => map("keep_original: true"),
        Steps::Redact => map(redact),
        Steps::Label => {
            let labeler = labeler(count);
            Box::new(move || assert!(!labeler.label(record.as_bytes(), None).labels.is_empty()))
        }
        Steps::LabelEach => {
            let labeler = labeler(20);
            let records: Vec<_> = (0..count).map(|site| record.replace("SITE", &format!("site {site}"))).collect();
            Box::new(move || {
                for record in &records {
                    assert!(!labeler.label(record.as_bytes(), None).labels.is_empty());
                }
            })
        }
        Steps::Check => {
            let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
            std::fs::write(&file, record).unwrap();
            Box::new(move || {
                let loaded = load(&[file.path().to_owned()], &FileOptions::default());
                assert_eq!(loaded.files.len(), 1);
            })
        }
    }
}

/// `part` for each number, with commas.
fn each(count: usize, part: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for number in 0..count {
        let _ = write!(all, "{}{}", if number > 0 { "," } else { "" }, part(number));
    }
    all
}

fn activity(data: &str) -> String {
    format!(
        r#"{{"id":"1","activityType":27,"createdAt":"2026-01-31T00:00:00Z","siteName":"s","accountName":"a","data":{{{data}}}}}"#
    )
}

/// A pipeline file with these labels.
fn file(labels: &str) -> String {
    format!(
        "name: acme\nconsole: {{ url: https://console.example, token: {{ env: T }} }}\nstreams: {{ activities: {{}} }}\n\
         transform: {{ labels: {{ {labels} }} }}\nsinks: [{{ type: stdout }}]\n"
    )
}

fn cases() -> Vec<Case> {
    use Steps::{Check, Label, LabelEach, Map, Redact};
    use Stream::{Activities, Agents, Alerts, Threats};
    let case = |name, stream, count, steps, record: fn(usize) -> String| Case { name, stream, record, count, steps };
    vec![
        case("equal keys", Activities, 300, Map, |count| activity(&each(count, |_| r#""x":1"#.to_owned()))),
        case("equal keys of the record", Alerts, 300, Map, |count| {
            format!("{{{}}}", each(count, |number| format!(r#""newKey":{number}"#)))
        }),
        case("keys that are equal to numbered ones", Activities, 300, Map, |count| {
            activity(&each(count, |number| match number % 3 {
                0 => format!(r#""x_{number}":1"#),
                1 => r#""x_2":1"#.to_owned(),
                _ => r#""x":1"#.to_owned(),
            }))
        }),
        case("different keys", Alerts, 300, Map, |count| {
            format!(r#"{{"alertInfo":{{{}}}}}"#, each(count, |number| format!(r#""key{number}":{number}"#)))
        }),
        case("values of another shape", Alerts, 300, Map, |count| {
            format!(r#"{{"alertInfo":{{{}}}}}"#, each(count, |number| format!(r#""key{number}":{{"a":[{number}]}}"#)))
        }),
        case("levels", Activities, 30, Map, |count| {
            activity(&each(count, |number| format!(r#""x{number}":{}1{}"#, r#"{"a":["#.repeat(40), "]}".repeat(40))))
        }),
        case("a long text", Activities, 2_000, Map, |count| {
            activity(&format!(r#""username":"{}","x":"{}""#, r"a\\b@é ".repeat(count), r"C:\\x/\u0041".repeat(count)))
        }),
        case("addresses", Agents, 300, Map, |count| {
            let address = |number: usize| format!(r#""10.0.{}.{}""#, number / 250, number % 250);
            format!(r#"{{"id":"1","networkInterfaces":[{{"inet":[{}]}}]}}"#, each(count, address))
        }),
        case("techniques, engines and labels of a container", Threats, 200, Map, |count| {
            let technique = |number| format!(r#"{{"name":"technique {number}","link":"https://x.example/{number}"}}"#);
            let engine = |number| format!(r#"{{"key":"engine_{number}","title":"Engine {number}"}}"#);
            format!(
                r#"{{"id":"1","indicators":[{{"tactics":[{{"name":"t","techniques":[{}]}}]}}],
                    "threatInfo":{{"detectionEngines":[{}],"engines":[{}]}},
                    "containerInfo":{{"name":"c","labels":[{}]}},"kubernetesInfo":{{"pod":"p","podLabels":[{}]}}}}"#,
                each(count, technique),
                each(count, engine),
                each(count, |number| format!(r#""Engine {number}""#)),
                each(count, |number| format!(r#""label{number}=x""#)),
                each(count, |number| format!(r#""label{number}=x""#)),
            )
        }),
        case("answers of a name server", Alerts, 300, Map, |count| {
            let answers: Vec<_> = (0..count).map(|number| format!("type: 5 h{number}.example")).collect();
            format!(r#"{{"alertInfo":{{"dnsRequest":"x.example","dnsResponse":"{}"}}}}"#, answers.join(";"))
        }),
        case("damage", Activities, 500, Map, |count| {
            activity(&each(count, |number| format!("\"x{number}\":[NaN,\"\\ud800 \u{1} \\x\"]")))
        }),
        case("secrets in each other", Activities, 1_000, Map, |count| {
            format!(r#"{{"id":"1",{}"#, r#""licenseKey":[{"#.repeat(count))
        }),
        case("names that are redacted, as keys", Activities, 100, Redact, |count| {
            activity(&format!(
                r#""username":[{}],"x":{{{}}}"#,
                each(count, |number| format!(r#""user{number}""#)),
                each(count, |number| format!(r#""user{number}":1"#)),
            ))
        }),
        case("keys that are equal to those of redacted names", Activities, 100, Redact, |count| {
            activity(&format!(
                r#""username":[{}],"x":{{{},{}}}"#,
                each(count, |number| format!(r#""user{number}""#)),
                each(count, |number| format!(r#""user{number}":1"#)),
                each(count, |number| format!(r#""[redacted] {number}":1"#)),
            ))
        }),
        case("names that are redacted, in a text", Activities, 60, Redact, |count| {
            let text: String = (0..count * 2).map(|number| format!("user{number} and acme%5Cuser{number}; ")).collect();
            activity(&format!(r#""username":[{}],"x":"{text}""#, each(count, |number| format!(r#""user{number}""#))))
        }),
        case("a name that begins like each place of a text", Activities, 500, Redact, |count| {
            activity(&format!(r#""username":"{}x","x":"{}""#, "-".repeat(count), "-".repeat(count * 2)))
        }),
        case("names that begin alike", Activities, 6_000, Redact, |count| {
            let names = each(count.isqrt(), |number| format!(r#""{}-a""#, "-aa".repeat(number)));
            activity(&format!(r#""username":[{names}],"x":"{}""#, "-aa".repeat(count / 16)))
        }),
        case("paths in values of another shape", Alerts, 200, Redact, |count| {
            format!(r#"{{"alertInfo":{{{}}}}}"#, each(count, |number| format!(r#""key{number}":{{"x":{number}}}"#)))
        }),
        case("labels", Activities, 200, Label, |_| activity("")),
        case("labels of a long record", Activities, 1, Label, |count| {
            activity(&each(count * 300, |number| format!(r#""x{number}":1"#)))
        }),
        case("records of different sites", Activities, 700, LabelEach, |_| {
            r#"{"id":"1","siteName":"SITE","siteId":"1","accountName":"a"}"#.to_owned()
        }),
        case("labels of a file", Activities, 1_000, Check, |count| {
            file(&each(count, |number| format!("label{number}: '{{site.name}} {number}'")))
        }),
        case("labels of a file, with errors", Activities, 1_000, Check, |count| {
            file(&each(count, |number| match number % 3 {
                0 => format!("label{number}: '{{nothing}}'"),
                1 => format!("'label {number}': x"),
                _ => format!("label{number}: x, label{number}.inner: x"),
            }))
        }),
        case("more than the bounds allow", Activities, 11_000, Map, |count| {
            activity(&each(count, |_| r#""y":1"#.to_owned()))
        }),
    ]
}

/// Callgrind writes what it has counted when this is called, and begins at zero.
#[inline(never)]
fn a_part_begins(part: usize) {
    std::hint::black_box(part);
}

/// What is counted: each case with a record and one that is four times as long.
#[test]
#[ignore = "the other test runs it under valgrind"]
fn work() {
    let cases = cases();
    let mut parts: Vec<_> =
        cases.iter().flat_map(|case| [case.count, 4 * case.count].map(|count| work_of(case, count))).collect();
    // What is made once is no record's.
    cases.iter().for_each(|case| work_of(case, 5)());
    for (part, work) in parts.iter_mut().enumerate() {
        a_part_begins(part);
        work();
    }
    a_part_begins(parts.len());
}

#[tokio::test]
async fn a_record_four_times_as_long_costs_at_most_five_times_as_much() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "valgrind is missing");
        eprintln!("valgrind is missing: nothing is counted");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("cost");
    let mut program = Command::new("valgrind");
    program.args(["--tool=callgrind", "--dump-before=*a_part_begins*"]);
    program.arg(format!("--callgrind-out-file={}", files.display())).arg(std::env::current_exe().unwrap());
    program.args(["growth::work", "--exact", "--ignored", "--test-threads=1"]);
    let mut running = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started_at = Instant::now();
    while running.try_wait().unwrap().is_none() {
        // What is cubic does not end.
        if started_at.elapsed() > MAX_TIME {
            running.kill().unwrap();
            running.wait().unwrap();
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let mut dear = Vec::new();
    for (index, case) in cases().iter().enumerate() {
        // The first file is of what was before the first part.
        let counts = [0, 1].map(|part| instructions(&files, 2 * index + part + 2));
        let [Some(short), Some(long)] = counts else {
            dear.push(format!("{}: did not end", case.name));
            break;
        };
        let ratio = long / short;
        println!("{ratio:>6.2} times {short:>12.0} instructions: {}", case.name);
        if ratio > MAX_GROWTH {
            dear.push(format!("{}: {ratio:.2}", case.name));
        }
    }
    assert!(dear.is_empty(), "a record four times as long costs more than {MAX_GROWTH} times as much: {dear:?}");
}

/// What callgrind has counted in a part; `None` if it did not end.
fn instructions(files: &Path, part: usize) -> Option<f64> {
    let text = std::fs::read_to_string(files.with_extension(part.to_string())).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")))?;
    total.trim().parse().ok()
}
