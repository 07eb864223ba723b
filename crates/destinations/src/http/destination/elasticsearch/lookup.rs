//! Asks a cluster which documents it has, by identity.
//!
//! Most answers that are no proof come with status 200: some shards failed, a target that is not there, a search that
//! was ended early. A closed index is seen only where it is named exactly, so no question has a wildcard or ignores
//! what is unavailable, except the one that looks outside the target: that one only ever finds.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use s1_forwarder_engine::sink::lookup::{Kept, Listed, Lookup, Unproven};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{Identity, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::http::Endpoint;
use crate::http::lookup::{Questions, by_status, of_spelling, spellings};
use crate::http::transport::exchange::Response;

/// The most identities of one question. With two copies of each, the answer is below 500 KB.
const MAX_IDENTITIES: usize = 1_000;
/// Further copies of some of them that fit into an answer.
const COPIES: usize = 100;
/// The most documents of one list.
const MAX_LISTED: usize = 2_500;
const TIME: &str = "@timestamp";
const JSON: &str = "application/json";
const REFRESH: &str = "index.refresh_interval";
const CREATED: &str = "index.creation_date";
/// A search pipeline may change a question, and may leave hits out of the answer.
const SEARCH_PIPELINE: &str = "index.search.default_pipeline";
/// The search pipeline that is none.
const NO_PIPELINE: &str = "_none";
/// Set where an index is frozen, as Elasticsearch 7 can: a question about the whole target leaves it out.
const FROZEN: &str = "index.search.throttled";
/// How replicas get documents.
const REPLICATION: &str = "index.replication.type";
/// Members of OpenSearch's cluster settings that may have the interval of indices without their own. The first one
/// present counts.
const DEFAULT_REFRESH: [&str; 3] = ["transient", "persistent", "defaults"];
/// A header of all answers of Elasticsearch, which has no such default.
const IS_ELASTIC: &str = "x-elastic-product";
/// Longest refresh interval of other indices that is waited for, unless documents get more time to become visible.
const MAX_REFRESH_ELSEWHERE: Duration = Duration::from_secs(60);
/// How the names of the indices of data streams begin. Others with a dot are those of the cluster itself.
const BACKING: &str = ".ds-";
/// The digits of a number that a rollover gives.
const ROLLED_DIGITS: usize = 6;
/// The clocks of cluster and console may differ by this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(3_600);
/// Properties of an alias that hide documents.
const NARROWING: [&str; 2] = ["filter", "search_routing"];
/// Parts of what a cluster says of a question that exceeds a setting of an index, or of its nodes.
const TOO_LARGE: [&str; 3] = ["max_terms_count", "max_result_window", "maxClauseCount"];
const IN_LABEL: &str = "labels.s1_identity";
const IN_ECS: &str = "sentinel_one.identity";
const IN_OCSF: &str = "metadata.uid";
const IN_RAW: &str = "event.id";
/// Field in which a document of a failure store has the `_id` that it was sent with.
const IN_FAILURE: &str = "document.id";
/// The most indices of a target that are looked into one by one.
const MAX_INDICES: usize = 10_000;
/// Documents of each index that are asked for by their own identity, for each field: as many as an index gives by
/// default. An analyzer of a language changes one identity of twenty.
const SAMPLES: usize = 100;
/// An identity as it is asked for.
const AN_IDENTITY: &str = "[0-9a-f]{32}";
/// Fields in which documents have their identity, by the current settings and by earlier ones.
const FIELDS: [&str; 4] = [IN_ECS, IN_OCSF, IN_LABEL, IN_RAW];
const FILTER: &str = "timed_out,terminated_early,_shards.total,_shards.successful,_shards.failed,_shards.failures,\
                      _clusters,hits.total,hits.hits._id,hits.hits._index,hits.hits._source,aggregations,error.type,\
                      error.reason,error.root_cause";

#[derive(Debug)]
pub(super) struct ClusterLookup {
    pub(super) questions: Questions,
    pub(super) base: Endpoint,
    /// The data stream, index or alias that documents are sent to.
    pub(super) name: String,
    /// Value of `data_stream` in each document; `None` if documents have none.
    pub(super) data_stream: Option<Value>,
    /// Field in which a document has its identity in addition to `_id`, which an ingest pipeline may replace.
    pub(super) field: &'static str,
    pub(super) visible_after: Duration,
    /// Names of indices that ingest pipelines put documents into.
    pub(super) elsewhere: Vec<String>,
    /// Set once each document of the target is known to have an identity that it can be found by.
    pub(super) named: OnceCell<()>,
    /// The indices of the target when it was asked about first, and when they were made.
    pub(super) first: OnceLock<BTreeMap<String, Option<Timestamp>>>,
    /// Replicas may lack documents for longer than a refresh takes, so the primary shards are asked.
    pub(super) asks_primaries: AtomicBool,
}

/// Returns the field in which documents of this schema have their identity.
pub(super) fn field(schema: Schema, is_package: bool) -> &'static str {
    match schema {
        _ if is_package => IN_LABEL,
        Schema::Ecs => IN_ECS,
        Schema::Ocsf => IN_OCSF,
        Schema::Raw => IN_RAW,
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    timed_out: bool,
    #[serde(default)]
    terminated_early: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    /// Other clusters that were asked.
    #[serde(rename = "_clusters")]
    clusters: Option<Clusters>,
    /// The reason why the hits are incomplete.
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    hits: Hits<'a>,
    #[serde(borrow)]
    aggregations: Option<Samples<'a>>,
}

/// Some documents of each index, by the field that has their identity.
#[derive(Deserialize)]
struct Samples<'a> {
    #[serde(borrow)]
    index: Buckets<Vec<Sampled<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Default + Deserialize<'de>"))]
struct Buckets<T> {
    /// Documents of indices that are left out.
    #[serde(default)]
    sum_other_doc_count: u64,
    #[serde(default)]
    buckets: T,
}

#[derive(Deserialize)]
struct Sampled<'a> {
    #[serde(borrow)]
    field: Buckets<BTreeMap<String, FieldSample<'a>>>,
}

#[derive(Deserialize)]
struct FieldSample<'a> {
    #[serde(borrow)]
    document: TopHits<'a>,
}

#[derive(Deserialize)]
struct TopHits<'a> {
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    /// Shards that answered, also those that had nothing to search.
    successful: u64,
    failed: u64,
    /// One failure for each index and reason.
    #[serde(default)]
    failures: Vec<ShardFailure>,
}

#[derive(Deserialize)]
struct ShardFailure {
    #[serde(default)]
    index: String,
    #[serde(default)]
    reason: Cause,
}

#[derive(Deserialize)]
struct Clusters {
    total: u64,
    successful: u64,
}

#[derive(Deserialize)]
struct Hits<'a> {
    total: Total,
    /// The filter leaves out an empty list.
    #[serde(borrow, default)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
    relation: String,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(rename = "_id", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "_index", borrow)]
    index: Cow<'a, str>,
    #[serde(rename = "_source", default)]
    source: Value,
}

impl Hit<'_> {
    /// Returns which of the identities the document has.
    fn identity(&self, identities: &[Identity]) -> Option<Identity> {
        let named = FIELDS.into_iter().chain([IN_FAILURE]).filter_map(|field| self.named(field));
        let texts = [&*self.id].into_iter().chain(named);
        texts.filter_map(of_spelling).find(|identity| identities.binary_search(identity).is_ok())
    }

    /// Returns which of the identities the document has, and the document's index.
    fn placed(self, identities: &[Identity]) -> Option<(Identity, String)> {
        Some((self.identity(identities)?, self.index.into_owned()))
    }

    /// Whether the document says that it was sent to this data stream.
    fn is_of(&self, own: &Value) -> bool {
        ["type", "dataset", "namespace"].into_iter().all(|member| {
            let said = self.named(&format!("data_stream.{member}"));
            said.is_some() && said == own.get(member).and_then(Value::as_str)
        })
    }

    /// The text of this field.
    fn named(&self, field: &str) -> Option<&str> {
        let pointer = format!("/{}", field.replace('.', "/"));
        self.source.pointer(&pointer).or_else(|| self.source.get(field))?.as_str()
    }
}

#[derive(Deserialize)]
struct Failed {
    error: Cause,
}

#[derive(Default, Deserialize)]
struct Cause {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
    /// The index that fails the question, if it is one alone.
    #[serde(default)]
    index: String,
    #[serde(default)]
    root_cause: Vec<Cause>,
}

impl Cause {
    /// Fewer identities may not exceed what the question has exceeded.
    fn is_too_large(&self) -> bool {
        TOO_LARGE.iter().any(|setting| self.reason.contains(setting))
    }

    /// The reason, with the index that gives it.
    fn text(&self, index: &str) -> String {
        let Self { kind, reason, .. } = self;
        if index.is_empty() { format!("{kind}: {reason}") } else { format!("`{index}`: {kind}: {reason}") }
    }
}

impl ClusterLookup {
    /// The documents with these identities, which are sorted.
    fn question(&self, identities: &[Identity]) -> Value {
        let [ids, _] = spellings(identities);
        let mut question = question_by(&FIELDS, &ids);
        if let Some(Value::Array(should)) = question.pointer_mut("/query/bool/should") {
            should.push(json!({ "ids": { "values": ids } }));
        }
        question
    }

    /// Asks one target about all of it.
    async fn post(&self, target: &str, question: Value) -> Result<Response, Unproven> {
        let mut url = self.base.join(&format!("{target}/_search")).with_query("allow_partial_search_results", "false");
        if self.asks_primaries.load(Ordering::Relaxed) {
            url = url.with_query("preference", "_primary");
        }
        self.questions.post(&url.with_query("filter_path", FILTER), JSON, question.to_string()).await
    }

    async fn search(&self, target: &str, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let response = self.post(target, self.question(identities)).await?;
        let found = proof(&response, target)?;
        let foreign = || Unproven::NoProof(format!("{target} answers with a document that nobody asked for"));
        found.hits.hits.into_iter().map(|hit| hit.placed(identities).ok_or_else(foreign)).collect()
    }

    /// `None` if the document has no identity, or no time.
    fn listed(&self, hit: &Hit<'_>) -> Option<Listed> {
        let identity = hit.named(self.field).and_then(|text| text.parse().ok()).or_else(|| hit.id.parse().ok())?;
        let time = Timestamp::parse(hit.source.get(TIME)?.as_str()?).ok()?;
        Some(Listed { identity, time, copies: 1 })
    }

    /// Documents outside the target: an ingest pipeline has changed their index, or the alias had another one. Those of
    /// other pipelines may have the same identities: where the lane's documents name their data stream, no others
    /// count.
    ///
    /// # Errors
    /// If the answer does not say of all that the credentials may read. What nobody has looked for is not missing.
    async fn rerouted(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let url = self.base.join("_search").with_query("ignore_unavailable", "true");
        let url = url.with_query("expand_wildcards", "open,hidden").with_query("filter_path", FILTER);
        let response = self.questions.post(&url, JSON, self.question(identities).to_string()).await?;
        if is_forbidden(&response) {
            return Ok(Vec::new());
        }
        let found = proof(&response, "all that the credentials may read")?;
        let hits = found.hits.hits.into_iter().filter(|hit| self.data_stream.as_ref().is_none_or(|own| hit.is_of(own)));
        let place = |hit: Hit<'_>| {
            let unread = Unproven::NoProof(format!("`{}` has an event whose identity cannot be read", hit.index));
            hit.placed(identities).ok_or(unread)
        };
        hits.map(place).collect()
    }

    /// Documents of the target whose identity somebody has written in another way.
    async fn respelled(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let [plain, hyphenated] = spellings(identities);
        let upper = [&plain, &hyphenated].map(|texts| texts.iter().map(|text| text.to_ascii_uppercase()).collect());
        let mut found = Vec::new();
        for texts in upper.into_iter().chain([hyphenated]) {
            let response = self.post(&self.name, question_by(&FIELDS, &texts)).await?;
            let hits = proof(&response, &self.name)?.hits.hits;
            found.extend(hits.into_iter().filter_map(|hit| hit.placed(identities)));
        }
        Ok(found)
    }

    /// Documents that the cluster accepted and put into the failure store of the data stream. Most targets have none,
    /// and most clusters know of none.
    async fn failed(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let store = format!("{}::failures", self.name);
        let response = self.post(&store, question_by(&[IN_FAILURE], &spellings(identities)[0])).await?;
        if matches!(response.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) || is_forbidden(&response) {
            return Ok(Vec::new());
        }
        if whole(&response, &store).is_err_and(|unproven| unproven == no_such_target(&store)) {
            return Ok(Vec::new());
        }
        let found = proof(&response, &store)?;
        Ok(found.hits.hits.into_iter().filter_map(|hit| hit.placed(identities)).collect())
    }

    /// Returns the cluster's answer about the target.
    fn metadata(&self, response: &Response) -> Result<Value, Unproven> {
        if response.status != StatusCode::OK {
            return Err(by_status(&response.view(0)));
        }
        serde_json::from_slice(&response.body)
            .map_err(|_| Unproven::NoProof(format!("{}: the answer is none of a cluster", self.name)))
    }

    /// Whether this is an alias, or a pattern of aliases. Documents that a filter or a routing hides cannot be seen.
    async fn is_alias(&self, name: &str) -> Result<bool, Unproven> {
        let response = self.questions.get(&self.base.join(&format!("_alias/{name}"))).await?;
        if is_no_alias(&response) {
            return Ok(false);
        }
        let indices = self.metadata(&response)?;
        let aliases =
            indices.as_object().into_iter().flatten().filter_map(|(_, index)| index.get("aliases")?.as_object());
        for (alias, settings) in aliases.flatten() {
            if let Some(key) = NARROWING.into_iter().find(|key| settings.get(key).is_some()) {
                let reason = format!("the alias `{alias}` has a `{key}`, and what it hides is not seen");
                return Err(Unproven::NoProof(reason));
            }
        }
        Ok(true)
    }

    /// An ingest pipeline may have put events into another index, where they are found after a refresh as well. Waits
    /// for this refresh, and fails if it is too rare.
    async fn await_refresh_elsewhere(&self) -> Result<(), Unproven> {
        let url = self.base.join(&format!("_settings/{REFRESH}")).with_query("flat_settings", "true");
        let response = self.questions.get(&url.with_query("expand_wildcards", "open,hidden")).await?;
        if is_forbidden(&response) {
            return Ok(());
        }
        let own = self.first.get();
        let most = self.visible_after.max(MAX_REFRESH_ELSEWHERE);
        let mut longest = Duration::ZERO;
        for (name, index) in self.metadata(&response)?.as_object().into_iter().flatten() {
            let is_own = own.is_some_and(|own| own.contains_key(name));
            let is_of_the_system = name.starts_with('.') && !name.starts_with(BACKING);
            if let Some(interval) = text(index, REFRESH).filter(|_| !is_own && !is_of_the_system) {
                longest = longest.max(refuse_rare_refresh(name, interval, most)?);
            }
        }
        // Other indices have the default, which not all credentials may read.
        match self.default_refresh().await {
            Ok(Some(interval)) => {
                let default = refresh_interval(&interval).filter(|interval| *interval <= most);
                longest = longest.max(default.ok_or_else(|| {
                    Unproven::NoProof(format!(
                        "the cluster has the cluster.default.index.refresh_interval {interval}, and an ingest pipeline may \
                         have put events into an index that has no other one: set a shorter one, or `verify.settle` to more"
                    ))
                })?);
            }
            Ok(None) | Err(Unproven::NoProof(_)) => {}
            Err(unproven) => return Err(unproven),
        }
        sleep(longest.saturating_sub(self.visible_after)).await;
        Ok(())
    }

    /// The fields by which each document of the target can be found.
    fn own_fields(&self) -> BTreeSet<&'static str> {
        [self.field, IN_ECS, IN_OCSF, IN_LABEL].into()
    }

    /// A document without an identity that can be searched for may be any event: an ingest pipeline may have replaced
    /// its `_id`, also by one that looks as an identity does. Another text in the field is none.
    async fn refuse_unnamed(&self) -> Result<(), Unproven> {
        let is_identity = |field: &str| json!({ "regexp": { field: AN_IDENTITY } });
        let named: Vec<Value> = self.own_fields().into_iter().map(is_identity).collect();
        let question = json!({
            "size": 0,
            "_source": false,
            "track_total_hits": true,
            "query": { "bool": { "must_not": named } },
        });
        let response = self.post(&self.name, question).await?;
        match whole(&response, &self.name)?.hits.total {
            Total { value: 0, relation } if relation == "eq" => Ok(()),
            Total { value, .. } => Err(Unproven::NoProof(format!(
                "{value} documents of `{}` have no `{}` that is indexed as 32 lower-case hex digits, and their `_id` \
                 may be another one: each may be an event that is not found",
                self.name, self.field
            ))),
        }
    }

    /// A field that has an identity may not find it: its analyzer may make parts of the text, and a field of the
    /// mapping may have another value than the document. Some documents of each index are asked for by the identities
    /// that they have, as events are.
    async fn refuse_unfindable(&self) -> Result<(), Unproven> {
        let exists = |field: &str| json!({ "exists": { "field": field } });
        let fields: BTreeMap<&str, Value> = self.own_fields().into_iter().map(|field| (field, exists(field))).collect();
        let document = json!({ "top_hits": { "size": SAMPLES, "_source": self.own_fields() } });
        let field = json!({ "filters": { "filters": fields }, "aggs": { "document": document } });
        let question = json!({
            "size": 0,
            "_source": false,
            "track_total_hits": true,
            "aggs": {
                "index": { "terms": { "field": "_index", "size": MAX_INDICES }, "aggs": { "field": field } },
            },
        });
        let response = self.post(&self.name, question).await?;
        let found = whole(&response, &self.name)?;
        let unproven = |reason: &str| Unproven::NoProof(format!("{}: {reason}", self.name));
        let Some(Samples { index: Buckets { sum_other_doc_count: 0, buckets } }) = found.aggregations else {
            return Err(unproven("the answer does not have a document of each index"));
        };
        // By field: the identities that are in it, and a document that has each.
        let mut samples: BTreeMap<&str, BTreeSet<(Identity, &str, &str)>> = BTreeMap::new();
        for (field, FieldSample { document }) in buckets.iter().flat_map(|index| &index.field.buckets) {
            for hit in &document.hits.hits {
                let named = self.own_fields().into_iter().filter_map(|field| Some((field, hit.named(field)?)));
                let mut identities: Vec<(&str, Identity)> =
                    named.filter_map(|(field, text)| Some((field, text.parse().ok()?))).collect();
                // If the cluster keeps no source, most documents have their identity as their `_id`.
                if hit.named(field).is_none() {
                    let unread = |_| unproven(&format!("`{field}` of a document of `{}` cannot be read", hit.index));
                    identities.push((field, hit.id.parse().map_err(unread)?));
                }
                for (field, identity) in identities {
                    samples.entry(field).or_default().insert((identity, &hit.index, &hit.id));
                }
            }
        }
        for (field, samples) in samples {
            let samples: Vec<(Identity, &str, &str)> = samples.into_iter().collect();
            for samples in samples.chunks(MAX_IDENTITIES) {
                let mut identities: Vec<Identity> = samples.iter().map(|(identity, ..)| *identity).collect();
                identities.dedup();
                let response = self.post(&self.name, question_by(&FIELDS, &spellings(&identities)[0])).await?;
                let found = proof(&response, &self.name)?;
                let found: BTreeSet<(&str, &str)> = found.hits.hits.iter().map(|hit| (&*hit.index, &*hit.id)).collect();
                if let Some((_, index, _)) = samples.iter().find(|(_, index, id)| !found.contains(&(*index, *id))) {
                    return Err(unproven(&format!(
                        "`{index}` does not find its own documents by `{field}`, and their `_id` may be another one: \
                         each may be an event that is not found; a `keyword` finds them"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Fails if a document may be in the cluster and not be found.
    async fn refuse_hidden(&self) -> Result<(), Unproven> {
        self.refuse_unnamed().await?;
        self.refuse_unfindable().await?;
        self.await_refresh_elsewhere().await?;
        for name in &self.elsewhere {
            self.is_alias(name).await?;
        }
        Ok(())
    }

    /// The indices of the target, and since when all that was sent to it is there.
    async fn indices(&self) -> Result<Kept, Unproven> {
        let settings = [REFRESH, CREATED, SEARCH_PIPELINE, FROZEN, REPLICATION].join(",");
        let url = self.base.join(&format!("{}/_settings/{settings}", self.name));
        let response = self.questions.get(&url.with_query("flat_settings", "true")).await?;
        let indices = self.metadata(&response)?;
        let indices: Vec<(&String, &Value)> = indices.as_object().into_iter().flatten().collect();
        if indices.is_empty() {
            return Err(Unproven::NoProof(format!("{}: the answer names no index", self.name)));
        }
        let has_default = indices.iter().any(|(_, index)| text(index, REFRESH).is_none());
        let default = if has_default { self.default_refresh().await? } else { None };
        for (name, index) in &indices {
            if let Some(interval) = text(index, REFRESH).or(default.as_deref()) {
                refuse_rare_refresh(name, interval, self.visible_after)?;
            }
            refuse_hiding(name, index)?;
            if text(index, REPLICATION) == Some("SEGMENT") {
                self.asks_primaries.store(true, Ordering::Relaxed);
            }
        }
        let created = |index| {
            let millis: i64 = text(index, CREATED)?.parse().ok()?;
            Some(Timestamp::from_micros(millis.saturating_mul(1_000)))
        };
        let now: BTreeMap<String, Option<Timestamp>> =
            indices.into_iter().map(|(name, index)| (name.clone(), created(index))).collect();
        let first = self.first.get_or_init(|| now.clone());
        if let Some((name, _)) = first.iter().find(|(name, created)| now.get(*name) != Some(*created)) {
            return Err(Unproven::NoProof(format!(
                "`{name}` has gone from `{}` since it was asked about first: ask again",
                self.name
            )));
        }
        Ok(kept(now.iter().map(|(name, created)| (name.as_str(), *created))))
    }

    /// The interval of indices without their own; `None` where it is that of each release, a second.
    async fn default_refresh(&self) -> Result<Option<String>, Unproven> {
        let url = self.base.join("_cluster/settings").with_query("include_defaults", "true");
        let url = url.with_query("filter_path", "*.cluster.default.index.refresh_interval");
        let response = self.questions.get(&url).await?;
        if response.headers.contains_key(IS_ELASTIC) {
            return Ok(None);
        }
        if matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Unproven::NoProof(format!(
                "the credentials may not read the interval of indices that have no {REFRESH}: set it in the index \
                 template, or give the right `cluster:monitor/state`"
            )));
        }
        let settings = self.metadata(&response)?;
        let of = |part: &str| settings.get(part)?.pointer("/cluster/default/index/refresh_interval")?.as_str();
        Ok(DEFAULT_REFRESH.into_iter().find_map(of).map(str::to_owned))
    }
}

/// Returns the interval, unless it is longer than `most`: a document is found only after a refresh, whatever was
/// acknowledged.
fn refuse_rare_refresh(index: &str, interval: &str, most: Duration) -> Result<Duration, Unproven> {
    if let Some(interval) = refresh_interval(interval).filter(|interval| *interval <= most) {
        return Ok(interval);
    }
    Err(Unproven::NoProof(format!(
        "`{index}` has the {REFRESH} {interval}, and what is not refreshed is not found: refresh it and set an interval, \
         or set `verify.settle` to more than the interval"
    )))
}

/// Fails if a setting of an index hides documents from each search.
fn refuse_hiding(name: &str, index: &Value) -> Result<(), Unproven> {
    if let Some(pipeline) = text(index, SEARCH_PIPELINE).filter(|pipeline| *pipeline != NO_PIPELINE) {
        return Err(Unproven::NoProof(format!(
            "`{name}` has the {SEARCH_PIPELINE} `{pipeline}`, and what it leaves out of an answer is not seen"
        )));
    }
    if text(index, FROZEN) == Some("true") {
        return Err(Unproven::NoProof(format!("`{name}` is frozen, and searches leave it out: unfreeze it")));
    }
    Ok(())
}

/// The documents with one of these texts in one of these fields.
fn question_by(fields: &[&str], texts: &[String]) -> Value {
    let should: Vec<Value> = fields.iter().map(|field| json!({ "terms": { *field: texts } })).collect();
    let source = [fields, &["data_stream"]].concat();
    json!({
        "size": 2 * texts.len() + COPIES,
        "_source": source,
        "track_total_hits": true,
        "query": { "bool": { "should": should } },
    })
}

/// The credentials may read the target alone. A gateway may answer with 403 in the cluster's place, and a blocked index
/// is none that they may not read.
fn is_forbidden(response: &Response) -> bool {
    response.status == StatusCode::FORBIDDEN
        && serde_json::from_slice(&response.body).is_ok_and(|failed: Failed| failed.error.kind == "security_exception")
}

/// The cluster says that the target is no alias. A gateway may answer with 404 in its place.
fn is_no_alias(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        status: u16,
    }
    matches!(response.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
        && serde_json::from_slice(&response.body).is_ok_and(|refusal: Refusal| refusal.status == response.status)
}

/// A setting of an index.
fn text<'v>(index: &'v Value, name: &str) -> Option<&'v str> {
    index.get("settings")?.get(name)?.as_str()
}

/// A rollover numbers indices. As long as the first one is there, nothing was removed with an index. Otherwise all is
/// there that was created after the oldest index that has all later ones. Other names say nothing, nor do the numbers
/// of several series.
fn kept<'n>(indices: impl Iterator<Item = (&'n str, Option<Timestamp>)>) -> Kept {
    let mut series = Vec::new();
    let mut numbered = |(name, created): (&'n str, Option<Timestamp>)| {
        let (name, digits) = name.rsplit_once('-').filter(|(_, digits)| digits.len() == ROLLED_DIGITS)?;
        series.push(without_date(name));
        Some((digits.parse::<u32>().ok()?, created?))
    };
    let Some(mut indices) = indices.map(&mut numbered).collect::<Option<Vec<_>>>() else { return Kept::Unknown };
    if !is_one(&series) {
        return Kept::Unknown;
    }
    indices.sort_unstable();
    let next = |(later, earlier): (&(u32, Timestamp), &(u32, Timestamp))| earlier.0 + 1 >= later.0;
    let rest = indices.iter().rev().zip(indices.iter().rev().skip(1)).take_while(|pair| next(*pair)).count();
    match indices.len().checked_sub(rest + 1).and_then(|first| indices.get(first)) {
        None => Kept::Unknown,
        Some((1, created)) => Kept::Since(*created),
        Some((_, created)) => {
            let reason = "an index that documents were sent to before is no longer there (retention?)";
            Kept::From(created.plus(MAX_CLOCK_DIFFERENCE), reason.to_owned())
        }
    }
}

/// The name of a backing index has the day of its creation before the number.
fn without_date(name: &str) -> &str {
    let is_date = |text: &str| text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match name.rsplit_once('-') {
        Some((series, date)) if is_date(date) => series,
        _ => name,
    }
}

/// True for names of one series. An index that was shrunk or restored has a word before its name.
fn is_one(names: &[&str]) -> bool {
    let shortest = names.iter().min_by_key(|name| name.len()).copied().unwrap_or_default();
    names.iter().all(|name| name.strip_suffix(shortest).is_some_and(|word| word.is_empty() || word.ends_with('-')))
}

/// Returns how long a document may take to be found; `None` if the setting does not say.
fn refresh_interval(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let factor = match unit {
        // A plain number is one of milliseconds.
        "ms" | "" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        // Smaller units.
        "micros" | "nanos" => return Some(Duration::from_micros(number)),
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

/// An answer about the whole target, with all of its documents.
fn proof<'a>(response: &'a Response, target: &str) -> Result<Found<'a>, Unproven> {
    let found = whole(response, target)?;
    let Hits { total, hits } = &found.hits;
    if total.relation != "eq" || total.value != hits.len() as u64 {
        let (all, sent) = (total.value, hits.len());
        return Err(Unproven::TooLarge(format!("{target}: {sent} of {all} documents were sent")));
    }
    Ok(found)
}

/// An answer about the whole target.
fn whole<'a>(response: &'a Response, target: &str) -> Result<Found<'a>, Unproven> {
    let view = response.view(0);
    let unproven = |reason: String| Unproven::NoProof(format!("{target}: {reason}"));
    if response.status != StatusCode::OK {
        let by_status = by_status(&view);
        let Ok(Failed { error }) = serde_json::from_slice(&response.body) else { return Err(by_status) };
        let cause = error.root_cause.first().unwrap_or(&error);
        let said = view.excerpt(&format!("{} {}", response.status.as_u16(), cause.text(&cause.index)));
        return Err(match by_status {
            _ if cause.is_too_large() => Unproven::TooLarge(format!("{target}: {said}")),
            Unproven::Later { after, .. } => Unproven::Later { reason: format!("{target}: {said}"), after },
            Unproven::TooLarge(reason) => Unproven::TooLarge(reason),
            Unproven::NoProof(_) => unproven(said),
        });
    }
    let found: Found<'_> = match serde_json::from_slice(&response.body) {
        Ok(found) => found,
        Err(error) if error.is_eof() => return Err(Unproven::TooLarge("the answer breaks off".to_owned())),
        Err(_) => return Err(unproven("the answer is none of a search".to_owned())),
    };
    let Found { timed_out, terminated_early, shards, clusters, error, .. } = &found;
    if error.is_some() {
        return Err(unproven("the answer has an error next to its hits".to_owned()));
    }
    if *timed_out || *terminated_early {
        return Err(unproven("the search was ended before it had seen all documents".to_owned()));
    }
    let Shards { total, successful, failed, ref failures } = *shards;
    // Shards of a new index start, and those of a node that is away start elsewhere.
    let later = |reason: &str| Unproven::Later { reason: format!("{target}: {reason}"), after: None };
    if failed > 0 || successful < total {
        let unheard = failed.max(total - successful.min(total));
        let unheard = format!("{unheard} of {total} shards did not answer");
        let Some(ShardFailure { index, reason }) = failures.first() else { return Err(later(&unheard)) };
        let said = format!("{unheard}; {}", view.excerpt(&reason.text(index)));
        return Err(if reason.is_too_large() { Unproven::TooLarge(format!("{target}: {said}")) } else { later(&said) });
    }
    if total == 0 {
        return Err(no_such_target(target));
    }
    if clusters.as_ref().is_some_and(|clusters| clusters.successful < clusters.total) {
        return Err(later("a cluster that belongs to the target did not answer"));
    }
    Ok(found)
}

fn no_such_target(target: &str) -> Unproven {
    Unproven::NoProof(format!("{target}: there is no such target"))
}

#[async_trait]
impl Lookup for ClusterLookup {
    fn target_text(&self) -> String {
        format!("`{}` at {}, by `_id` and `{}`", self.name, self.base, self.field)
    }

    fn most(&self) -> usize {
        MAX_IDENTITIES
    }

    fn visible_after(&self) -> Duration {
        self.visible_after
    }

    async fn kept(&self, _patience: Duration) -> Result<Kept, Unproven> {
        let is_alias = self.is_alias(&self.name).await?;
        Ok(match self.indices().await? {
            Kept::Since(created) if is_alias => Kept::Alias(created),
            kept => kept,
        })
    }

    async fn copies(&self, identities: &[Identity]) -> Result<Vec<u32>, Unproven> {
        let mut copies = vec![0; identities.len()];
        for (identity, _) in self.search(&self.name, identities).await? {
            if let Ok(place) = identities.binary_search(&identity)
                && let Some(count) = copies.get_mut(place)
            {
                *count += 1;
            }
        }
        Ok(copies)
    }

    fn most_listed(&self) -> usize {
        MAX_LISTED
    }

    async fn list(&self, window: Range<Timestamp>) -> Result<Vec<Listed>, Unproven> {
        let Range { start, end } = window;
        let question = json!({
            "size": MAX_LISTED,
            "_source": [self.field, TIME],
            "track_total_hits": true,
            "query": { "range": { TIME: { "gte": start.to_string(), "lt": end.to_string() } } },
        });
        let response = self.post(&self.name, question).await?;
        let found = proof(&response, &self.name)?;
        Ok(found.hits.hits.iter().filter_map(|hit| self.listed(hit)).collect())
    }

    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        self.named.get_or_try_init(|| self.refuse_hidden()).await?;
        let mut places = vec![None; identities.len()];
        let mut found = self.rerouted(identities).await?;
        found.extend(self.failed(identities).await?);
        found.extend(self.respelled(identities).await?);
        if !self.elsewhere.is_empty() {
            found.extend(self.search(&self.elsewhere.join(","), identities).await?);
        }
        for (identity, index) in found {
            if let Ok(place) = identities.binary_search(&identity)
                && let Some(found) = places.get_mut(place)
            {
                *found = Some(format!("`{index}` (index)"));
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_with_an_index_is_known_by_the_numbers_of_the_others() {
        let hour = |hour: i64| Timestamp::from_micros(hour * 3_600_000_000);
        for (names, expected) in [
            (&[".ds-a-2026.11.28-000001"][..], "since 0"),
            (&[".ds-a-2026.11.27-000001", ".ds-a-2026.11.28-000002"], "since 0"),
            (&["a-000002", "a-000001", "a-000003"], "since 1"),
            // Each was created in the hour of its place here, and the clocks may differ by one.
            (&["a-000002"], "from 1"),
            (&["a-000007", "a-000005", "a-000006"], "from 2"),
            (&["a-000001", "a-000002", "a-000004", "a-000005"], "from 3"),
            (&["shrink-x-a-000003", "a-000004"], "from 1"),
            (&["a"], "unknown"),
            (&["a-2026"], "unknown"),
            (&["a-000001", "blue"], "unknown"),
            // Two series, of which nobody knows which one documents were sent to.
            (&["a-000001", "b-000001"], "unknown"),
            (&["a-000001", "ba-000002"], "unknown"),
            (&[], "unknown"),
        ] {
            let indices = names.iter().zip(0_i64..).map(|(name, created)| (*name, Some(hour(created))));
            let found = match kept(indices) {
                Kept::Since(time) | Kept::Alias(time) => format!("since {}", time.micros() / 3_600_000_000),
                Kept::Everything => "everything".to_owned(),
                Kept::From(time, _) => format!("from {}", time.micros() / 3_600_000_000),
                Kept::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found, expected, "{names:?}");
        }
        assert_eq!(kept([("a-000002", None)].into_iter()), Kept::Unknown);
    }

    #[test]
    fn a_refresh_interval_is_read() {
        for (text, expected) in [("1s", Some(1_000)), ("500ms", Some(500)), ("2m", Some(120_000)), ("-1", None)] {
            assert_eq!(refresh_interval(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
