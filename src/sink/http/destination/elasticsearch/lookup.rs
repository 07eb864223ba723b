//! Asks a cluster which documents it has, by identity.
//!
//! Most answers that are no proof come with status 200: some shards failed, a target that is not there, a search that
//! was ended early. A closed index is seen only where it is named exactly, so no question has a wildcard or ignores
//! what is unavailable, except the one that looks outside the target: that one only ever finds.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::document::parts;
use crate::record::{Identity, Timestamp};
use crate::settings::Schema;
use crate::sink::http::Endpoint;
use crate::sink::http::lookup::{Questions, by_status};
use crate::sink::http::transport::exchange::Response;
use crate::sink::lookup::{Kept, Listed, Lookup, Unproven};

/// The most identities of one question. With two copies of each, the answer is below 500 KB.
const MOST: usize = 1_000;
/// Further copies of some of them that fit into an answer.
const COPIES: usize = 100;
/// The most documents of one list.
const MOST_LISTED: usize = 2_500;
const TIME: &str = "@timestamp";
const JSON: &str = "application/json";
const REFRESH: &str = "index.refresh_interval";
/// What an alias may have that hides documents.
const NARROWING: [&str; 2] = ["filter", "search_routing"];
/// Parts of what a cluster says of a question that exceeds a setting of an index.
const TOO_LARGE: [&str; 2] = ["max_terms_count", "max_result_window"];
const IN_LABEL: &str = "labels.s1_identity";
const FILTER: &str = "timed_out,terminated_early,_shards.total,_shards.successful,_shards.failed,_clusters,hits.total,\
                      hits.hits._id,hits.hits._index,hits.hits._source,error.type,error.reason,error.root_cause";

#[derive(Debug)]
pub(super) struct ClusterLookup {
    pub(super) questions: Questions,
    pub(super) base: Endpoint,
    /// The data stream, index or alias that documents are sent to.
    pub(super) name: String,
    /// Where a document has its identity next to `_id`, which an ingest pipeline may replace.
    pub(super) field: &'static str,
    pub(super) settle: Duration,
    /// Where ingest pipelines put documents.
    pub(super) elsewhere: Vec<String>,
    /// Set once each document of the target is known to have an identity.
    pub(super) named: OnceCell<()>,
}

/// Where documents of this schema have their identity.
pub(super) fn field(schema: Schema, is_package: bool) -> &'static str {
    match schema {
        _ if is_package => IN_LABEL,
        Schema::Ecs => "sentinel_one.identity",
        Schema::Ocsf => "metadata.uid",
        Schema::Raw => "event.id",
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
    /// What stands next to hits that are not all.
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    /// Those that had nothing to search are among them.
    successful: u64,
    failed: u64,
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

#[derive(Deserialize)]
struct Failed {
    error: Cause,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    root_cause: Vec<Cause>,
}

impl ClusterLookup {
    /// The documents with these identities, which are sorted, in `target`.
    fn question(&self, identities: &[Identity]) -> Value {
        let ids: Vec<String> = identities.iter().map(Identity::to_string).collect();
        json!({
            "size": 2 * identities.len() + COPIES,
            "_source": [self.field, "data_stream"],
            "track_total_hits": true,
            "query": { "bool": { "should": [{ "ids": { "values": ids } }, { "terms": { self.field: ids } }] } },
        })
    }

    /// Asks one target about all of it.
    async fn post(&self, target: &str, question: Value) -> Result<Response, Unproven> {
        let url = self.base.join(&format!("{target}/_search")).with_query("allow_partial_search_results", "false");
        self.questions.post(&url.with_query("filter_path", FILTER), JSON, question.to_string()).await
    }

    async fn search(&self, target: &str, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let response = self.post(target, self.question(identities)).await?;
        let found = proof(&response, target)?;
        let of = |hit: Hit<'_>| {
            let identity = self.identity(&hit, identities);
            let index = hit.index.into_owned();
            let foreign = || Unproven::NoProof(format!("{target} answers with a document that nobody asked for"));
            identity.map(|identity| (identity, index)).ok_or_else(foreign)
        };
        found.hits.hits.into_iter().map(of).collect()
    }

    /// Which of the identities a document has.
    fn identity(&self, hit: &Hit<'_>, identities: &[Identity]) -> Option<Identity> {
        let asked = |text: &str| text.parse().ok().filter(|identity| identities.binary_search(identity).is_ok());
        asked(&hit.id).or_else(|| asked(self.named(hit)?))
    }

    /// The identity that the document itself has, as text.
    fn named<'a>(&self, hit: &'a Hit<'_>) -> Option<&'a str> {
        let pointer = format!("/{}", self.field.replace('.', "/"));
        hit.source.pointer(&pointer).or_else(|| hit.source.get(self.field))?.as_str()
    }

    /// `None` if the document has no identity, or no time.
    fn listed(&self, hit: &Hit<'_>) -> Option<Listed> {
        let identity = hit.id.parse().ok().or_else(|| self.named(hit)?.parse().ok())?;
        let time = Timestamp::parse(hit.source.get(TIME)?.as_str()?).ok()?;
        Some(Listed { identity, time, copies: 1 })
    }

    /// Documents outside the target that say that they were sent to it: an ingest pipeline has changed their index. It
    /// is not asked about those of other pipelines, which may have the same identities.
    ///
    /// # Errors
    /// If the answer does not say of all that the credentials may read. What nobody has looked for is not missing.
    async fn rerouted(&self, identities: &[Identity]) -> Result<Vec<(Identity, String)>, Unproven> {
        let own: Value = serde_json::from_str(&parts(&self.name)).unwrap_or_default();
        if own.is_null() {
            return Ok(Vec::new());
        }
        let url = self.base.join("_search").with_query("ignore_unavailable", "true");
        let url = url.with_query("filter_path", FILTER);
        let response = self.questions.post(&url, JSON, self.question(identities).to_string()).await?;
        // The credentials may read the target alone.
        if matches!(response.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Ok(Vec::new());
        }
        let found = proof(&response, "all that the credentials may read")?;
        let is_own = |hit: &Hit<'_>| hit.source.get("data_stream") == Some(&own);
        let hits = found.hits.hits.into_iter().filter(is_own);
        Ok(hits.filter_map(|hit| Some((self.identity(&hit, identities)?, hit.index.into_owned()))).collect())
    }

    /// What the cluster says of the target there; `null` if the target is nothing of that kind.
    async fn metadata(&self, url: &Endpoint) -> Result<Value, Unproven> {
        let response = self.questions.get(url).await?;
        match response.status {
            StatusCode::OK => serde_json::from_slice(&response.body)
                .map_err(|_| Unproven::NoProof(format!("{}: the answer is none of a cluster", self.name))),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Ok(Value::Null),
            _ => Err(by_status(&response.view(0))),
        }
    }

    /// What a filter or the routing of an alias hides cannot be seen.
    async fn refuse_narrowing_alias(&self) -> Result<(), Unproven> {
        let indices = self.metadata(&self.base.join(&format!("_alias/{}", self.name))).await?;
        for (_, index) in indices.as_object().into_iter().flatten() {
            let alias = index.get("aliases").and_then(|aliases| aliases.get(&self.name));
            let narrows = |key: &&str| alias.is_some_and(|alias| alias.get(key).is_some());
            if let Some(key) = NARROWING.into_iter().find(narrows) {
                return Err(Unproven::NoProof(format!(
                    "the alias `{}` has a `{key}`, and what it hides is not seen",
                    self.name
                )));
            }
        }
        Ok(())
    }

    /// A document that has another `_id`, and no identity that can be searched for, may be any event.
    async fn refuse_unnamed(&self) -> Result<(), Unproven> {
        let question = json!({
            "size": MOST_LISTED,
            "_source": false,
            "track_total_hits": true,
            "query": { "bool": { "must_not": { "exists": { "field": self.field } } } },
        });
        let response = self.post(&self.name, question).await?;
        let found = proof(&response, &self.name).map_err(|unproven| match unproven {
            // The question cannot be made smaller.
            Unproven::TooLarge(reason) => Unproven::NoProof(format!(
                "each document that has no `{}` that is indexed may be an event that is not found: {reason}",
                self.field
            )),
            other => other,
        })?;
        let unnamed = found.hits.hits.iter().filter(|hit| hit.id.parse::<Identity>().is_err()).count();
        match unnamed {
            0 => Ok(()),
            _ => Err(Unproven::NoProof(format!(
                "{unnamed} documents of `{}` have another `_id`, and no `{}` that is indexed: each may be an event that \
                 is not found",
                self.name, self.field
            ))),
        }
    }

    /// A document is found only after a refresh, whatever was acknowledged.
    async fn refuse_rare_refresh(&self) -> Result<(), Unproven> {
        let url = self.base.join(&format!("{}/_settings/{REFRESH}", self.name)).with_query("flat_settings", "true");
        let indices = self.metadata(&url).await?;
        for (index, settings) in indices.as_object().into_iter().flatten() {
            let Some(interval) = settings.get("settings").and_then(|settings| settings.get(REFRESH)?.as_str()) else {
                continue;
            };
            if refresh_interval(interval).is_none_or(|interval| interval > self.settle) {
                return Err(Unproven::NoProof(format!(
                    "`{index}` has the {REFRESH} {interval}, and what is not refreshed is not found: refresh it and \
                     set an interval, or set `verify.settle` to more than the interval"
                )));
            }
        }
        Ok(())
    }
}

/// How long a document may take to be found; `None` if nobody says when it is.
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

/// An answer about the whole target.
fn proof<'a>(response: &'a Response, target: &str) -> Result<Found<'a>, Unproven> {
    let view = response.view(0);
    let unproven = |reason: String| Unproven::NoProof(format!("{target}: {reason}"));
    if response.status != StatusCode::OK {
        if let Ok(Failed { error }) = serde_json::from_slice(&response.body)
            && let Cause { kind, reason, .. } = error.root_cause.first().unwrap_or(&error)
            && (response.status.is_client_error() || error.kind == "search_phase_execution_exception")
            && !matches!(response.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE)
        {
            let reason = view.excerpt(&format!("{} {kind}: {reason}", response.status.as_u16()));
            return Err(match TOO_LARGE.iter().any(|setting| reason.contains(setting)) {
                true => Unproven::TooLarge(format!("{target}: {reason}")),
                false => unproven(reason),
            });
        }
        return Err(by_status(&view));
    }
    let found: Found<'_> = match serde_json::from_slice(&response.body) {
        Ok(found) => found,
        Err(error) if error.is_eof() => return Err(Unproven::TooLarge("the answer breaks off".to_owned())),
        Err(_) => return Err(unproven("the answer is none of a search".to_owned())),
    };
    let Found { timed_out, terminated_early, shards, clusters, error, hits } = &found;
    if error.is_some() {
        return Err(unproven("the answer has an error next to its hits".to_owned()));
    }
    if *timed_out || *terminated_early {
        return Err(unproven("the search was ended before it had seen all documents".to_owned()));
    }
    let Shards { total, successful, failed } = *shards;
    if failed > 0 || successful < total {
        return Err(unproven(format!(
            "{} of {total} shards did not answer",
            failed.max(total - successful.min(total))
        )));
    }
    if total == 0 {
        return Err(unproven("there is no such target".to_owned()));
    }
    if clusters.as_ref().is_some_and(|clusters| clusters.successful < clusters.total) {
        return Err(unproven("a cluster that belongs to the target did not answer".to_owned()));
    }
    if hits.total.relation != "eq" || hits.total.value != hits.hits.len() as u64 {
        let (all, sent) = (hits.total.value, hits.hits.len());
        return Err(Unproven::TooLarge(format!("{target}: {sent} of {all} documents were sent")));
    }
    Ok(found)
}

#[async_trait]
impl Lookup for ClusterLookup {
    fn asked(&self) -> String {
        format!("`{}` at {}, by `_id` and `{}`", self.name, self.base, self.field)
    }

    fn most(&self) -> usize {
        MOST
    }

    fn settle(&self) -> Duration {
        self.settle
    }

    /// As long as the first backing index is there, none was removed.
    async fn kept(&self) -> Result<Kept, Unproven> {
        self.refuse_narrowing_alias().await?;
        self.refuse_rare_refresh().await?;
        let url = self.base.join(&format!("_data_stream/{}", self.name));
        let url = url.with_query("filter_path", "data_streams.indices.index_name");
        let streams = self.metadata(&url).await?;
        let first = streams.pointer("/data_streams/0/indices/0/index_name").and_then(Value::as_str);
        Ok(match first.is_some_and(|name| name.ends_with("-000001")) {
            true => Kept::Everything,
            false => Kept::Unknown,
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
        MOST_LISTED
    }

    async fn list(&self, window: Range<Timestamp>) -> Result<Vec<Listed>, Unproven> {
        let Range { start, end } = window;
        let question = json!({
            "size": MOST_LISTED,
            "_source": [self.field, TIME],
            "track_total_hits": true,
            "query": { "range": { TIME: { "gte": start.to_string(), "lt": end.to_string() } } },
        });
        let response = self.post(&self.name, question).await?;
        let found = proof(&response, &self.name)?;
        Ok(found.hits.hits.iter().filter_map(|hit| self.listed(hit)).collect())
    }

    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        self.named.get_or_try_init(|| self.refuse_unnamed()).await?;
        let mut places = vec![None; identities.len()];
        let mut found = self.rerouted(identities).await?;
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
