//! What public content makes of the console's own lines (`content: integration` of `syslog`): conditions and fields of
//! its rules, as far as their texts are published. docs/sinks/syslog.md says the same to users.
//!
//! Sources: kboykov/wazuh-sentinelone (rules of 2026), ExabeamLabs/Content-Library-CIM2 (parsers of 2026-06), Sumo
//! Logic's parsers *SentinelOne CEF* and *SentinelOne Syslog* with the mapper *Syslog Custom Parser*, UTMStack v11.

use std::collections::BTreeMap;

use regex::Regex;
use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::syslog::{Behaviour, SyslogReceiver};

/// A line with its keys.
struct Line {
    text: String,
    /// From CEF:2 alone, where nothing is escaped.
    keys: BTreeMap<String, String>,
}

impl Line {
    fn of(text: &str) -> Self {
        let parts = text.split('|').skip(3).filter_map(|part| part.split_once('='));
        let keys = parts.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { text: text.to_owned(), keys }
    }

    fn is(&self, key: &str, values: &[&str]) -> bool {
        self.keys.get(key).is_some_and(|value| values.iter().any(|wanted| value.eq_ignore_ascii_case(wanted)))
    }
}

/// A rule of Wazuh: its id; the key that it compares; the values that it takes; the keys that its alert shows.
type Rule = (u32, &'static str, &'static [&'static str], &'static [&'static str]);

const TYPE: &str = "activityType";
const EVENT: &[&str] = &["eventDesc"];
const FILE: &[&str] = &["sourceHostName", "fileName"];
const HOST: &[&str] = &["sourceHostName", "eventDesc"];
const ACTOR: &[&str] = &["suser", "eventDesc"];

/// All rules but those of confidence and status together, which are below.
const WAZUH: [Rule; 31] = [
    (100_501, "vendor", &["SentinelOne"], EVENT),
    (100_510, "eventSeverity", &["1", "2", "3"], EVENT),
    (100_511, "eventSeverity", &["4", "5", "6"], EVENT),
    (100_512, "eventSeverity", &["7", "8"], EVENT),
    (100_513, "eventSeverity", &["9", "10"], EVENT),
    (100_520, TYPE, &["19"], FILE),
    (100_521, TYPE, &["4003"], FILE),
    (100_522, TYPE, &["18", "20"], FILE),
    (100_523, TYPE, &["2006", "2007", "2008", "2009", "2010"], HOST),
    (100_524, TYPE, &["2001", "2002", "2003", "2004", "2005"], HOST),
    (100_525, TYPE, &["29", "34", "4001", "4008", "4009", "4011"], HOST),
    (100_526, TYPE, &["21", "28", "4002"], HOST),
    (100_530, TYPE, &["5125"], &["sourceHostName", "endpointDeviceControlDeviceName"]),
    (
        100_531,
        "endpointDeviceControlEventType",
        &["blocked", "configured-read-only"],
        &["sourceHostName", "endpointDeviceControlDeviceName"],
    ),
    (100_532, TYPE, &["5126"], &["sourceHostName", "endpointDeviceControlDeviceName"]),
    (100_533, TYPE, &["5232"], &["sourceHostName", "firewallNotificationRuleName"]),
    (100_540, TYPE, &["3200", "3201"], &["sourceHostName"]),
    (100_541, TYPE, &["3202", "3203", "3204", "3400"], &["sourceHostName", "remoteShellEventReason"]),
    (100_550, TYPE, &["47", "51", "52", "53", "54", "55", "61", "65", "90", "91", "92", "120"], HOST),
    (100_551, TYPE, &["17", "43", "48"], HOST),
    (100_560, "cat", &["ADMINISTRATIVE", "WHITELISTBLACKLIST"], ACTOR),
    (100_561, TYPE, &["3006", "3007", "3008", "3009", "3010", "3011"], ACTOR),
    (100_562, TYPE, &["305", "306", "4004", "4005"], EVENT),
    (100_570, TYPE, &["3505"], &["totalNewDevices", "unsecured"]),
    (100_580, TYPE, &["22000", "22003", "22006", "22051", "22053", "22071"], EVENT),
    (100_581, TYPE, &["22001", "22002", "22004", "22005", "22052", "22054", "22072", "22073"], EVENT),
    (100_590, TYPE, &["18000", "18001", "18002"], EVENT),
    // The keys that its decoders read most.
    (0, TYPE, &["19"], &["threatConfidenceLevel", "threatMitigationStatus", "threatClassification", "fileHash"]),
    (0, TYPE, &["19"], &["threatDetectingEngine", "threatClassifier", "threatStoryline", "fileHashSha256"]),
    (0, TYPE, &["19"], &["sourceAgentUuid", "sourceIpAddresses", "sourceUserName", "threatProcessUser"]),
    (0, TYPE, &["27"], &["suser", "ip", "cat", "activityID", "accountName", "notificationScope"]),
];

/// Parsers of Exabeam by what a line has: the texts, and what they take from it.
const EXABEAM: [(&str, &[&str], &[&str]); 11] = [
    ("activity-success-mgmt", &["accountName"], &[r"\saccountName=[^=]+? \w+=", r"activityType=\d+"]),
    (
        "alert-trigger-success-active",
        &["|New active threat"],
        &[r"\smachine\s[\w\-.]+\|", r"\d\d:\d\d:\d\d,\d{1,5}(\s+\S+){2}\s+CEF:"],
    ),
    ("alert-trigger-success-suspicious", &["|New Suspicious threat detected"], &[r"\smachine\s[\w\-.]+\|"]),
    ("app-login-success", &["|SentinelOne - New Console Login Activity"], &[r"\srt=#arcsightDate\("]),
    ("app-logout-success", &["|SentinelOne - New Console Logout Activity"], &[r"\srt=#arcsightDate\("]),
    ("app-login-failedconsole", &["|SentinelOne - Failed Console Login Activity"], &[r"\srt=#arcsightDate\("]),
    ("user-modified", &["|Administrative information - User Modified|"], &[r"[|\s]suser=[^=]+? \w+="]),
    ("agent-enabled", &["|Agent enabled - Machine "], &[r"Machine [\w\-.]+\|"]),
    ("agent-disabled", &["|Agent disabled - Machine "], &[r"Machine [\w\-.]+\|"]),
    ("user-added", &["|Administrative information - New user "], &[r"\sduser=[^=]+? \w+="]),
    ("user-deleted", &["|Administrative information - User '"], &[r"' Deleted\|"]),
];

/// An activity of a type that the emulator makes seldom or never, in the console's form.
fn activity(activity_type: u32, data: Value) -> Value {
    let mut all = json!({ "computerName": "WS-00047", "username": "Jane Doe", "byUser": "Jo Boss" });
    all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    json!({
        "id": (2_254_947_309_384_900_000_u64 + u64::from(activity_type)).to_string(), "activityType": activity_type,
        "primaryDescription": "What happened to WS-00047.", "secondaryDescription": null, "data": all,
        "agentId": "225494730938493999", "createdAt": "2026-01-01T00:00:00.000000Z",
        "updatedAt": "2026-01-01T00:00:00.000000Z",
    })
}

fn rare() -> Vec<Value> {
    let device = |event: &str| json!({ "eventType": event, "deviceName": "Cruzer Blade", "interface": "USB" });
    let firewall = json!({ "ruleName": "No telnet", "action": "Block", "localHost": "10.0.0.7" });
    let reason = json!({ "reason": "idle", "sessionId": "7" });
    let network = json!({ "totalNewDevices": 4, "unsecured": 3 });
    let threat = json!({
        "fileDisplayName": "a.exe", "threatClassification": "Trojan", "confidenceLevel": "malicious",
        "fileContentHash": "3395856ce81f2b7382dee72602f798b642f14140",
    });
    let given = [
        (5125, device("blocked")),
        (5126, device("connected")),
        (5232, firewall),
        (3202, reason),
        (3505, network),
        (18, threat.clone()),
        (19, threat.clone()),
        (4003, threat),
    ];
    let empty = [24, 25, 128, 120, 133, 33, 27, 23, 17, 53, 28, 29, 2001, 2006, 305, 3006, 3200, 18000, 22000, 22001];
    let given = given.into_iter().chain(empty.map(|activity_type| (activity_type, json!({}))));
    given.map(|(activity_type, data)| activity(activity_type, data)).collect()
}

/// The lines of a console with some of everything, in both dialects.
async fn lines(include: Value) -> (Vec<Line>, Vec<Line>) {
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.agents) = (1_500, 60, 40)).await;
    let threat = harness.console().ids(Kind::Threats)[0].to_string();
    let an_hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
    for mut record in rare() {
        if record["activityType"] == 19 {
            record["threatId"] = json!(threat);
        }
        record["createdAt"] = json!(an_hour_ago);
        harness.console().insert(Kind::Activities, record.to_string().as_bytes()).unwrap();
    }
    let zero = SyslogReceiver::start(Behaviour::Reads).await;
    let two = SyslogReceiver::start(Behaviour::Reads).await;
    let sink = |name: &str, receiver: &SyslogReceiver| {
        json!({
            "name": name, "type": "syslog", "address": format!("tcp://{}", receiver.address()),
            "content": "integration", "payload": name,
        })
    };
    harness.put_changed(
        "acme",
        json!({
            "streams": { "activities": { "since": "60d", "include": include } }, "transform": { "labels": {} },
            "sinks": [sink("cef", &zero), sink("cef2", &two)],
        }),
    );
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let read = |receiver: &SyslogReceiver| receiver.messages().iter().map(|line| Line::of(line)).collect::<Vec<_>>();
    let (zero, two) = (read(&zero), read(&two));
    assert!(zero.len() > 1_400 && two.len() == zero.len(), "{} {}", zero.len(), two.len());
    (zero, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_content_takes_what_the_page_promises() {
    let (zero, two) = lines(json!(["threat"])).await;

    for (rule, key, values, shown) in WAZUH {
        let taken = two.iter().filter(|line| line.is(key, values));
        let complete = taken.filter(|line| shown.iter().all(|key| line.keys.contains_key(*key)));
        assert!(complete.count() > 0, "Wazuh's rule {rule}: {key} {values:?} with {shown:?}");
    }
    for (rule, confidence) in [(100_527, "malicious"), (100_528, "suspicious")] {
        let is_taken = |line: &&Line| {
            line.is("threatConfidenceLevel", &[confidence]) && line.is("threatMitigationStatus", &["not_mitigated"])
        };
        assert!(two.iter().filter(is_taken).count() > 0, "Wazuh's rule {rule}");
    }

    for (parser, texts, fields) in EXABEAM {
        let common = ["CEF:", "|SentinelOne|Mgmt|", "activityType=", "notificationScope="];
        let has_all = |line: &&Line| common.iter().chain(texts).all(|text| line.text.contains(text));
        let taken: Vec<&Line> = zero.iter().filter(has_all).collect();
        assert!(!taken.is_empty(), "Exabeam's parser {parser}");
        for field in fields {
            let field = Regex::new(field).unwrap();
            assert!(taken.iter().any(|line| field.is_match(&line.text)), "Exabeam's parser {parser}: {field}");
        }
    }
    let of_cef2 = ["|threatClassification=", "|threatDetectingEngine=", "|threatClassifier="];
    let taken = |line: &&Line| of_cef2.iter().all(|key| line.text.contains(key));
    assert!(two.iter().filter(taken).count() > 5, "Exabeam's parser of CEF:2");

    let preamble = Regex::new(r"^<\d+>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} sentinel - CEF:2\|").unwrap();
    assert!(two.iter().all(|line| preamble.is_match(&line.text)), "Sumo Logic's parser of CEF:2");
    let address = Regex::new(r"sourceIpAddresses=\['\d+\.\d+\.\d+\.\d+', '[0-9a-f:]+'").unwrap();
    assert!(two.iter().any(|line| address.is_match(&line.text)), "the address of Sumo Logic's mapper");
    let mapped = [" suser=", " fileHash=", " threatClassification=", " threatMitigationStatus=", " rt="];
    for key in mapped {
        assert!(zero.iter().any(|line| line.text.contains(key)), "Sumo Logic's mapper: {key}");
    }

    let time = Regex::new(r"rt=#arcsightDate\(\w{3}, \d\d \w{3} \d{4}, \d\d:\d\d:\d\d UTC\)").unwrap();
    let of_system = |line: &&Line| line.text.contains("cat=SystemEvent") && line.text.contains("suser=");
    assert!(zero.iter().filter(of_system).any(|line| time.is_match(&line.text)), "UTMStack's user and time");
}

/// Exabeam's parser of CEF:2 needs the threat. It is not asked for unless the file says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_have_no_engine_without_the_threat() {
    let (_, two) = lines(json!([])).await;
    assert!(two.iter().all(|line| !line.keys.contains_key("threatDetectingEngine")));
}
