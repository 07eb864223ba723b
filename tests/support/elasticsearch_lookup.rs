//! Elasticsearch's answers to questions, and each answer that is no proof.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use super::double::{Contract, Received, Reply};

pub const READER: &str = "ApiKey cmVhZGVy";
pub const TARGET: &str = "logs-sentinel_one.activities-default";

/// An answer that is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    ShardFailed,
    TimedOut,
    TerminatedEarly,
    /// The answer about a name with a wildcard that fits nothing.
    NoShards,
    /// Another cluster that belongs to the target was skipped.
    ClusterSkipped,
    /// Two shards, of which one has answered and none has failed.
    ShardUnheard,
    /// 200, with an error next to the hits.
    ErrorInside,
    /// Only the question about everything that can be read fails.
    ElsewhereFailed,
    ElsewhereCut,
    /// The total counts more documents than the answer has.
    Cut,
    /// The total is an estimate.
    Estimate,
    Closed,
    NoSuchTarget,
    Forbidden,
    SearchPhaseFailed,
    /// A gateway ends the answer.
    BreaksOff,
    NotFromSearch,
    Foreign,
    FilteredAlias,
    RoutedAlias,
    /// The credentials may not read the kind of the target.
    NoMetadata,
    /// A gateway answers in the cluster's place.
    OtherMetadata,
    OtherAlias,
    NoSettings,
    /// An answer that names no index.
    EmptySettings,
    /// The index is never refreshed, so nothing says when an acknowledged document can be found.
    NeverRefreshed,
    /// An index is never refreshed by the default, which all indices without an interval of their own have.
    NeverRefreshedByDefault,
    /// The credentials may not read the default refresh interval.
    NoDefault,
    /// An ingest pipeline has replaced the `_id`, and the identity is not indexed.
    Unnamed,
    /// An ingest pipeline has replaced the `_id` by one that looks like an identity.
    Renamed,
    /// A shard does not say whether there are documents without an identity.
    UnnamedUnseen,
    /// There are more documents without an identity than fit into an answer.
    UnnamedCut,
    /// The field of the identity finds none of the documents that have it.
    Analyzed,
    /// There are more indices than the answer has.
    SamplesCut,
    /// A search pipeline may leave hits out.
    SearchPipeline,
    /// An index that searches leave out.
    Frozen,
    /// Another index, where an ingest pipeline may have put events, is never refreshed.
    ElsewhereNeverRefreshed,
}

pub const TRAPS: [Trap; 37] = [
    Trap::ShardFailed,
    Trap::TimedOut,
    Trap::TerminatedEarly,
    Trap::NoShards,
    Trap::ClusterSkipped,
    Trap::ShardUnheard,
    Trap::ErrorInside,
    Trap::ElsewhereFailed,
    Trap::ElsewhereCut,
    Trap::Cut,
    Trap::Estimate,
    Trap::Closed,
    Trap::NoSuchTarget,
    Trap::Forbidden,
    Trap::SearchPhaseFailed,
    Trap::BreaksOff,
    Trap::NotFromSearch,
    Trap::Foreign,
    Trap::FilteredAlias,
    Trap::RoutedAlias,
    Trap::NoMetadata,
    Trap::OtherMetadata,
    Trap::OtherAlias,
    Trap::NoSettings,
    Trap::EmptySettings,
    Trap::NeverRefreshed,
    Trap::NeverRefreshedByDefault,
    Trap::NoDefault,
    Trap::Unnamed,
    Trap::Renamed,
    Trap::UnnamedUnseen,
    Trap::UnnamedCut,
    Trap::Analyzed,
    Trap::SamplesCut,
    Trap::SearchPipeline,
    Trap::Frozen,
    Trap::ElsewhereNeverRefreshed,
];

/// The state of the target's indices.
#[derive(Debug, Clone, Default)]
pub enum Indices {
    /// A data stream that has all its backing indices.
    #[default]
    All,
    /// A data stream that has lost its first two backing indices. The third was created at this time, in microseconds
    /// since 1970.
    Since(i64),
    /// A data stream whose first backing index was created at this time, in microseconds since 1970.
    First(i64),
    /// An alias that was given another index.
    Swapped,
    /// An alias whose first index was created at this time, in microseconds since 1970.
    Alias(i64),
}

/// When the documents of the index `elsewhere` return to the target: before a question by one of their identities is
/// answered.
#[derive(Default)]
pub enum Return {
    #[default]
    Never,
    /// A question about the target, after this number of others.
    Target(u32),
    /// A question about all indices.
    Everywhere,
}

#[derive(Default)]
pub struct ElasticSearch {
    /// Documents by backing index and id.
    pub documents: BTreeMap<(String, String), Value>,
    pub write_index: u32,
    /// Whether an ingest pipeline drops documents; with `moves`, it moves them to the index `elsewhere`.
    pub drops: bool,
    pub moves: bool,
    pub returns: Return,
    pub trap: Option<Trap>,
    /// Questions that are answered with 429 first.
    pub busy: u32,
    /// After each delivery, as many questions are answered with 429.
    pub busy_after_delivery: u32,
    /// The most identities of a question.
    pub most: usize,
    pub questions: Vec<usize>,
    /// Times that all documents of a window were asked for.
    pub lists: usize,
    /// Times that documents without an identity were asked for.
    pub unnamed: usize,
    pub indices: Indices,
    /// The state of `indices` after the first question by identity; `None` if it stays.
    pub then: Option<Indices>,
    /// Whether a cluster that has nothing answers the next question by identity; each question changes it. `None` if no
    /// such cluster answers.
    pub turns: Option<bool>,
    /// The replicas do not have documents whose id begins with this.
    pub replicas_lack: Option<char>,
    /// Whether the failure store takes all documents.
    pub fails: bool,
    /// Whether each document is refused.
    pub refuses: bool,
    /// Documents whose id begins with this are refused.
    pub refuses_from: Option<char>,
    /// Name of the target; `None` for the data stream `TARGET`.
    pub name: Option<&'static str>,
    /// Whether the index `elsewhere` is hidden.
    pub hides: bool,
    /// The mapping leaves these fields out of the index.
    pub unindexed: Vec<&'static str>,
    /// Questions by identity are answered by a cluster that lacks these.
    pub lacks: BTreeSet<String>,
}

/// Settings that are asked of each index.
const SETTINGS: &str = "index.refresh_interval,index.creation_date,index.search.default_pipeline,\
                        index.search.throttled,index.replication.type";

fn refusal(status: u16, kind: &str) -> Reply {
    Reply::new(status, json!({ "error": { "type": kind, "reason": "because" }, "status": status }).to_string())
}

impl Contract for ElasticSearch {
    fn delivers(&self, asked: &Received) -> bool {
        asked.path.ends_with("/_bulk")
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        let is_write = asked.path.ends_with("/_bulk");
        // Readers and writers have different credentials.
        let expected = if is_write { "ApiKey d3JpdGVy" } else { READER };
        if asked.header("authorization") != expected {
            return refusal(401, "security_exception");
        }
        let name = self.name.unwrap_or(TARGET);
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", path) if path == format!("/{name}/_bulk") => self.bulk(asked),
            ("POST", path) if path == format!("/{name}/_search") => self.search(asked, false),
            ("POST", "/_search") => self.search(asked, true),
            ("POST", path) if path == format!("/{name}::failures/_search") => {
                if self.fails {
                    self.by_fields(&asked.json().unwrap(), ".fs-")
                } else {
                    refusal(404, "index_not_found_exception")
                }
            }
            ("GET", _) if self.busy > 0 => self.too_busy(),
            ("GET", path) if path == format!("/_alias/{name}") => match self.trap {
                Some(Trap::NoMetadata) => refusal(403, "security_exception"),
                Some(Trap::OtherMetadata) => Reply::new(200, "<html>"),
                Some(Trap::OtherAlias) => Reply::new(404, "<html>"),
                Some(trap @ (Trap::FilteredAlias | Trap::RoutedAlias)) => {
                    let alias = match trap {
                        Trap::FilteredAlias => json!({ "filter": { "term": { "a": 1 } } }),
                        _ => json!({ "index_routing": "1", "search_routing": "1" }),
                    };
                    Reply::new(200, json!({ "x-1": { "aliases": { TARGET: alias } } }).to_string())
                }
                _ if matches!(self.indices, Indices::Alias(_)) => {
                    Reply::new(200, json!({ "s1-000001": { "aliases": { name: {} } } }).to_string())
                }
                _ => refusal(404, "alias_missing"),
            },
            ("GET", path) if path == format!("/{name}/_settings/{SETTINGS}") => {
                assert!(asked.query.contains("flat_settings=true"));
                match self.trap {
                    Some(Trap::NoSettings) => Reply::new(404, "<html>"),
                    Some(Trap::EmptySettings) => Reply::new(200, "{}"),
                    _ => Reply::new(200, self.settings().to_string()),
                }
            }
            ("GET", "/_settings/index.refresh_interval") => {
                assert!(asked.query.contains("flat_settings=true") && asked.query.contains("hidden"));
                let interval = if self.trap == Some(Trap::ElsewhereNeverRefreshed) { "-1" } else { "1s" };
                let of = |interval: &str| json!({ "settings": { "index.refresh_interval": interval } });
                let mut indices = self.settings();
                indices["elsewhere"] = of(interval);
                indices[".cluster"] = of("-1");
                Reply::new(200, indices.to_string())
            }
            ("GET", "/_cluster/settings") => {
                assert!(asked.query.contains("include_defaults=true"));
                let of =
                    |interval: &str| json!({ "cluster": { "default": { "index": { "refresh_interval": interval } } } });
                match self.trap {
                    Some(Trap::NoDefault) => refusal(403, "security_exception"),
                    Some(Trap::NeverRefreshedByDefault) => {
                        Reply::new(200, json!({ "persistent": of("-1"), "defaults": of("1s") }).to_string())
                    }
                    _ => Reply::new(200, json!({ "defaults": of("1ms") }).to_string()),
                }
            }
            _ => Reply::new(400, r#"{"error":"no handler found for uri"}"#),
        }
    }
}

impl ElasticSearch {
    pub fn in_target(&self) -> BTreeSet<String> {
        self.documents.keys().filter(|(index, _)| index.starts_with(".ds-")).map(|(_, id)| id.clone()).collect()
    }

    /// The settings of each index of the target.
    fn settings(&self) -> Value {
        let created = |micros: i64| json!({ "index.creation_date": (micros / 1_000).to_string() });
        let mut settings = created(0);
        match self.trap {
            Some(Trap::NeverRefreshed) => settings["index.refresh_interval"] = json!("-1"),
            Some(Trap::SearchPipeline) => settings["index.search.default_pipeline"] = json!("hides"),
            Some(Trap::Frozen) => settings["index.search.throttled"] = json!("true"),
            _ => settings["index.search.default_pipeline"] = json!("_none"),
        }
        let replication = if self.replicas_lack.is_some() { "SEGMENT" } else { "DOCUMENT" };
        settings["index.replication.type"] = json!(replication);
        let backing = |number: u32| format!(".ds-{TARGET}-2026.11.28-{number:06}");
        let indices = match self.indices {
            Indices::All => json!({ backing(2): created(0), backing(1): settings }),
            Indices::Since(time) => json!({ backing(4): created(time + 1), backing(3): created(time) }),
            Indices::First(time) => json!({ backing(1): created(time) }),
            Indices::Swapped => json!({ "s1-green": settings }),
            Indices::Alias(time) => json!({ "s1-000001": created(time) }),
        };
        let wrapped = |(name, settings): (&String, &Value)| (name.clone(), json!({ "settings": settings }));
        indices.as_object().unwrap().iter().map(wrapped).collect::<serde_json::Map<_, _>>().into()
    }

    /// The text that finds a document by a field.
    fn indexed<'v>(&self, document: &'v Value, field: &str) -> Option<&'v str> {
        text(document, field).filter(|_| !self.unindexed.contains(&field))
    }

    fn too_busy(&mut self) -> Reply {
        self.busy -= 1;
        refusal(429, "es_rejected_execution_exception")
    }

    fn return_moved(&mut self, asked: &BTreeSet<String>, everywhere: bool) {
        if !self.documents.keys().any(|(index, id)| index == "elsewhere" && asked.contains(id)) {
            return;
        }
        match &mut self.returns {
            Return::Target(questions) if !everywhere && *questions > 0 => *questions -= 1,
            Return::Target(_) if !everywhere => self.return_all(),
            Return::Everywhere if everywhere => self.return_all(),
            _ => {}
        }
    }

    fn return_all(&mut self) {
        let target = self.write_target();
        let documents = std::mem::take(&mut self.documents).into_iter();
        let returned = |((index, id), document)| {
            let index = if index == "elsewhere" { target.clone() } else { index };
            ((index, id), document)
        };
        self.documents = documents.map(returned).collect();
    }

    /// The index that new documents of the target get into.
    fn write_target(&self) -> String {
        format!(".ds-{TARGET}-{:06}", self.write_index + 1)
    }

    fn bulk(&mut self, asked: &Received) -> Reply {
        let lines: Vec<Value> = asked.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        self.busy += self.busy_after_delivery;
        let items: Vec<Value> = lines.chunks(2).map(|pair| self.create(&pair[0], &pair[1])).collect();
        Reply::new(200, json!({ "took": 1, "errors": false, "items": items }).to_string())
    }

    fn create(&mut self, action: &Value, document: &Value) -> Value {
        let id = action["create"]["_id"].as_str().unwrap().to_owned();
        let index = if self.moves { "elsewhere".to_owned() } else { self.write_target() };
        let key = (index.clone(), id);
        if self.documents.contains_key(&key) {
            return json!({ "create": { "status": 409, "error": { "type": "version_conflict_engine_exception" } } });
        }
        if self.refuses || self.refuses_from.is_some_and(|first| key.1.starts_with(first)) {
            return json!({ "create": { "status": 400, "error": { "type": "document_parsing_exception" } } });
        }
        if self.drops {
            return json!({ "create": { "status": 200, "result": "noop", "_index": index } });
        }
        if self.fails {
            let document = json!({ "document": { "id": key.1, "source": document } });
            self.documents.insert((format!(".fs-{TARGET}-000001"), format!("failed-{}", key.1)), document);
            let stored = json!({ "status": 201, "result": "created", "_index": ".fs", "failure_store": "used" });
            return json!({ "create": stored });
        }
        self.documents.insert(key, document.clone());
        json!({ "create": { "status": 201, "result": "created", "_index": index } })
    }

    /// The documents that have one of these texts in one of these fields.
    fn by_fields(&self, question: &Value, indices: &str) -> Reply {
        let should = question["query"]["bool"]["should"].as_array().unwrap();
        let terms: Vec<(String, BTreeSet<String>)> = should
            .iter()
            .flat_map(|part| part["terms"].as_object().unwrap())
            .map(|(field, texts)| (field.clone(), serde_json::from_value(texts.clone()).unwrap()))
            .collect();
        let documents = self.documents.iter().filter(|((index, _), _)| index.starts_with(indices));
        let has = |document: &Value| {
            terms.iter().any(|(field, texts)| self.indexed(document, field).is_some_and(|text| texts.contains(text)))
        };
        let hit = |((index, id), document): (&(String, String), &Value)| {
            let source = terms.iter().filter_map(|(field, _)| Some((field.clone(), json!(text(document, field)?))));
            let source: serde_json::Map<_, _> = source.collect();
            json!({ "_id": id, "_index": index, "_source": source })
        };
        let found = documents.filter(|(_, document)| has(document)).map(hit);
        self.answer_with(found.filter(|_| self.trap != Some(Trap::Analyzed)).collect(), None)
    }

    /// Some documents of each index, by each field that has an identity.
    fn samples(&self, question: &Value) -> Reply {
        let fields = question["aggs"]["index"]["aggs"]["field"]["filters"]["filters"].as_object().unwrap();
        let indices: BTreeSet<&String> = self.documents.keys().map(|(index, _)| index).collect();
        let bucket = |index: &&String| {
            let of_field = |field: &String| {
                let is_own = |of: &String, document: &Value| of == *index && self.indexed(document, field).is_some();
                let own = self.documents.iter().filter(|((of, _), document)| is_own(of, document));
                let hit = |((index, id), document): (&(String, String), &Value)| {
                    let source = fields.keys().filter_map(|field| Some((field.clone(), json!(text(document, field)?))));
                    json!({ "_id": id, "_index": index, "_source": source.collect::<serde_json::Map<_, _>>() })
                };
                let hits: Vec<Value> = own.map(hit).take(3).collect();
                let mut found = json!({ "total": { "value": 3, "relation": "eq" } });
                if !hits.is_empty() {
                    found["hits"] = json!(hits);
                }
                (field.clone(), json!({ "doc_count": hits.len(), "document": { "hits": found } }))
            };
            let buckets: serde_json::Map<_, _> = fields.keys().map(of_field).collect();
            json!({ "key": index, "doc_count": 1, "field": { "buckets": buckets } })
        };
        let buckets: Vec<Value> = indices.iter().filter(|index| index.starts_with(".ds-")).map(bucket).collect();
        let others = u32::from(self.trap == Some(Trap::SamplesCut));
        let index = json!({ "doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": buckets });
        let reply = self.answer_with(Vec::new(), None);
        let mut answer: Value = serde_json::from_str(&reply.body).unwrap();
        answer["aggregations"] = json!({ "index": index });
        Reply::new(200, answer.to_string())
    }

    fn search(&mut self, asked: &Received, everywhere: bool) -> Reply {
        let question = asked.json().unwrap();
        let size = question["size"].as_u64().unwrap() as usize;
        assert!(question["track_total_hits"] == true && size <= 10_000);
        if !everywhere {
            assert!(asked.query.contains("allow_partial_search_results=false") && !asked.query.contains("unavailable"));
        }
        let window = question["query"]["range"]["@timestamp"].clone();
        if window.is_object() {
            let lacks = self.replicas_lack.filter(|_| !asked.query.contains("preference=_primary"));
            return self.list(&question, size, lacks);
        }
        if !question["aggs"].is_null() {
            return self.samples(&question);
        }
        let should = &question["query"]["bool"]["should"];
        let is_sample = should.as_array().is_some_and(|parts| parts.iter().all(|part| part["ids"].is_null()));
        if is_sample {
            return self.by_fields(&question, ".ds-");
        }
        if should.is_null() && !question["query"]["bool"]["must_not"].is_null() {
            let unnamed = |id: &str| json!({ "_id": id, "_index": ".ds-x-000001" });
            self.unnamed += 1;
            let named = question["query"]["bool"]["must_not"].as_array().unwrap();
            let fields: Vec<&String> =
                named.iter().flat_map(|part| part["regexp"].as_object().unwrap().keys()).collect();
            let is_named = |document| fields.iter().any(|field| self.indexed(document, field).is_some_and(is_identity));
            let documents = self.documents.iter().filter(|((index, _), _)| index.starts_with(".ds-"));
            let others =
                documents.filter(|(_, document)| !is_named(document)).map(|((_, id), _)| unnamed(id)).collect();
            return match self.trap {
                Some(Trap::Unnamed) => self.answer_with(vec![unnamed("vendor-1")], None),
                Some(Trap::Renamed) => self.answer_with(vec![unnamed(&"f".repeat(32))], None),
                Some(Trap::UnnamedUnseen) => self.answer_with(Vec::new(), Some(Trap::ShardFailed)),
                Some(Trap::UnnamedCut) => self.answer_with(vec![unnamed("a"), unnamed("b")], Some(Trap::Cut)),
                trap => self.answer_with(others, trap),
            };
        }
        let ids: BTreeSet<String> =
            serde_json::from_value(should.as_array().unwrap().last().unwrap()["ids"]["values"].clone()).unwrap();
        assert!(size >= 2 * ids.len());
        if !everywhere {
            self.questions.push(ids.len());
        }
        self.return_moved(&ids, everywhere);
        if self.busy > 0 && self.busy.is_multiple_of(2) {
            self.busy -= 1;
            return self.answer_with(Vec::new(), Some(Trap::ShardUnheard));
        }
        if self.busy > 0 {
            return self.too_busy();
        }
        if self.most > 0 && ids.len() > 2 * self.most {
            return Reply::new(413, "");
        }
        if self.most > 0 && ids.len() > self.most {
            let reason = "Query contains too many nested clauses; maxClauseCount is set to 1024";
            let cause = json!({ "type": "too_many_nested_clauses", "reason": reason });
            let error = json!({ "type": "search_phase_execution_exception", "root_cause": [cause] });
            return Reply::new(500, json!({ "error": error, "status": 500 }).to_string());
        }
        if let Some(turn) = self.turns.filter(|_| !everywhere) {
            self.turns = Some(!turn);
            if turn {
                return self.answer_with(Vec::new(), None);
            }
        }
        if let Some(then) = self.then.take_if(|_| !everywhere) {
            self.indices = then;
        }
        let lacks = self.replicas_lack.filter(|_| !asked.query.contains("preference=_primary"));
        let fields: Vec<&str> = should
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|part| part["terms"].as_object())
            .flat_map(|terms| terms.keys().map(String::as_str))
            .collect();
        let mut hits: Vec<Value> = Vec::new();
        let documents = self.documents.iter().filter(|((index, _), _)| !index.starts_with(".fs-"));
        for ((index, id), document) in documents.filter(|((_, id), _)| lacks.is_none_or(|first| !id.starts_with(first)))
        {
            let mut source = json!({ "data_stream": document["data_stream"] });
            let mut is_named = false;
            for field in &fields {
                let value = document.pointer(&format!("/{}", field.replace('.', "/")));
                is_named |= self.indexed(document, field).is_some_and(|value| ids.contains(value));
                value.iter().for_each(|value| source[field] = (*value).clone());
            }
            let is_seen = !self.hides || index != "elsewhere" || asked.query.contains("hidden");
            if self.lacks.contains(id) && !everywhere {
                continue;
            }
            if (is_named || ids.contains(id)) && is_seen && (everywhere || index.starts_with(".ds-")) {
                hits.push(json!({ "_id": id, "_index": index, "_source": source }));
            }
        }
        let trap = match self.trap {
            Some(Trap::ElsewhereFailed) => Some(Trap::ShardFailed).filter(|_| everywhere),
            Some(Trap::ElsewhereCut) if everywhere => {
                // Another pipeline's, which are more than fit into the answer.
                hits.push(json!({ "_id": "f".repeat(32), "_index": "x", "_source": {} }));
                Some(Trap::Cut)
            }
            Some(Trap::ElsewhereCut) => None,
            trap => trap.filter(|_| !everywhere),
        };
        self.answer_with(hits, trap)
    }

    /// The documents of a window, at most `size`.
    fn list(&mut self, question: &Value, size: usize, lacks: Option<char>) -> Reply {
        let window = &question["query"]["range"]["@timestamp"];
        let fields: Vec<String> = serde_json::from_value(question["_source"].clone()).unwrap();
        self.lists += 1;
        if self.busy > 0 {
            return self.too_busy();
        }
        let bound = |name: &str| Timestamp::parse(window[name].as_str().unwrap()).unwrap();
        let (from, to) = (bound("gte"), bound("lt"));
        let mut hits: Vec<Value> = Vec::new();
        for ((index, id), document) in &self.documents {
            if lacks.is_some_and(|first| id.starts_with(first)) || index.starts_with(".fs-") {
                continue;
            }
            let time = &document["@timestamp"];
            let at = Timestamp::parse(time.as_str().unwrap()).unwrap();
            if index.starts_with(".ds-") && (from..to).contains(&at) {
                let source = fields.iter().filter_map(|field| Some((field.clone(), json!(text(document, field)?))));
                let source: serde_json::Map<_, _> = source.collect();
                hits.push(json!({ "_id": id, "_index": index, "_source": source }));
            }
        }
        let total = hits.len();
        hits.truncate(size);
        let mut reply = self.answer_with(hits, self.trap);
        if total > size {
            reply.body = reply.body.replacen(&format!("\"value\":{size}"), &format!("\"value\":{total}"), 1).into();
        }
        reply
    }

    fn answer_with(&self, hits: Vec<Value>, trap: Option<Trap>) -> Reply {
        let mut answer = json!({
            "took": 1, "timed_out": false, "_shards": { "total": 2, "successful": 2, "skipped": 0, "failed": 0 },
            "hits": { "total": { "value": hits.len(), "relation": "eq" } },
        });
        // The filter of the answer leaves out an empty list.
        if !hits.is_empty() {
            answer["hits"]["hits"] = json!(hits);
        }
        let nothing = json!({ "total": { "value": 0, "relation": "eq" } });
        match trap {
            None | Some(Trap::FilteredAlias | Trap::RoutedAlias | Trap::NoMetadata | Trap::OtherMetadata) => {}
            Some(Trap::OtherAlias | Trap::NoSettings | Trap::EmptySettings) => {}
            Some(Trap::NeverRefreshed | Trap::NeverRefreshedByDefault | Trap::NoDefault) => {}
            Some(Trap::Analyzed | Trap::SamplesCut | Trap::SearchPipeline | Trap::Frozen) => {}
            Some(Trap::Renamed | Trap::ElsewhereFailed | Trap::ElsewhereCut | Trap::ElsewhereNeverRefreshed) => {}
            Some(Trap::ShardUnheard) => {
                answer["_shards"]["successful"] = json!(1);
                answer["hits"] = nothing;
            }
            Some(Trap::ErrorInside) => {
                answer["error"] = json!({ "type": "circuit_breaking_exception", "reason": "because" });
                answer["hits"] = nothing;
            }
            Some(Trap::Unnamed | Trap::UnnamedUnseen | Trap::UnnamedCut) => {}
            Some(Trap::ShardFailed) => {
                let reason = json!({ "type": "query_shard_exception", "reason": "failed to create query: For input" });
                answer["_shards"]["failures"] = json!([{ "shard": 0, "index": "orders", "reason": reason }]);
                answer["_shards"]["failed"] = json!(1);
                answer["hits"] = nothing;
            }
            Some(Trap::TimedOut) => answer["timed_out"] = json!(true),
            Some(Trap::TerminatedEarly) => answer["terminated_early"] = json!(true),
            Some(Trap::NoShards) => {
                answer["_shards"] = json!({ "total": 0, "successful": 0, "skipped": 0, "failed": 0 });
                answer["hits"] = nothing;
            }
            Some(Trap::ClusterSkipped) => answer["_clusters"] = json!({ "total": 2, "successful": 1, "skipped": 1 }),
            Some(Trap::Cut) => _ = answer["hits"]["hits"].as_array_mut().and_then(|hits| hits.pop()),
            Some(Trap::Estimate) => answer["hits"]["total"]["relation"] = json!("gte"),
            Some(Trap::Closed) => return refusal(400, "index_closed_exception"),
            Some(Trap::NoSuchTarget) => return refusal(404, "index_not_found_exception"),
            Some(Trap::Forbidden) => return refusal(403, "security_exception"),
            Some(Trap::SearchPhaseFailed) => return refusal(503, "search_phase_execution_exception"),
            Some(Trap::BreaksOff) => {
                let text = answer.to_string();
                return Reply::new(200, text[..text.len() / 2].to_owned());
            }
            Some(Trap::NotFromSearch) => return Reply::new(200, r#"{"status":"ok"}"#),
            Some(Trap::Foreign) => {
                let hit = json!({ "_id": "f".repeat(32), "_index": "x", "_source": {} });
                answer["hits"] = json!({ "total": { "value": 1, "relation": "eq" }, "hits": [hit] });
            }
        }
        Reply::new(200, answer.to_string())
    }
}

/// Whether the text is an identity in the form that `verify` asks for.
fn is_identity(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text of a field of a document.
fn text<'v>(document: &'v Value, field: &str) -> Option<&'v str> {
    document.pointer(&format!("/{}", field.replace('.', "/")))?.as_str()
}
