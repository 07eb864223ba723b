#![allow(clippy::unwrap_used)]
use s1_forwarder_emulator::{Console, Kind, Setup};
use s1_forwarder_mapping::{Mapper, MappingSettings, Origin, Schema};
use s1_forwarder_record::{Level, Scope, Stream};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::Arc;

const STREAMS: [(Stream, Kind); 7] = [
    (Stream::Threats, Kind::Threats),
    (Stream::Activities, Kind::Activities),
    (Stream::Agents, Kind::Agents),
    (Stream::Alerts, Kind::Alerts),
    (Stream::Groups, Kind::Groups),
    (Stream::UnifiedAlerts, Kind::UnifiedAlerts),
    (Stream::Vulnerabilities, Kind::Vulnerabilities),
];

fn placeholder(random: &mut fastrand::Rng) -> Value {
    let choices = [
        json!("N/A"),
        json!("unknown"),
        json!("None"),
        json!("-1"),
        json!("0"),
        json!(0),
        json!(true),
        json!("TRUE"),
        json!({"a": 1}),
        json!(["x"]),
        json!("1970-01-01T00:00:00Z"),
        json!("2024-05-01T10:00:00+02:00"),
        json!("2024-05-01T10:00:00Z"),
        json!("\\\\Unknown device\\Unknown file"),
        json!("0.0.0.0"),
        json!("::1"),
        json!("FE80:0:0:0:0:0:0:1"),
        json!("10.1.2.3"),
        json!("::ffff:10.0.0.1"),
        json!("WORKGROUP"),
        json!("Windows"),
        json!("ACME\\bob"),
        json!("bob@acme.example"),
        json!("Jane Doe"),
        json!(""),
        Value::Null,
        json!("Lateral Movement 192.0.2.3 ACME\\jane (x)"),
        json!("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        json!("resolved"),
        json!("removed"),
        json!("mitigated"),
        json!("static"),
        json!("dynamic"),
    ];
    choices[random.usize(..choices.len())].clone()
}

fn varied(value: &Value, keep: u8, random: &mut fastrand::Rng) -> Value {
    match value {
        Value::Object(entries) => {
            let mut kept = Map::new();
            for (key, value) in entries {
                if random.u8(..10) < keep {
                    kept.insert(key.clone(), varied(value, keep, random));
                }
            }
            Value::Object(kept)
        }
        Value::Array(elements) => elements.iter().map(|element| varied(element, keep, random)).collect(),
        _ if random.u8(..12) == 0 => placeholder(random),
        scalar => scalar.clone(),
    }
}

fn complete(stream: Stream) -> Vec<Value> {
    let probes: Value = serde_json::from_str(include_str!("data/probes.json")).unwrap();
    let Some(kinds) = probes[stream.name()].as_array() else { return vec![probes[stream.name()].clone()] };
    let (hits, others): (Vec<&Value>, Vec<&Value>) =
        kinds.iter().map(|kind| &kind["record"]).partition(|record| record["activityType"] == 3608);
    let mut complete = others[0].clone();
    for (key, value) in others.iter().flat_map(|record| record["data"].as_object().unwrap()) {
        complete["data"][key] = value.clone();
    }
    vec![complete, hits[0].clone()]
}

#[test]
fn dump() {
    let path = std::env::var("ORACLE").unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let console = |older| {
        Console::new(&Setup {
            activities: 3000,
            threats: 800,
            agents: 300,
            alerts: 600,
            unified_alerts: 600,
            vulnerabilities: 300,
            older,
            ..Setup::new(1_767_225_600_000_000)
        })
    };
    let consoles = [console(false), console(true)];
    let table = include_str!("../../emulator/src/activity_types.csv");
    let mut numbers: Vec<u32> = table.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect();
    numbers.extend(
        std::fs::read_to_string("src/data/activity-types.csv")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split(',').next()?.parse::<u32>().ok()),
    );
    numbers.extend([3784, 3608, 99_998, 99_999]);
    let event_types: Vec<&str> = "BEHAVIORALINDICATORS DNS FILECREATION FILEMODIFICATION LOGIN LOGOUT WINLOGONATTEMPT PROCESSCREATION PROCESSEXIT REGVALUEMODIFIED REGKEYCREATE TCPV4 TCPV6 URL MODULELOAD".split_whitespace().collect();
    for (stream, kind) in STREAMS {
        let mut records: Vec<String> = Vec::new();
        for console in &consoles {
            records.extend(
                console.ids(kind).into_iter().map(|id| String::from_utf8(console.record(kind, id).unwrap()).unwrap()),
            );
        }
        let mut random = fastrand::Rng::with_seed(7);
        let complete = complete(stream);
        let count = match stream {
            Stream::Activities => 12000,
            Stream::Groups => 500,
            _ => 4000,
        };
        for index in 0..count {
            let number = numbers[index % numbers.len()];
            let is_hit = matches!(number, 3608 | 3784 | 99_998);
            let keep = [4, 7, 9][index % 3];
            let mut record = varied(&complete[usize::from(is_hit) % complete.len()], keep, &mut random);
            let event_type = json!(event_types[random.usize(..event_types.len())]);
            if stream == Stream::Activities {
                if random.u8(..20) > 0 {
                    record["activityType"] = json!(number);
                }
                if record["data"].is_object() && is_hit {
                    record["data"]["dveventtype"] = event_type;
                }
            } else if stream == Stream::Alerts && record["alertInfo"].is_object() {
                record["alertInfo"]["eventType"] = event_type;
            }
            records.push(record.to_string());
        }
        let singular = match stream {
            Stream::Vulnerabilities => "application_risk",
            _ => stream.singular(),
        };
        if let Ok(text) = std::fs::read_to_string(format!("/work/shared/fixtures/elastic/{singular}/input.ndjson")) {
            records.extend(text.lines().map(str::to_owned));
        }
        let enrichment = json!({"notes": [{"id": "1", "text": "t", "creator": "Jane", "createdAt": "2026-01-01T00:00:00Z"}], "notesCount": 1,
            "timeline": [{"id": "5", "activityType": 19, "primaryDescription": "p", "secondaryDescription": "s", "createdAt": "2026-01-01T00:00:00Z", "hash": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "agentId": "1"}], "timelineCount": 3}).to_string();
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let settings = MappingSettings { schema, ..MappingSettings::default() };
            let mut mapper = Mapper::new(&settings, Origin::of("p", "console.example.com", stream));
            for (index, record) in records.iter().enumerate() {
                if stream == Stream::Vulnerabilities && index % 3 == 0 {
                    let level = [Level::Account, Level::Site, Level::Group][index / 3 % 3];
                    mapper.set_scope(Some(Arc::new(Scope { level, id: "77".into(), name: Some("sc".into()) })));
                }
                let mut out = Vec::new();
                let fetched =
                    if stream == Stream::Threats && index % 3 == 0 { Some(enrichment.as_bytes()) } else { None };
                let result = mapper.map_record(record.as_bytes(), None, fetched, &mut out);
                let mut event = String::from_utf8(out).unwrap();
                for name in ["\"processed_time\":", "\"time\":"] {
                    if let Some(at) = event.find(name) {
                        let start = at + name.len();
                        let end = start + event[start..].bytes().take_while(u8::is_ascii_digit).count();
                        let value: u64 = event[start..end].parse().unwrap_or(0);
                        if value > 1_795_000_000_000 {
                            event.replace_range(start..end, "0");
                        }
                    }
                }
                let name = "\"@timestamp\":\"2026-11-";
                if let Some(at) = event.find(name) {
                    let start = at + name.len();
                    if &event[start..start + 2] >= "27" {
                        let end = start + event[start..].find('"').unwrap();
                        event.replace_range(start..end, "0");
                    }
                }
                writeln!(file, "{}\t{}\t{:?}\t{}\t{}", schema.name(), stream.name(), result, record, event).unwrap();
            }
        }
    }
}
