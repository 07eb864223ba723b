//! Asks a cluster which documents it has, by identity.
//!
//! Most answers that are no proof come with status 200: some shards failed, a target that is not there, a search that
//! was ended early. A closed index is seen only where it is named exactly, so no question has a wildcard or ignores
//! unavailable targets. The question outside the target is the exception: it only ever finds.

mod index_settings;
mod rollover;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use s1_forwarder_engine::sink::lookup::{Inconclusive, Listed, Lookup, Retention};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{Identity, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::index_settings::{
    CREATED, FROZEN, REFRESH, REPLICATION, SEARCH_PIPELINE, refresh_interval, refuse_hiding, refuse_rare_refresh, text,
};
use self::rollover::retention;
use self::search::{
    Buckets, FIELDS, FILTER, FieldSample, Hit, IN_ECS, IN_FAILURE, IN_LABEL, IN_OCSF, IN_RAW, Samples, Total,
    is_forbidden, no_such_target, proof, question_by, whole,
};
use crate::http::Endpoint;
use crate::http::lookup::{LookupClient, by_status, spellings};
use crate::http::transport::exchange::Response;

/// The most identities of one question. With two copies of each, the answer is below 500 KB.
const MAX_IDENTITIES: usize = 1_000;
/// The most documents of one list.
const MAX_LISTED: usize = 2_500;
const TIME: &str = "@timestamp";
const JSON: &str = "application/json";
/// Members of OpenSearch's cluster settings that may have the interval of indices without their own. The first one
/// present counts.
const DEFAULT_REFRESH: [&str; 3] = ["transient", "persistent", "defaults"];
/// A header of all answers of Elasticsearch, which has no such default.
const IS_ELASTIC: &str = "x-elastic-product";
/// Longest refresh interval of other indices that is waited for, unless documents get more time to become visible.
const MAX_REFRESH_ELSEWHERE: Duration = Duration::from_mins(1);
/// How the names of the indices of data streams begin. Other names with a dot belong to the cluster itself.
const BACKING: &str = ".ds-";
/// Fields of alerts that detection rules of Kibana make: since 8.0, and before.
const ALERT_FIELDS: [&str; 2] = ["kibana.alert.uuid", "signal.rule.id"];
/// Properties of an alias that hide documents.
const NARROWING: [&str; 2] = ["filter", "search_routing"];
/// The most indices of a target that are looked into one by one.
const MAX_INDICES: usize = 10_000;
/// Documents of each index that are asked for by their own identity, for each field: as many as an index gives by
/// default. An analyzer of a language changes one identity of twenty.
const SAMPLES: usize = 100;
/// An identity as it is asked for.
const AN_IDENTITY: &str = "[0-9a-f]{32}";

#[derive(Debug)]
pub(super) struct ClusterLookup {
    pub(super) client: LookupClient,
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
    /// The indices of the target when it was asked about first, and when they were made.
    pub(super) first: OnceLock<BTreeMap<String, Option<Timestamp>>>,
    /// Whether the primary shards are asked: replicas may lack documents for longer than a refresh takes.
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

impl ClusterLookup {
    /// Returns the question for the documents with these identities, which are sorted.
    fn question(&self, identities: &[Identity]) -> Value {
        let [ids, _] = spellings(identities);
        let mut question = question_by(&FIELDS, &ids);
        if let Some(Value::Array(should)) = question.pointer_mut("/query/bool/should") {
            should.push(json!({ "ids": { "values": ids } }));
        }
        question
    }

    /// Asks about all of one target.
    async fn post(&self, target: &str, question: Value) -> Result<Response, Inconclusive> {
        let mut url = self.base.join(&format!("{target}/_search")).with_query("allow_partial_search_results", "false");
        if self.asks_primaries.load(Ordering::Relaxed) {
            url = url.with_query("preference", "_primary");
        }
        self.client.post(&url.with_query("filter_path", FILTER), JSON, question.to_string()).await
    }

    async fn search(&self, target: &str, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Inconclusive> {
        let response = self.post(target, self.question(identities)).await?;
        let found = proof(&response, target)?;
        let foreign = || Inconclusive::NoProof(format!("{target} returned a document that was not requested"));
        found.hits.hits.into_iter().map(|hit| hit.placed(identities).ok_or_else(foreign)).collect()
    }

    /// Returns the listed document; `None` if it has no identity, or no time.
    fn listed(&self, hit: &Hit<'_>) -> Option<Listed> {
        let identity = hit.named(self.field).and_then(|text| text.parse().ok()).or_else(|| hit.id.parse().ok())?;
        let time = Timestamp::parse(hit.source.get(TIME)?.as_str()?).ok()?;
        Some(Listed { identity, time, occurrences: 1 })
    }

    /// Finds documents outside the target: an ingest pipeline has changed their index, or the alias had another one.
    /// Documents of other pipelines may have the same identities. Where the lane's documents name their data stream, no
    /// others count.
    ///
    /// # Errors
    /// If the answer is not about everything that the credentials may read. A document that no question looked for is
    /// not missing.
    async fn rerouted(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Inconclusive> {
        let url = self.base.join("_search").with_query("ignore_unavailable", "true");
        let url = url.with_query("expand_wildcards", "open,hidden").with_query("filter_path", FILTER);
        let mut question = self.question(identities);
        // An alert of the SIEM has a copy of the document that it is about, with its identity and data stream.
        if let Some(query) = question.pointer_mut("/query/bool") {
            query["must_not"] = ALERT_FIELDS.iter().map(|field| json!({ "exists": { "field": field } })).collect();
        }
        let response = self.client.post(&url, JSON, question.to_string()).await?;
        if is_forbidden(&response) {
            return Ok(Vec::new());
        }
        let found = proof(&response, "all that the credentials may read")?;
        let hits = found.hits.hits.into_iter().filter(|hit| self.data_stream.as_ref().is_none_or(|own| hit.is_of(own)));
        let place = |hit: Hit<'_>| {
            let unread = Inconclusive::NoProof(format!("`{}` has an event whose identity cannot be read", hit.index));
            hit.placed(identities).ok_or(unread)
        };
        hits.map(place).collect()
    }

    /// Documents that the cluster accepted and put into the failure store of the data stream. Most targets have none,
    /// and most clusters know of none.
    async fn failed(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Inconclusive> {
        let store = format!("{}::failures", self.name);
        let response = self.post(&store, question_by(&[IN_FAILURE], &spellings(identities)[0])).await?;
        if matches!(response.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) || is_forbidden(&response) {
            return Ok(Vec::new());
        }
        if whole(&response, &store).is_err_and(|inconclusive| inconclusive == no_such_target(&store)) {
            return Ok(Vec::new());
        }
        let found = proof(&response, &store)?;
        Ok(found.hits.hits.into_iter().filter_map(|hit| hit.placed(identities)).collect())
    }

    /// Returns the cluster's answer about the target.
    fn metadata(&self, response: &Response) -> Result<Value, Inconclusive> {
        if response.status != StatusCode::OK {
            return Err(by_status(&response.view(0)));
        }
        serde_json::from_slice(&response.body)
            .map_err(|_| Inconclusive::NoProof(format!("{}: the answer is none of a cluster", self.name)))
    }

    /// Returns whether this is an alias, or a pattern of aliases. Documents that a filter or a routing hides cannot be
    /// seen.
    async fn is_alias(&self, name: &str) -> Result<bool, Inconclusive> {
        let response = self.client.get(&self.base.join(&format!("_alias/{name}"))).await?;
        if is_no_alias(&response) {
            return Ok(false);
        }
        let indices = self.metadata(&response)?;
        let aliases =
            indices.as_object().into_iter().flatten().filter_map(|(_, index)| index.get("aliases")?.as_object());
        for (alias, settings) in aliases.flatten() {
            if let Some(key) = NARROWING.into_iter().find(|key| settings.get(key).is_some()) {
                let reason = format!("the alias `{alias}` has a `{key}`, which may hide documents");
                return Err(Inconclusive::NoProof(reason));
            }
        }
        Ok(true)
    }

    /// Waits for the refresh of other indices: an ingest pipeline may have put events there, which are found only after
    /// it. Fails if the refresh is too rare.
    async fn await_refresh_elsewhere(&self) -> Result<(), Inconclusive> {
        let url = self.base.join(&format!("_settings/{REFRESH}")).with_query("flat_settings", "true");
        let response = self.client.get(&url.with_query("expand_wildcards", "open,hidden")).await?;
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
                    Inconclusive::NoProof(format!(
                        "the cluster has the cluster.default.index.refresh_interval {interval}, and an ingest pipeline may \
                         have put events into an index that has no other one: set a shorter one, or `verify.settle` to more"
                    ))
                })?);
            }
            Ok(None) | Err(Inconclusive::NoProof(_)) => {}
            Err(inconclusive) => return Err(inconclusive),
        }
        sleep(longest.saturating_sub(self.visible_after)).await;
        Ok(())
    }

    /// Returns the fields by which each document of the target can be found.
    fn own_fields(&self) -> BTreeSet<&'static str> {
        [self.field, IN_ECS, IN_OCSF, IN_LABEL].into()
    }

    /// Fails if a document has no identity that can be searched for, since it may be any event. An ingest pipeline may
    /// have replaced its `_id`, even by one that looks like an identity. Another text in the field is no identity.
    async fn refuse_unnamed(&self) -> Result<(), Inconclusive> {
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
            Total { value, .. } => Err(Inconclusive::NoProof(format!(
                "{value} documents of `{}` have no `{}` that is indexed as 32 lower-case hex digits, and their `_id` \
                 may be another one: each may be an event that is not found",
                self.name, self.field
            ))),
        }
    }

    /// Fails if a field with an identity does not find it. Its analyzer may split the text, and a field of the mapping
    /// may have another value than the document. Some documents of each index are asked for by the identities that they
    /// have, as events are.
    async fn refuse_unfindable(&self) -> Result<(), Inconclusive> {
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
        let inconclusive = |reason: &str| Inconclusive::NoProof(format!("{}: {reason}", self.name));
        let Some(Samples { index: Buckets { sum_other_doc_count: 0, buckets } }) = found.aggregations else {
            return Err(inconclusive("the answer does not have a document of each index"));
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
                    let unread =
                        |_| inconclusive(&format!("`{field}` of a document of `{}` cannot be read", hit.index));
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
                    return Err(inconclusive(&format!(
                        "`{index}` does not find its own documents by `{field}`, and their `_id` may be another one: \
                         each may be an event that is not found; a `keyword` finds them"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Checks the indices of the target. Returns since when all documents that were sent to the target are there.
    async fn indices(&self) -> Result<Retention, Inconclusive> {
        let settings = [REFRESH, CREATED, SEARCH_PIPELINE, FROZEN, REPLICATION].join(",");
        let url = self.base.join(&format!("{}/_settings/{settings}", self.name));
        let response = self.client.get(&url.with_query("flat_settings", "true")).await?;
        let indices = self.metadata(&response)?;
        let indices: Vec<(&String, &Value)> = indices.as_object().into_iter().flatten().collect();
        if indices.is_empty() {
            return Err(Inconclusive::NoProof(format!("{}: the answer names no index", self.name)));
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
            return Err(Inconclusive::NoProof(format!(
                "`{name}` has gone from `{}` since it was asked about first: ask again",
                self.name
            )));
        }
        Ok(retention(now.iter().map(|(name, created)| (name.as_str(), *created))))
    }

    /// Returns the refresh interval of indices without their own; `None` for the default of each release, a second.
    async fn default_refresh(&self) -> Result<Option<String>, Inconclusive> {
        let url = self.base.join("_cluster/settings").with_query("include_defaults", "true");
        let url = url.with_query("filter_path", "*.cluster.default.index.refresh_interval");
        let response = self.client.get(&url).await?;
        if response.headers.contains_key(IS_ELASTIC) {
            return Ok(None);
        }
        if matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Inconclusive::NoProof(format!(
                "the credentials may not read the interval of indices that have no {REFRESH}: set it in the index \
                 template, or give the right `cluster:monitor/state`"
            )));
        }
        let settings = self.metadata(&response)?;
        let of = |part: &str| settings.get(part)?.pointer("/cluster/default/index/refresh_interval")?.as_str();
        Ok(DEFAULT_REFRESH.into_iter().find_map(of).map(str::to_owned))
    }
}

/// Returns whether the cluster says that the target is no alias. A gateway may answer with 404 in its place.
fn is_no_alias(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        status: u16,
    }
    matches!(response.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
        && serde_json::from_slice(&response.body).is_ok_and(|refusal: Refusal| refusal.status == response.status)
}

#[async_trait]
impl Lookup for ClusterLookup {
    fn target_text(&self) -> String {
        format!("`{}` at {}, by `_id` and `{}`", self.name, self.base, self.field)
    }

    fn max_identities_per_query(&self) -> usize {
        MAX_IDENTITIES
    }

    fn visible_after(&self) -> Duration {
        self.visible_after
    }

    async fn retention(&self, _patience: Duration) -> Result<Retention, Inconclusive> {
        let is_alias = self.is_alias(&self.name).await?;
        Ok(match self.indices().await? {
            Retention::Since(created) if is_alias => Retention::Alias(created),
            retention => retention,
        })
    }

    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive> {
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

    fn max_listed(&self) -> usize {
        MAX_LISTED
    }

    async fn list(&self, window: Range<Timestamp>) -> Result<Vec<Listed>, Inconclusive> {
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

    async fn check_findable(&self) -> Result<(), Inconclusive> {
        self.refuse_unnamed().await?;
        self.refuse_unfindable().await?;
        self.await_refresh_elsewhere().await?;
        for name in &self.elsewhere {
            self.is_alias(name).await?;
        }
        Ok(())
    }

    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        let mut places = vec![None; identities.len()];
        let mut found = self.rerouted(identities).await?;
        found.extend(self.failed(identities).await?);
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
