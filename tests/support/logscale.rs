//! LogScale's ingest interfaces: as Splunk's collector, and structured.

use serde_json::Value;

use super::double::{Contract, Received, Refusal, Reply, only_post};

type Accepted = Result<(Vec<Value>, &'static str), Refusal>;

/// A repository and its ingest token, under the paths that LogScale and NG-SIEM have.
pub struct LogScale {
    pub token: &'static str,
    pub repository: &'static str,
}

impl Contract for LogScale {
    fn encodings(&self) -> &'static [&'static str] {
        &["gzip", "zstd"]
    }

    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        only_post(request)
    }

    fn answer(&mut self, request: &Received) -> Reply {
        match self.read(request) {
            Ok((events, body)) => Reply::new(200, body).accepting(events),
            Err(refusal) => refusal.into(),
        }
    }
}

impl LogScale {
    fn read(&self, request: &Received) -> Accepted {
        let authorization = request.header("authorization");
        if !["Bearer", "Splunk"].iter().any(|scheme| format!("{scheme} {}", self.token) == authorization) {
            return Err((401, "The supplied authentication is invalid"));
        }
        if request.body.len() > 5_000_000 {
            return Err((413, ""));
        }
        match request.path.as_str() {
            "/api/v1/ingest/hec" | "/services/collector" => hec(request, self.repository),
            "/api/v1/ingest/humio-structured" => structured(request),
            _ => Err((404, "")),
        }
    }
}

fn hec(request: &Received, repository: &str) -> Accepted {
    const KEYS: [&str; 8] = ["time", "timezone", "index", "sourcetype", "event", "fields", "host", "source"];
    let mut events = Vec::new();
    for object in serde_json::Deserializer::from_str(&request.body).into_iter::<Value>() {
        let object = object.map_err(|_| (400, "Could not parse"))?;
        let keys = object.as_object().ok_or((400, "not an object"))?;
        if keys.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err((400, "unknown key"));
        }
        if object.get("index").is_some_and(|index| index != repository) {
            return Err((400, "the index is not the token's repository"));
        }
        if object.to_string().len() > 1 << 20 {
            return Err((400, "an event is too large"));
        }
        events.push(object);
    }
    Ok((events, r#"{"text":"Success","code":0}"#))
}

/// The ledger finds the record's id in `attributes` or `rawstring`, which are lifted to where it looks.
fn structured(request: &Received) -> Accepted {
    if request.body.is_empty() {
        return Err((400, "no body"));
    }
    let groups: Vec<Value> = serde_json::from_str(&request.body).map_err(|_| (400, "not an array"))?;
    let mut events = Vec::new();
    for group in groups {
        let tags = group["tags"].as_object().ok_or((400, "no tags"))?;
        if !tags.values().all(Value::is_string) {
            return Err((400, "a tag is no text"));
        }
        for event in group["events"].as_array().ok_or((400, "no events"))? {
            let time = event["timestamp"].as_str().ok_or((400, "no timestamp"))?;
            if !time.ends_with('Z') || time.len() < 20 || event["attributes"].as_object().is_none() {
                return Err((400, "bad timestamp or attributes"));
            }
            if event.get("rawstring").is_some_and(|raw| !raw.is_string()) {
                return Err((400, "rawstring is no text"));
            }
            let raw = event["rawstring"].as_str().and_then(|raw| serde_json::from_str(raw).ok());
            let record = raw.unwrap_or_else(|| event["attributes"].clone());
            let mut event = event.clone();
            event["record"] = record;
            event["tags"] = group["tags"].clone();
            events.push(event);
        }
    }
    Ok((events, "{}"))
}
