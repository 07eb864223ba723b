use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::aws::Signatures;
use super::double::{Contract, Received, Reply};

pub const STREAM: &str = "logs-sentinel_one.activities-default";

/// An emulated cluster. It has the features of Elasticsearch that OpenSearch lacks: API keys, an answer about
/// privileges, the failure store. It also does what a real cluster does not do on demand.
pub struct Elastic {
    /// The good value of `Authorization`.
    pub authorization: String,
    /// Signatures of AWS instead.
    pub signatures: Option<Signatures>,
    /// Whether this is OpenSearch Serverless, which has no information about the cluster.
    pub is_serverless: bool,
    /// Whether `GET /` is allowed.
    pub may_monitor: bool,
    /// `version.distribution`, which OpenSearch has unless it is set to name a version of Elasticsearch.
    pub distribution: Option<&'static str>,
    pub tagline: &'static str,
    /// Privileges on the data stream.
    pub privileges: BTreeSet<&'static str>,
    /// Whether the cluster can answer which privileges the credentials have.
    pub tells_privileges: bool,
    pub stream_exists: bool,
    /// An index or alias.
    pub index: Option<&'static str>,
    /// Templates that were installed, by their paths.
    pub installed: BTreeMap<String, Value>,
    /// Name, pattern, whether it makes data streams.
    pub template: Option<(&'static str, &'static str, bool)>,
    pub content_length: usize,
    /// How often each document is answered with 429.
    pub busy: u32,
    /// Last characters of the ids of documents that `busy` applies to; all documents if empty.
    pub busy_ends: &'static [char],
    /// The status and type that documents with `poison` in them are answered with.
    pub poison: (u16, &'static str),
    /// The error of such documents, where it has more than a type.
    pub poison_error: Option<Value>,
    /// Whether refused documents go into the failure store.
    pub failure_store: bool,
    /// Documents by their ids.
    pub documents: BTreeMap<String, Value>,
    pub failures: Vec<Value>,
    /// How often each document came.
    pub seen: BTreeMap<String, u32>,
}

impl Elastic {
    pub fn opensearch() -> Self {
        let tagline = "The OpenSearch Project: https://opensearch.org/";
        Self { distribution: Some("opensearch"), tagline, ..Self::new() }
    }

    /// Returns OpenSearch with the setting of managed clusters and Wazuh's indexer.
    pub fn opensearch_in_compatibility_mode() -> Self {
        Self { distribution: None, ..Self::opensearch() }
    }

    pub fn new() -> Self {
        Self {
            authorization: "ApiKey aWQ6a2V5".to_owned(),
            signatures: None,
            is_serverless: false,
            may_monitor: true,
            distribution: None,
            tagline: "You Know, for Search",
            privileges: ["create_doc", "auto_configure"].into(),
            tells_privileges: true,
            stream_exists: true,
            index: None,
            installed: BTreeMap::from([("/_index_template/s1-forwarder".to_owned(), json!({}))]),
            template: Some(("logs", "logs-*-*", true)),
            content_length: 100 << 20,
            busy: 0,
            busy_ends: &[],
            poison: (400, "document_parsing_exception"),
            poison_error: None,
            failure_store: false,
            documents: BTreeMap::new(),
            failures: Vec::new(),
            seen: BTreeMap::new(),
        }
    }
}

fn refusal(status: u16, kind: &str, reason: &str) -> Reply {
    Reply::new(status, json!({ "error": { "type": kind, "reason": reason }, "status": status }).to_string())
}

impl Contract for Elastic {
    fn delivers(&self, asked: &Received) -> bool {
        asked.path.ends_with("/_bulk")
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        if let Some(signatures) = &self.signatures {
            if let Err(reason) = signatures.verify(asked) {
                let refusal = Reply::new(403, json!({ "message": reason }).to_string());
                return refusal.with("date", httpdate::fmt_http_date(signatures.now()));
            }
        } else if asked.header("authorization") != self.authorization {
            return refusal(401, "security_exception", "unable to authenticate");
        }
        if asked.bytes.len() > self.content_length {
            return Reply::new(413, "");
        }
        let may = |privilege| self.privileges.contains(privilege);
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/") if self.is_serverless => Reply::new(404, ""),
            ("GET", "/") if self.may_monitor => {
                let mut version = json!({ "number": "9.2.0" });
                if let Some(distribution) = self.distribution {
                    version["distribution"] = json!(distribution);
                }
                Reply::new(200, json!({ "version": version, "tagline": self.tagline }).to_string())
            }
            ("GET", "/") => refusal(403, "security_exception", "cluster:monitor/main"),
            ("POST", "/_security/user/_has_privileges") if self.tells_privileges => self.reported_privileges(asked),
            ("GET", path) if path.starts_with("/_data_stream/") && !may("view_index_metadata") && !self.may_monitor => {
                refusal(403, "security_exception", "indices:admin/data_stream/get")
            }
            ("GET", path) if path == format!("/_data_stream/{STREAM}") && self.stream_exists => {
                Reply::new(200, json!({ "data_streams": [{ "name": STREAM }] }).to_string())
            }
            ("GET", path) if path.starts_with("/_data_stream/") => {
                refusal(404, "index_not_found_exception", "no such index")
            }
            ("GET", "/_index_template") => self.reported_templates(),
            ("GET", path) if path.starts_with("/_index_template/") => {
                if self.installed.contains_key(path) {
                    Reply::new(200, r#"{"index_templates":[{"name":"s1-forwarder"}]}"#)
                } else {
                    refusal(404, "resource_not_found_exception", "index template matching [s1-forwarder] not found")
                }
            }
            ("PUT", path) if path.starts_with("/_index_template/") || path.starts_with("/_component_template/") => {
                self.install(asked)
            }
            ("GET", path) if self.index.is_some_and(|index| path == format!("/{index}")) => {
                Reply::new(200, json!({ "backing": { "aliases": {} } }).to_string())
            }
            ("GET", path) if path.trim_start_matches('/').starts_with("s1-") => {
                refusal(404, "index_not_found_exception", "no such index")
            }
            ("POST", path) if self.index.is_some_and(|index| path == format!("/{index}/_bulk")) => self.bulk(asked),
            ("POST", path) if path.starts_with("/logs-ocsf.") && path.ends_with("/_bulk") => self.bulk(asked),
            ("POST", path) if path == format!("/{STREAM}/_bulk") => {
                if !may("create_doc") {
                    return refusal(403, "security_exception", "action [indices:data/write/bulk] is unauthorized");
                }
                self.bulk(asked)
            }
            _ => Reply::new(400, r#"{"error":"no handler found for uri"}"#),
        }
    }
}

impl Elastic {
    fn reported_privileges(&self, asked: &Received) -> Reply {
        let asked = asked.json().unwrap();
        let asked = &asked["index"][0];
        let rights: BTreeMap<&str, bool> = asked["privileges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|right| (right.as_str().unwrap(), self.privileges.contains(right.as_str().unwrap())))
            .collect();
        let all = rights.values().all(|has| *has);
        let cluster = json!({ "manage_index_templates": self.privileges.contains("manage_index_templates") });
        let index = json!({ asked["names"][0].as_str().unwrap(): rights });
        Reply::new(200, json!({ "has_all_requested": all, "cluster": cluster, "index": index }).to_string())
    }

    fn reported_templates(&self) -> Reply {
        let templates: Vec<Value> = self
            .template
            .iter()
            .map(|(name, pattern, makes_streams)| {
                let mut template = json!({ "index_patterns": [pattern], "priority": 100 });
                if *makes_streams {
                    template["data_stream"] = json!({ "hidden": false });
                }
                json!({ "name": name, "index_template": template })
            })
            .collect();
        Reply::new(200, json!({ "index_templates": templates }).to_string())
    }

    /// An index template is refused without the component templates that it is composed of.
    fn install(&mut self, asked: &Received) -> Reply {
        if !self.privileges.contains("manage_index_templates") {
            return refusal(403, "security_exception", "action [indices:admin/index_template/put] is unauthorized");
        }
        let Some(template) = asked.json() else { return refusal(400, "parse_exception", "no JSON") };
        let components = template["composed_of"].as_array().cloned().unwrap_or_default();
        let is_there = |name: &Value| {
            self.installed.contains_key(&format!("/_component_template/{}", name.as_str().unwrap_or_default()))
        };
        if !components.iter().all(is_there) {
            return refusal(400, "invalid_index_template_exception", "component template does not exist");
        }
        self.installed.insert(asked.path.clone(), template);
        Reply::new(200, r#"{"acknowledged":true}"#)
    }

    fn bulk(&mut self, asked: &Received) -> Reply {
        let text = String::from_utf8(asked.bytes.clone()).unwrap();
        if asked.header("content-type") != "application/x-ndjson" || !text.ends_with('\n') {
            return refusal(400, "illegal_argument_exception", "must be terminated by a newline [\\n]");
        }
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut items = Vec::new();
        for pair in lines.chunks(2) {
            let [action, document] = pair else { return refusal(400, "illegal_argument_exception", "odd") };
            let id = action["create"]["_id"].as_str().expect("an action of the kind `create` with an id");
            items.push(json!({ "create": self.create(id, document) }));
        }
        let errors = items.iter().any(|item| item["create"].get("error").is_some());
        // `pretty` writes it so: who looks for `"errors":true` in the text finds nothing.
        let answer = json!({ "took": 1, "errors": errors, "items": items });
        Reply::new(200, serde_json::to_string_pretty(&answer).unwrap())
    }

    fn create(&mut self, id: &str, document: &Value) -> Value {
        let failed =
            |status: u16, kind: &str| json!({ "status": status, "error": { "type": kind, "reason": "because" } });
        let seen = self.seen.entry(id.to_owned()).or_default();
        *seen += 1;
        if self.documents.contains_key(id) {
            return failed(409, "version_conflict_engine_exception");
        }
        if *seen <= self.busy && (self.busy_ends.is_empty() || id.ends_with(self.busy_ends)) {
            return failed(429, "es_rejected_execution_exception");
        }
        if document.to_string().contains("poison") {
            if self.failure_store {
                self.failures.push(document.clone());
                return json!({ "status": 201, "failure_store": "used" });
            }
            let mut item = failed(self.poison.0, self.poison.1);
            if let Some(error) = &self.poison_error {
                item["error"] = error.clone();
            }
            return item;
        }
        self.documents.insert(id.to_owned(), document.clone());
        json!({ "status": 201 })
    }
}
