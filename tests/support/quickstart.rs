//! The dashboard and the monitor of deploy/quickstart, as what they ask OpenSearch for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/quickstart");

fn read(name: &str) -> String {
    fs::read_to_string(format!("{DIRECTORY}/{name}")).unwrap()
}

/// The pipeline file with another console and another cluster.
pub fn pipeline(console: &str, cluster: &str) -> String {
    let file = read("pipelines/quickstart.yaml");
    let changed = file.replace("http://console:9599", console).replace("http://opensearch:9200", cluster);
    assert!(changed.contains(console) && changed.contains(cluster), "{file}");
    changed
}

/// A panel of the dashboard.
#[derive(Debug)]
pub struct Panel {
    pub title: String,
    /// Fields and the values that they must have.
    pub query: Vec<(String, String)>,
    /// Each aggregation with its field, those that make buckets first, from the outermost.
    pub aggregations: Vec<(String, String)>,
}

impl Panel {
    /// The search that the panel sends, without its time range.
    pub fn search(&self) -> Value {
        let terms: Vec<_> = self.query.iter().map(|(field, value)| json!({ "term": { field: value } })).collect();
        let mut inner = Value::Null;
        for (kind, field) in self.aggregations.iter().rev() {
            let mut aggregation = match kind.as_str() {
                "date_histogram" => json!({ kind: { "field": field, "fixed_interval": "1h", "min_doc_count": 1 } }),
                _ => json!({ kind: { "field": field } }),
            };
            if !inner.is_null() {
                aggregation["aggs"] = inner;
            }
            inner = json!({ "a": aggregation });
        }
        json!({ "size": 0, "query": { "bool": { "filter": terms } }, "aggs": inner })
    }
}

/// Text that is JSON within JSON.
fn inner(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

/// `a: "x" and b: "y"`.
fn terms(query: &str) -> Vec<(String, String)> {
    let term = |term: &str| {
        let (field, value) = term.split_once(": ").unwrap_or_else(|| panic!("{term}"));
        (field.to_owned(), value.trim_matches('"').to_owned())
    };
    query.split(" and ").filter(|part| !part.is_empty()).map(term).collect()
}

/// The panels of the one dashboard, and the pattern of the indices that they search. Every part of the file is used,
/// and every part that one names is there.
pub fn dashboard() -> (String, Vec<Panel>) {
    let objects: Vec<Value> =
        read("dashboard.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = |object: &Value| (object["type"].clone().to_string(), object["id"].clone().to_string());
    let there: BTreeSet<_> = objects.iter().map(name).collect();
    assert_eq!(there.len(), objects.len(), "two parts have one id");
    let references: Vec<&Value> = objects.iter().flat_map(|object| object["references"].as_array().unwrap()).collect();
    let named: BTreeSet<_> = references.iter().map(|reference| name(reference)).collect();
    let of_type = |kind: &'static str| objects.iter().filter(move |object| object["type"] == kind);
    let dashboards: BTreeSet<_> = of_type("dashboard").map(name).collect();
    assert_eq!(&named | &dashboards, there, "what is named is there, and what is there is named");

    let (Some(pattern), None) = (of_type("index-pattern").next(), of_type("index-pattern").nth(1)) else {
        panic!("there is one index pattern")
    };
    let (Some(dashboard), None) = (of_type("dashboard").next(), of_type("dashboard").nth(1)) else {
        panic!("there is one dashboard")
    };
    for panel in inner(&dashboard["attributes"]["panelsJSON"]).as_array().unwrap() {
        let references = dashboard["references"].as_array().unwrap();
        assert!(references.iter().any(|reference| reference["name"] == panel["panelRefName"]), "{panel}");
    }
    (pattern["attributes"]["title"].as_str().unwrap().to_owned(), of_type("visualization").map(panel).collect())
}

fn panel(object: &Value) -> Panel {
    let attributes = &object["attributes"];
    let state = inner(&attributes["visState"]);
    let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
    assert!(object["references"].as_array().unwrap().iter().any(|one| one["name"] == source["indexRefName"]));
    let fields_of = |is_metric: bool| {
        let all = state["aggs"].as_array().unwrap().iter();
        let chosen = all.filter(move |one| (one["schema"] == "metric") == is_metric && one["type"] != "count");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        chosen.map(move |one| (text(&one["type"]), text(&one["params"]["field"]))).collect::<Vec<_>>()
    };
    Panel {
        title: attributes["title"].as_str().unwrap().to_owned(),
        query: terms(source["query"]["query"].as_str().unwrap()),
        aggregations: [fields_of(false), fields_of(true)].concat(),
    }
}

/// The indices and the search of the monitor, as it is sent at a time in milliseconds since 1970.
pub fn monitor(now: i64) -> (String, Value) {
    let monitor: Value = serde_json::from_str(&read("monitor.json")).unwrap();
    let search = &monitor["inputs"][0]["search"];
    let query = search["query"].to_string();
    assert!(query.contains("{{period_end}}"), "{query}");
    let condition = &monitor["triggers"][0]["condition"]["script"]["source"];
    assert_eq!(condition, "ctx.results[0].hits.total.value > 0", "the alert is the number of hits");
    let query = query.replace("{{period_end}}", &now.to_string());
    (search["indices"][0].as_str().unwrap().to_owned(), serde_json::from_str(&query).unwrap())
}
