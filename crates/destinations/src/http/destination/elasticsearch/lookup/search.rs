//! A search for documents by their identities, and whether its answer proves anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::StatusCode;
use s1_forwarder_engine::sink::lookup::Inconclusive;
use s1_forwarder_record::Identity;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::http::lookup::{by_status, of_spelling};
use crate::http::transport::exchange::Response;

/// Further copies of some of the documents that fit into an answer.
const COPIES: usize = 100;
pub(super) const IN_LABEL: &str = "labels.s1_identity";
pub(super) const IN_ECS: &str = "sentinel_one.identity";
pub(super) const IN_OCSF: &str = "metadata.uid";
pub(super) const IN_RAW: &str = "event.id";
/// Field in which a document of a failure store has the `_id` that it was sent with.
pub(super) const IN_FAILURE: &str = "document.id";
/// Fields in which documents have their identity, by the current settings and by earlier ones.
pub(super) const FIELDS: [&str; 4] = [IN_ECS, IN_OCSF, IN_LABEL, IN_RAW];
/// The members of an answer that are asked for.
pub(super) const FILTER: &str = "timed_out,terminated_early,_shards.total,_shards.successful,_shards.failed,\
                                 _shards.failures,_clusters,hits.total,hits.hits._id,hits.hits._index,\
                                 hits.hits._source,aggregations,error.type,error.reason,error.root_cause";
/// Parts of what a cluster says of a question that exceeds a setting of an index, or of its nodes.
const TOO_LARGE: [&str; 3] = ["max_terms_count", "max_result_window", "maxClauseCount"];

/// Returns the question for documents with one of these texts in one of these fields.
pub(super) fn question_by(fields: &[&str], texts: &[String]) -> Value {
    let should: Vec<Value> = fields.iter().map(|field| json!({ "terms": { *field: texts } })).collect();
    let source = [fields, &["data_stream"]].concat();
    json!({
        "size": 2 * texts.len() + COPIES,
        "_source": source,
        "track_total_hits": true,
        "query": { "bool": { "should": should } },
    })
}

/// The answer of a search.
#[derive(Deserialize)]
pub(super) struct Found<'a> {
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
    pub(super) hits: Hits<'a>,
    #[serde(borrow)]
    pub(super) aggregations: Option<Samples<'a>>,
}

/// Some documents of each index, by the field that has their identity.
#[derive(Deserialize)]
pub(super) struct Samples<'a> {
    #[serde(borrow)]
    pub(super) index: Buckets<Vec<Sampled<'a>>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Default + Deserialize<'de>"))]
pub(super) struct Buckets<T> {
    /// Documents of indices that are left out.
    #[serde(default)]
    pub(super) sum_other_doc_count: u64,
    #[serde(default)]
    pub(super) buckets: T,
}

#[derive(Deserialize)]
pub(super) struct Sampled<'a> {
    #[serde(borrow)]
    pub(super) field: Buckets<BTreeMap<String, FieldSample<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct FieldSample<'a> {
    #[serde(borrow)]
    pub(super) document: TopHits<'a>,
}

#[derive(Deserialize)]
pub(super) struct TopHits<'a> {
    #[serde(borrow)]
    pub(super) hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    /// Shards that answered, including shards that had nothing to search.
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
pub(super) struct Hits<'a> {
    pub(super) total: Total,
    /// The filter leaves out an empty list.
    #[serde(borrow, default)]
    pub(super) hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Total {
    pub(super) value: u64,
    pub(super) relation: String,
}

#[derive(Deserialize)]
pub(super) struct Hit<'a> {
    #[serde(rename = "_id", borrow)]
    pub(super) id: Cow<'a, str>,
    #[serde(rename = "_index", borrow)]
    pub(super) index: Cow<'a, str>,
    #[serde(rename = "_source", default)]
    pub(super) source: Value,
}

impl Hit<'_> {
    /// Returns which of the identities the document has.
    fn identity(&self, identities: &[Identity]) -> Option<Identity> {
        let named = FIELDS.into_iter().chain([IN_FAILURE]).filter_map(|field| self.named(field));
        let texts = [&*self.id].into_iter().chain(named);
        texts.filter_map(of_spelling).find(|identity| identities.binary_search(identity).is_ok())
    }

    /// Returns which of the identities the document has, and the document's index.
    pub(super) fn placed(self, identities: &[Identity]) -> Option<(Identity, String)> {
        Some((self.identity(identities)?, self.index.into_owned()))
    }

    /// Returns whether the document says that it was sent to this data stream.
    pub(super) fn is_of(&self, own: &Value) -> bool {
        ["type", "dataset", "namespace"].into_iter().all(|member| {
            let said = self.named(&format!("data_stream.{member}"));
            said.is_some() && said == own.get(member).and_then(Value::as_str)
        })
    }

    /// Returns the text of this field.
    pub(super) fn named(&self, field: &str) -> Option<&str> {
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
    /// Returns whether fewer identities may not exceed the limit that the question has exceeded.
    fn is_too_large(&self) -> bool {
        TOO_LARGE.iter().any(|setting| self.reason.contains(setting))
    }

    /// Returns the reason, with the index that gives it.
    fn text(&self, index: &str) -> String {
        let Self { kind, reason, .. } = self;
        if index.is_empty() { format!("{kind}: {reason}") } else { format!("`{index}`: {kind}: {reason}") }
    }
}

/// Returns an answer about the whole target, with all of its documents.
pub(super) fn proof<'a>(response: &'a Response, target: &str) -> Result<Found<'a>, Inconclusive> {
    let found = whole(response, target)?;
    let Hits { total, hits } = &found.hits;
    if total.relation != "eq" || total.value != hits.len() as u64 {
        let (all, sent) = (total.value, hits.len());
        return Err(Inconclusive::TooLarge(format!("{target}: {sent} of {all} documents were sent")));
    }
    Ok(found)
}

/// Returns an answer about the whole target.
pub(super) fn whole<'a>(response: &'a Response, target: &str) -> Result<Found<'a>, Inconclusive> {
    let view = response.view(0);
    let inconclusive = |reason: String| Inconclusive::NoProof(format!("{target}: {reason}"));
    if response.status != StatusCode::OK {
        let by_status = by_status(&view);
        let Ok(Failed { error }) = serde_json::from_slice(&response.body) else { return Err(by_status) };
        let cause = error.root_cause.first().unwrap_or(&error);
        let said = view.excerpt(&format!("{} {}", response.status.as_u16(), cause.text(&cause.index)));
        return Err(match by_status {
            _ if cause.is_too_large() => Inconclusive::TooLarge(format!("{target}: {said}")),
            Inconclusive::Later { retry_after, .. } => {
                Inconclusive::Later { reason: format!("{target}: {said}"), retry_after }
            }
            Inconclusive::TooLarge(reason) => Inconclusive::TooLarge(reason),
            Inconclusive::NoProof(_) => inconclusive(said),
        });
    }
    let found: Found<'_> = match serde_json::from_slice(&response.body) {
        Ok(found) => found,
        Err(error) if error.is_eof() => return Err(Inconclusive::TooLarge("the answer breaks off".to_owned())),
        Err(_) => return Err(inconclusive("the answer is none of a search".to_owned())),
    };
    let Found { timed_out, terminated_early, shards, clusters, error, .. } = &found;
    if error.is_some() {
        return Err(inconclusive("the answer has an error next to its hits".to_owned()));
    }
    if *timed_out || *terminated_early {
        return Err(inconclusive("the search was ended before it had seen all documents".to_owned()));
    }
    let Shards { total, successful, failed, ref failures } = *shards;
    // Shards of a new index start, and the shards of an unavailable node start elsewhere.
    let later = |reason: &str| Inconclusive::Later { reason: format!("{target}: {reason}"), retry_after: None };
    if failed > 0 || successful < total {
        let unheard = failed.max(total - successful.min(total));
        let unheard = format!("{unheard} of {total} shards did not answer");
        let Some(ShardFailure { index, reason }) = failures.first() else { return Err(later(&unheard)) };
        let said = format!("{unheard}; {}", view.excerpt(&reason.text(index)));
        return Err(if reason.is_too_large() {
            Inconclusive::TooLarge(format!("{target}: {said}"))
        } else {
            later(&said)
        });
    }
    if total == 0 {
        return Err(no_such_target(target));
    }
    if clusters.as_ref().is_some_and(|clusters| clusters.successful < clusters.total) {
        return Err(later("a cluster that belongs to the target did not answer"));
    }
    Ok(found)
}

pub(super) fn no_such_target(target: &str) -> Inconclusive {
    Inconclusive::NoProof(format!("{target}: there is no such target"))
}

/// Returns whether the credentials may read the target alone. A gateway may answer with 403 in the cluster's place, and
/// a blocked index is not one that the credentials may not read.
pub(super) fn is_forbidden(response: &Response) -> bool {
    response.status == StatusCode::FORBIDDEN
        && serde_json::from_slice(&response.body).is_ok_and(|failed: Failed| failed.error.kind == "security_exception")
}
