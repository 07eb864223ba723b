//! What Microsoft's SentinelOne solution for Sentinel makes of the rows that `azure_logs` sends with
//! `content: integration`: the conditions of its rules, hunting queries and workbook, over its function `SentinelOne`.
//! Source: Azure/Azure-Sentinel, Solutions/SentinelOne, function 1.0.1.

use std::sync::LazyLock;

use regex::Regex;
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{context, raw_records_of, settings};
use crate::support::double::{Contract, Double, Received, Reply};
use crate::support::public_content::promises;

struct Service;

impl Contract for Service {
    fn answer(&mut self, request: &Received) -> Reply {
        if request.path.ends_with("/token") {
            return Reply::new(200, r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#);
        }
        Reply::new(204, "")
    }

    fn delivers(&self, request: &Received) -> bool {
        !request.path.ends_with("/token")
    }
}

/// A row of the activities' table, with `data` parsed as the function does.
struct Row {
    activity_type: f64,
    text: String,
    sub_status: Option<String>,
    data: Value,
}

type Column = fn(&Row) -> Option<String>;

fn found(text: &str, expression: &Regex) -> Option<String> {
    Some(expression.captures(text)?.get(1)?.as_str().to_owned())
}

fn member(row: &Row, name: &str) -> Option<String> {
    row.data[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"Address\s(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})").unwrap());
static RULE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"Custom Rule:\s(.*?)\sin Group").unwrap());
static HOST_NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"detected on\s(\S+)\.").unwrap());
static TRIGGER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"Alert created for\s+(.*?)\sfrom Custom").unwrap());

const ACCOUNT: Column = |row| member(row, "userName");
const COMPUTER: Column = |row| member(row, "computerName");
const RULE_NAME: Column = |row| member(row, "rulename");
const HASH: Column = |row| row.sub_status.clone();
const ADMINS_ADDRESS: Column = |row| found(&row.text, &ADDRESS);
const HIT: Column = |row| found(&row.text, &RULE);
const HIT_HOST: Column = |row| found(&row.text, &HOST_NAME);
const HIT_BY: Column = |row| found(&row.text, &TRIGGER);

/// Rules, hunting queries and tiles that light up: the type of activity and the columns that they take from it.
const LIT: [(&str, u32, &[Column]); 21] = [
    ("Admin login from new location", 27, &[ACCOUNT, ADMINS_ADDRESS]),
    ("Alert from custom rule", 3608, &[HIT_HOST]),
    ("Blacklist hash deleted", 3020, &[ACCOUNT, HASH]),
    ("Exclusion added", 3001, &[ACCOUNT]),
    ("Multiple alerts on host", 3608, &[HIT_HOST]),
    ("New admin created", 23, &[ACCOUNT]),
    ("Rule deleted", 3602, &[ACCOUNT, RULE_NAME]),
    ("Rule disabled", 3603, &[ACCOUNT, RULE_NAME]),
    ("Same custom rule triggered on different hosts", 3608, &[HIT, HIT_HOST]),
    ("User viewed agent's passphrase", 64, &[ACCOUNT, COMPUTER]),
    ("Alert triggers", 3608, &[HIT_BY]),
    ("New rules", 3600, &[ACCOUNT, RULE_NAME]),
    ("Deleted rules", 3602, &[ACCOUNT, RULE_NAME]),
    ("Scanned hosts", 92, &[COMPUTER]),
    ("Sources by alert count", 3608, &[HIT_HOST]),
    ("Recent black hashes", 3002, &[HASH]),
    ("Events over time", 27, &[]),
    ("Admin Sources", 27, &[ADMINS_ADDRESS]),
    ("Top rules fired", 3608, &[HIT]),
    ("Hosts by alert count", 3608, &[HIT_HOST]),
    ("Latest alerts", 3608, &[HIT, HIT_HOST]),
];

/// What reads something that no row can have: a type that the function overwrites, a column that it does not have, or
/// a type of activity that no console has been seen to send.
const DARK: [&str; 9] = [
    "Agent not updated",
    "Agent status",
    "Hosts not scanned recently",
    "Users by alert count",
    "Agents by version",
    "SentinelOne Summary",
    "Admin activities",
    "Agent uninstalled from multiple hosts",
    "Uninstalled agents",
];

/// Activities of types that the emulator does not make, in the console's form.
fn rare() -> Vec<Value> {
    let hash = "3395856ce81f2b7382dee72602f798b642f14140";
    let user = json!({ "username": "Jane Doe", "fullScopeDetails": "Global", "scopeLevel": "Global" });
    let with = |more: Value| {
        let mut data = user.as_object().unwrap().clone();
        data.extend(more.as_object().unwrap().clone());
        Value::Object(data)
    };
    let of = |activity_type: u32, text: &str, secondary: Value, data: Value| {
        json!({
            "id": (2_254_947_309_384_900_000_u64 + u64::from(activity_type)).to_string(), "activityType": activity_type,
            "primaryDescription": text, "secondaryDescription": secondary, "data": data,
            "createdAt": "2026-01-01T00:00:00.000000Z", "updatedAt": "2026-01-01T00:00:00.000000Z",
        })
    };
    let rule = || with(json!({ "ruleName": "Run key changed", "ruleId": 1 }));
    vec![
        of(
            64,
            "The management user Jane Doe viewed the passphrase of WS-1.",
            Value::Null,
            with(json!({ "computerName": "WS-1" })),
        ),
        of(3002, "The management user Jane Doe added a blacklist hash.", json!(hash), with(json!({}))),
        of(3020, "The management user Jane Doe deleted a blacklist hash.", json!(hash), with(json!({}))),
        of(3602, "The management user Jane Doe deleted the Custom Rule: Run key changed.", Value::Null, rule()),
        of(3603, "The management user Jane Doe disabled the Custom Rule: Run key changed.", Value::Null, rule()),
    ]
}

/// The rows of the activities' table, as the service gets them.
async fn rows() -> Vec<Row> {
    let batch = raw_records_of(Stream::Activities, 1_700, &rare());
    let service = Double::start(Service).await;
    let keys = json!({
        "type": "azure_logs", "url": service.url(), "dcr_immutable_id": "dcr-1", "tenant_id": "t", "client_id": "c",
        "client_secret": "s", "authority": service.url(), "content": "integration",
    });
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) };
    let sink = settings(keys).build(&context).unwrap();
    // A request has at most 1 MB.
    for first in (0..batch.len()).step_by(500) {
        assert_eq!(sink.send(&batch.select(first..first + 500)).await.outcome, Outcome::Delivered);
    }
    let requests = service.deliveries();
    let rows = requests.iter().flat_map(|request| request.json().unwrap().as_array().unwrap().clone());
    let rows = rows.map(|row| Row {
        activity_type: row["activityType"].as_f64().unwrap(),
        text: row["primaryDescription"].as_str().unwrap_or_default().to_owned(),
        sub_status: row["secondaryDescription"].as_str().filter(|text| !text.is_empty()).map(str::to_owned),
        data: serde_json::from_str(row["data"].as_str().unwrap()).unwrap(),
    });
    rows.collect()
}

/// Each row that an item reads has all that the item shows: an account that is always empty makes a useless alert.
#[tokio::test]
async fn rules_hunts_and_tiles_get_all_that_they_show() {
    let rows = rows().await;
    for (item, activity_type, columns) in LIT {
        let read: Vec<&Row> = rows.iter().filter(|row| row.activity_type == f64::from(activity_type)).collect();
        assert!(!read.is_empty(), "{item}");
        for (index, column) in columns.iter().enumerate() {
            let without = read.iter().find(|row| column(row).is_none());
            assert!(without.is_none(), "{item}, column {index}: {:?}", without.map(|row| (&row.text, &row.data)));
        }
    }
    let exclusion = rows.iter().find(|row| row.activity_type == 3001.0).unwrap();
    assert!(["added", "exclusion"].iter().all(|word| exclusion.text.contains(word)), "{}", exclusion.text);
    let is_admin = |row: &&Row| row.activity_type == 27.0 && row.data["role"].as_str() == Some("Admin");
    assert!(rows.iter().any(|row| is_admin(&row)));
}

/// The page names each item and no other, with what it gives or why it gives nothing.
#[test]
fn the_page_names_each_rule_hunt_and_tile() {
    let lit = LIT.iter().map(|(item, ..)| (*item, true));
    let rows: Vec<(&str, bool)> = lit.chain(DARK.iter().map(|item| (*item, false))).collect();
    promises("## Microsoft Sentinel", &rows);
    let named: std::collections::BTreeSet<&str> = rows.iter().map(|(item, _)| *item).collect();
    let named_alike = 1; // "Alert triggers" is a hunting query and a tile.
    assert_eq!(named.len(), 11 + 10 + 10 - named_alike);
}
