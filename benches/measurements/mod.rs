//! The scenarios of the table, and the program that runs each in a process of its own.

mod chart;
mod choices;
mod hour;
mod kafka;
mod kernel;
mod many;
mod parts;
mod peers;
mod reload;
mod single;
mod tls;
mod whole;
mod world;

use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// One line of the table.
struct Row {
    goal: String,
    wanted: String,
    measured: String,
    /// Whether the goal is met; `None` if it is only reported.
    met: Option<bool>,
    figures: Value,
}

impl Row {
    /// A goal: the least or the most that is wanted.
    fn goal(goal: &str, wanted: &str, measured: String, met: bool, figures: Value) -> Self {
        Self { goal: goal.to_owned(), wanted: wanted.to_owned(), measured, met: Some(met), figures }
    }

    /// A figure in addition to the goals.
    fn report(goal: &str, measured: String, figures: Value) -> Self {
        Self { goal: goal.to_owned(), wanted: "reported".to_owned(), measured, met: None, figures }
    }
}

/// How much load a scenario takes.
#[derive(Clone, Copy)]
struct Size {
    light: bool,
}

impl Size {
    fn of(self, full: usize) -> usize {
        if self.light { full / 10 } else { full }
    }
}

type Scenario = (&'static str, fn(Size) -> Vec<Row>);

const SCENARIOS: &[Scenario] = &[
    ("mapping", single::mapping),
    ("whole", whole::whole),
    ("peers", peers::bento),
    ("overlap", single::overlap),
    ("idle", many::idle),
    ("hour", hour::hour),
    ("busy", many::busy),
    ("start", many::start),
    ("reload", reload::reload),
    ("backfill", whole::backfill),
    ("syscalls", whole::syscalls),
    ("tls", tls::hosts),
    ("kafka", kafka::next_to_librdkafka),
    ("pipelines", chart::pipelines),
    ("records", chart::records),
    ("batches", choices::batches),
    ("versions", choices::versions),
];

pub fn run() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    // What this program is when it runs itself.
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["null-sink", behaviour] => return world::null_sink((*behaviour).to_owned()),
        ["scenario", name] => return scenario(name, Size { light: false }),
        ["scenario", name, "--light"] => return scenario(name, Size { light: true }),
        ["reload", files, changes] => return reload::work(files.parse().unwrap(), changes.parse().unwrap()),
        ["tls-consoles"] => return tls::consoles(),
        ["tls-front", version, servers @ ..] => return tls::front(version, servers),
        ["brokers"] => return kafka::brokers(),
        ["producer", brokers, events] => return kafka::produce(brokers, events.parse().unwrap()),
        _ => {}
    }
    let is_named = |word: &str| words.iter().any(|given| given == word);
    let named = words.iter().any(|word| !word.starts_with("--"));
    let size = Size { light: is_named("--light") };
    println!("{}\n", machine());
    println!("| | goal | measured | |\n| --- | --- | --- | --- |");
    let mut rows = Vec::new();
    for (name, _) in SCENARIOS {
        if named && !is_named(name) {
            continue;
        }
        for row in apart(name, size) {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let verdict = row["met"].as_bool().map_or("", |met| if met { "met" } else { "**missed**" });
            println!("| {} | {} | {} | {verdict} |", text("goal"), text("wanted"), text("measured"));
            rows.push(row);
        }
    }
    if is_named("--save") {
        save(&rows, size);
    }
}

/// The rows of a scenario that runs in a process of its own: the kernel counts what a process held when it started
/// another among the peak of that one's memory.
fn apart(name: &str, size: Size) -> Vec<Value> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["scenario", name]).args(size.light.then_some("--light"));
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `scenario` does as a process: its rows as lines of JSON.
fn scenario(name: &str, size: Size) {
    let (name, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name).unwrap();
    for Row { goal, wanted, measured, met, figures } in scenario(size) {
        let row = json!({ "scenario": name, "goal": goal, "wanted": wanted, "measured": measured, "met": met, "figures": figures });
        println!("{row}");
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let memory = read("/proc/meminfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20;
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{model}, {cores} cores, {memory} GB, Linux; load when it began: {load}; {}",
        jiff::Timestamp::now().strftime("%F")
    )
}

fn save(rows: &[Value], size: Size) {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");
    std::fs::create_dir_all(directory).unwrap();
    let path = format!("{directory}/{}.json", jiff::Timestamp::now().strftime("%F-%H%M"));
    let results = json!({ "machine": machine(), "light": size.light, "rows": rows });
    std::fs::write(&path, format!("{results:#}\n")).unwrap();
    println!("\nwritten to {path}");
}
