//! The meaning of a response to a bulk request.

use std::borrow::Cow;
use std::collections::BTreeSet;

use s1_forwarder_engine::sink::{Outcome, RefusedEvent, Warning, WarningReason};
use serde::Deserialize;

use super::indices::Indices;
use crate::http::ResponseView;

/// The parts of a response that are read. Without the filter it repeats a lot for each document.
pub(super) const FILTER: &str = "took,errors,items.*.status,items.*.result,items.*._index,items.*.error.type,items.*.error.reason,\
                                 items.*.error.caused_by.type,items.*.error.caused_by.reason,\
                                 items.*.error.caused_by.caused_by.type,items.*.error.caused_by.caused_by.reason,\
                                 items.*.failure_store";

#[derive(Deserialize)]
struct Bulk<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

/// Only `create` is requested, so the response has no other action.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Created<'a>,
}

#[derive(Deserialize)]
struct Created<'a> {
    status: u16,
    /// `noop`: nothing was created, since an ingest pipeline dropped the document.
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    /// Index that the document is in.
    #[serde(rename = "_index", borrow)]
    index: Option<Cow<'a, str>>,
    error: Option<ClusterError>,
    #[serde(borrow)]
    failure_store: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ClusterError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
    /// OpenSearch has the reason for a refused document here.
    caused_by: Option<Box<ClusterError>>,
}

/// A response to the request as a whole.
#[derive(Deserialize)]
struct Refused {
    error: ClusterError,
}

/// A 400 that is no fault of a document, since every document gets it: type, beginning of the reason, and what to do.
/// The rest of a reason is not compared, for it may quote a document.
const OWN_REFUSALS: [(&str, &str, &str); 12] = [
    ("index_closed_exception", "", "open the index"),
    ("invalid_index_name_exception", "", "correct `data_stream` or `index`"),
    ("validation_exception", "", SHARDS),
    ("illegal_argument_exception", "Validation Failed:", SHARDS),
    ("illegal_argument_exception", "no write index is defined", "set `is_write_index` on one index of the alias"),
    ("illegal_argument_exception", "pipeline with id [", "create the ingest pipeline, or correct `ingest_pipeline`"),
    ("illegal_argument_exception", "no matching index template", "create an index template for the data stream"),
    ("illegal_argument_exception", "composable template [", TEMPLATE),
    ("illegal_argument_exception", "unknown setting [", TEMPLATE),
    ("mapper_parsing_exception", "Failed to parse mapping", TEMPLATE),
    ("invalid_alias_name_exception", "", "correct `data_stream` or `index`"),
    (
        "illegal_argument_exception",
        "only write ops with an op_type of create",
        "documents are sent with `create`: something on the way to the cluster changes requests",
    ),
];

const TEMPLATE: &str = "correct the index template or its component templates";
const SHARDS: &str = "the cluster creates no index: delete indices, add nodes or raise its limit of shards";

impl ClusterError {
    /// Returns type, reason and first cause, for the operator.
    fn text(&self, response: &ResponseView<'_>) -> String {
        let reason = self.reason.as_deref().unwrap_or_default();
        let text = response.excerpt(&format!("{}: {reason}", self.kind));
        let causes = std::iter::successors(self.caused_by.as_deref(), |cause| cause.caused_by.as_deref());
        match causes.filter_map(|cause| cause.reason.as_deref()).last() {
            Some(cause) if cause != reason => format!("{text}: {}", response.excerpt(cause)),
            _ => text,
        }
    }

    /// Returns what to do if no document is to blame; `None` for other errors.
    fn advice(&self) -> Option<&'static str> {
        let chain = std::iter::successors(Some(self), |error| error.caused_by.as_deref());
        let advice = |error: &Self| {
            let reason = error.reason.as_deref().unwrap_or_default();
            let known = OWN_REFUSALS.iter().find(|(kind, start, _)| error.kind == *kind && reason.starts_with(start));
            known.map(|(_, _, advice)| *advice)
        };
        chain.take(3).find_map(advice)
    }
}

impl Created<'_> {
    fn reason(&self, response: &ResponseView<'_>) -> String {
        match &self.error {
            Some(error) => format!("{} {}", self.status, error.text(response)),
            None => self.status.to_string(),
        }
    }

    /// Returns the index that stores the document. `None` if the document was refused, dropped or put into the failure
    /// store.
    fn stored_in(&self) -> Option<&str> {
        let is_stored = (200..=299).contains(&self.status) && !self.is_dropped() && !self.is_in_failure_store();
        self.index.as_deref().filter(|_| is_stored)
    }

    fn is_dropped(&self) -> bool {
        self.result.as_deref() == Some("noop")
    }

    fn is_in_failure_store(&self) -> bool {
        self.failure_store.as_deref() == Some("used")
    }

    /// Returns a warning for an accepted document that is not in the target.
    fn warning(&self, response: &ResponseView<'_>, indices: &Indices, is_foreign: IsForeign) -> Option<Warning> {
        if self.is_in_failure_store() {
            let text = "documents went into the failure store instead of the data stream";
            return Some(Warning { reason: WarningReason::FailureStore, text: text.to_owned() });
        }
        if self.is_dropped() {
            let text =
                "the cluster acknowledges documents and does not keep them (`noop`): an ingest pipeline drops them";
            return Some(Warning { reason: WarningReason::Noop, text: text.to_owned() });
        }
        let elsewhere = self.stored_in().filter(|index| is_foreign(indices, index))?;
        let text = response.excerpt(&format!(
            "documents went into other indices than `{}`, such as `{}`: an ingest pipeline changes their `_index`",
            indices.target(),
            indices.example(elsewhere)
        ));
        Some(Warning { reason: WarningReason::Rerouted, text })
    }
}

/// Whether an index belongs to something else than the target: [`Indices::is_foreign`] or
/// [`Indices::may_be_foreign`].
pub(super) type IsForeign = fn(&Indices, &str) -> bool;

/// Judges a response. If it is successful, each document has its own status.
pub(super) fn judge(response: &ResponseView<'_>, indices: &Indices, is_foreign: IsForeign) -> Outcome {
    match response.by_status() {
        Outcome::Delivered => {}
        Outcome::Refused(reason) => return judge_refusal(response, reason),
        other => return other,
    }
    let items = match serde_json::from_slice(response.body) {
        Ok(Bulk { items }) => items,
        Err(error) if error.is_eof() && begins_as_bulk(response.body) => return truncated(response),
        Err(_) => return response.unexpected("Elasticsearch"),
    };
    if items.len() != response.events {
        // Documents that exist already are recognised by their `_id`.
        let reason = format!("the response names {} of {} documents", items.len(), response.events);
        return Outcome::retry_later(reason);
    }
    let warning = |item: &Created<'_>| item.warning(response, indices, is_foreign);
    judge_items(response, items.iter().map(|item| &item.create), warning)
}

/// Returns the indices of stored documents for which it is unknown whether they belong to the target.
pub(super) fn unknown_indices(response: &ResponseView<'_>, indices: &Indices) -> BTreeSet<String> {
    let Ok(Bulk { items }) = serde_json::from_slice(response.body) else { return BTreeSet::new() };
    let stored = items.iter().filter_map(|item| item.create.stored_in());
    stored.filter(|index| indices.is_unknown(index)).map(str::to_owned).collect()
}

/// Judges a 400 for the whole request.
fn judge_refusal(response: &ResponseView<'_>, reason: String) -> Outcome {
    let Ok(Refused { error }) = serde_json::from_slice(response.body) else {
        return response.expect_refusal(Outcome::Refused(reason), "error", "Elasticsearch");
    };
    let reason = format!("{} {}", response.status.as_u16(), error.text(response));
    match error.advice() {
        Some(advice) => Outcome::misconfigured(format!("{reason}; {advice}")),
        None => Outcome::Refused(reason),
    }
}

fn begins_as_bulk(body: &[u8]) -> bool {
    let mut start = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    br#"{"took""#.iter().all(|expected| start.next() == Some(expected))
}

/// Judges a response that breaks off, usually at the size limit of a gateway. The response to fewer documents is
/// shorter. The cluster recognises documents that exist already by their `_id`.
fn truncated(response: &ResponseView<'_>) -> Outcome {
    let reason = format!(
        "the cluster's response breaks off after {} bytes ({}): look for a gateway or proxy that limits responses",
        response.body.len(),
        response.reason()
    );
    if response.events > 1 { Outcome::TooLarge(reason) } else { Outcome::retry_later(reason) }
}

/// `items` has one element for each document, in the order of sending.
fn judge_items<'a>(
    response: &ResponseView<'_>,
    items: impl Iterator<Item = &'a Created<'a>>,
    warning: impl Fn(&Created<'_>) -> Option<Warning>,
) -> Outcome {
    let mut refused = Vec::new();
    let mut retry = Vec::new();
    let mut settled = 0;
    let mut stop = None;
    let mut failing = None;
    // No document causes 429, 502, 503 and 504. An ingest pipeline may fail on one with 500.
    let mut is_busy = true;
    let mut warnings: Vec<Warning> = Vec::new();
    for (index, item) in items.enumerate() {
        let advice = item.error.as_ref().and_then(ClusterError::advice);
        match (item.status, advice) {
            // 409: an earlier attempt created the document.
            (200..=299 | 409, _) => {
                settled += 1;
                // One warning for each reason.
                warnings.extend(
                    warning(item).filter(|warning| warnings.iter().all(|known| known.reason != warning.reason)),
                );
            }
            (400, Some(advice)) => {
                stop.get_or_insert_with(|| format!("{}; {advice}", item.reason(response)));
                retry.push(index);
            }
            (401 | 403 | 404, _) => {
                stop.get_or_insert_with(|| item.reason(response));
                retry.push(index);
            }
            (429 | 500..=599, _) => {
                failing.get_or_insert_with(|| item.reason(response));
                is_busy &= matches!(item.status, 429 | 502..=504);
                retry.push(index);
            }
            _ => {
                settled += 1;
                refused.push(RefusedEvent { index, status: item.status.to_string(), reason: item.reason(response) });
            }
        }
    }
    match (settled, stop, failing) {
        (0, Some(reason), _) => Outcome::misconfigured(reason),
        (0, None, Some(reason)) if is_busy => Outcome::Busy(reason),
        (0, None, Some(reason)) => Outcome::retry_later(reason),
        _ if !refused.is_empty() || !retry.is_empty() => {
            Outcome::Partial { refused, retry, retry_after: None, warnings }
        }
        _ if warnings.is_empty() => Outcome::Delivered,
        _ => Outcome::DeliveredWithWarnings(warnings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::response::judged_by;

    /// Judges a response as before the cluster is asked for its indices.
    fn judge_all(response: &ResponseView<'_>) -> Outcome {
        let indices = Indices::new("https://elastic.example".parse().unwrap(), "logs-a-b".to_owned());
        judge(response, &indices, Indices::may_be_foreign)
    }

    /// Returns the outcome of a response to two documents.
    fn judged(status: u16, body: &str) -> String {
        judged_by(judge_all, status, body, 2)
    }

    fn items(two: [&str; 2]) -> String {
        // Pretty-printed, as some proxies do.
        format!("{{ \"took\" : 30, \"errors\" : true,\n \"items\" : [ {}, {} ] }}", two[0], two[1])
    }

    const CREATED: &str = r#"{"create":{"_id":"1","status":201}}"#;
    const CONFLICT: &str = r#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: document already exists"}}}"#;
    const BUSY: &str =
        r#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}"#;
    const DISK: &str =
        r#"{"create":{"status":429,"error":{"type":"cluster_block_exception","reason":"TOO_MANY_REQUESTS/12"}}}"#;
    const SHARDS: &str =
        r#"{"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary"}}}"#;
    const PARSING: &str = r#"{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:2]"}}}"#;
    const STRICT: &str =
        r#"{"create":{"status":400,"error":{"type":"strict_dynamic_mapping_exception","reason":"x"}}}"#;
    const BLOCKED: &str =
        r#"{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"FORBIDDEN/8"}}}"#;
    const MISSING: &str =
        r#"{"create":{"status":404,"error":{"type":"index_not_found_exception","reason":"no index"}}}"#;
    const MAPPER: &str = r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"x"}}}"#;
    const ILLEGAL: &str = r#"{"create":{"status":400,"error":{"type":"illegal_argument_exception","reason":"x"}}}"#;
    const CIRCUIT: &str = r#"{"create":{"status":429,"error":{"type":"circuit_breaking_exception","reason":"x"}}}"#;
    const FORBIDDEN: &str = r#"{"create":{"status":403,"error":{"type":"security_exception","reason":"x"}}}"#;
    const NO_SHARD: &str =
        r#"{"create":{"status":500,"error":{"type":"no_shard_available_action_exception","reason":"x"}}}"#;
    const CLUSTER: &str =
        r#"{"create":{"status":503,"error":{"type":"process_cluster_event_timeout_exception","reason":"x"}}}"#;
    const TOO_LARGE: &str = r#"{"create":{"status":413,"error":{"type":"content_too_long_exception"}}}"#;
    const STORE_FAILED: &str =
        r#"{"create":{"status":400,"error":{"type":"document_parsing_exception"},"failure_store":"failed"}}"#;
    const NOT_STORED: &str = r#"{"create":{"status":201,"failure_store":"not_applicable_or_unknown"}}"#;
    const STORED: &str =
        r#"{"create":{"_index":".fs-logs-a-b-2026.11.28-000002","status":201,"failure_store":"used"}}"#;
    const BACKING: &str = r#"{"create":{"_index":".ds-logs-a-b-000001","result":"created","status":201}}"#;
    const DROPPED: &str = r#"{"create":{"_index":"logs-a-b","result":"noop","status":200}}"#;
    const ELSEWHERE: &str = r#"{"create":{"_index":"other","result":"created","status":201}}"#;
    const KNOWN_ELSEWHERE: &str =
        r#"{"create":{"_index":"other","status":409,"error":{"type":"version_conflict_engine_exception"}}}"#;

    #[test]
    fn each_response_has_its_outcome() {
        for (body, expected) in [
            (items([CREATED, CREATED]), "Delivered"),
            (items([CREATED, CONFLICT]), "Delivered"),
            (items([CONFLICT, CONFLICT]), "Delivered"),
            (items([CREATED, STORED]), "failure_store"),
            (items([STORED, CONFLICT]), "failure_store"),
            (items([BACKING, CREATED]), "Delivered"),
            (items([DROPPED, BACKING]), "noop"),
            (items([DROPPED, DROPPED]), "noop"),
            (items([ELSEWHERE, BACKING]), "rerouted"),
            (items([ELSEWHERE, DROPPED]), "rerouted noop"),
            (items([ELSEWHERE, PARSING]), "refused [1] retry [] rerouted"),
            (items([DROPPED, BUSY]), "refused [] retry [1] noop"),
            (items([KNOWN_ELSEWHERE, BACKING]), "Delivered"),
            (items([CREATED, NOT_STORED]), "Delivered"),
            (items([STORED, STORE_FAILED]), "refused [1] retry [] failure_store"),
            (items([MAPPER, ILLEGAL]), "refused [0, 1] retry []"),
            (items([CIRCUIT, NO_SHARD]), "Transient"),
            (items([CLUSTER, CREATED]), "refused [] retry [0]"),
            (items([FORBIDDEN, FORBIDDEN]), "Misconfigured"),
            (items([TOO_LARGE, CREATED]), "refused [0] retry []"),
            (items([CREATED, BUSY]), "refused [] retry [1]"),
            (items([DISK, PARSING]), "refused [1] retry [0]"),
            (items([PARSING, STRICT]), "refused [0, 1] retry []"),
            (items([BUSY, SHARDS]), "Busy"),
            (items([DISK, CLUSTER]), "Busy"),
            (items([BLOCKED, BLOCKED]), "Misconfigured"),
            (items([MISSING, BUSY]), "Misconfigured"),
            (items([CREATED, BLOCKED]), "refused [] retry [1]"),
            (format!(r#"{{"errors":false,"items":[{CREATED}]}}"#), "Transient"),
            ("<html>a login page</html>".to_owned(), "Misconfigured"),
            (r#"{"took":1,"errors":false}"#.to_owned(), "Misconfigured"),
            (String::new(), "Misconfigured"),
        ] {
            assert_eq!(judged(200, &body), expected, "{body}");
        }
        for (status, expected) in [
            (400, "Misconfigured"),
            (401, "Unauthorized"),
            (403, "Unauthorized"),
            (404, "Misconfigured"),
            (413, "TooLarge"),
            (429, "Transient"),
            (500, "Transient"),
            (503, "Transient"),
            (301, "Misconfigured"),
        ] {
            assert_eq!(judged(status, "<html>"), expected, "{status}");
        }
        assert_eq!(judged(400, r#"{"error":{"type":"illegal_argument_exception"},"status":400}"#), "Refused");
    }

    /// Texts of OpenSearch 2.19 and of Elasticsearch.
    const OWN: [(&str, &str); 13] = [
        ("index_closed_exception", "closed"),
        ("invalid_index_name_exception", "Invalid index name [A], must be lowercase"),
        (
            "validation_exception",
            "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] \
             maximum shards open;",
        ),
        (
            "validation_exception",
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [999]/[1000] maximum \
             normal shards open;",
        ),
        (
            "illegal_argument_exception",
            "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] \
             maximum shards open;",
        ),
        (
            "illegal_argument_exception",
            "no write index is defined for alias [s1]. The write index may be explicitly disabled using \
             is_write_index=false or the alias points to multiple indices without one being designated as a write index",
        ),
        ("illegal_argument_exception", "pipeline with id [s1] does not exist"),
        ("illegal_argument_exception", "no matching index template found for data stream [logs-s1-x]"),
        ("illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"),
        ("illegal_argument_exception", "composable template [s1] template after composition is invalid"),
        (
            "illegal_argument_exception",
            "unknown setting [index.foo] please check that any required plugins are installed",
        ),
        ("mapper_parsing_exception", "Failed to parse mapping: analyzer [own] has not been configured in mappings"),
        ("invalid_alias_name_exception", "Invalid alias name [s1]: an index or data stream exists with the same name"),
    ];

    #[test]
    fn refusals_of_the_cluster_itself_concern_no_document() {
        for (kind, reason) in OWN {
            let error = serde_json::json!({ "type": kind, "reason": reason });
            let item = serde_json::json!({ "create": { "status": 400, "error": error } }).to_string();
            assert_eq!(judged(200, &items([&item, &item])), "Misconfigured", "{item}");
            assert_eq!(judged(200, &items([CREATED, &item])), "refused [] retry [1]", "{item}");
            assert_eq!(judged(200, &items([&item, PARSING])), "refused [1] retry [0]", "{item}");
            assert_eq!(judged_by(judge_all, 200, format!(r#"{{"items":[{item}]}}"#), 1), "Misconfigured", "one event");
            let whole = serde_json::json!({ "error": error, "status": 400 }).to_string();
            assert_eq!(judged(400, &whole), "Misconfigured", "{whole}");
        }
        // The pipeline is in order, and one that it calls is not.
        let error = serde_json::json!({
            "type": "illegal_state_exception", "reason": "failed to execute pipeline [outer]",
            "caused_by": { "type": "illegal_argument_exception", "reason": "pipeline with id [inner] does not exist" },
        });
        let item = serde_json::json!({ "create": { "status": 400, "error": error } }).to_string();
        assert_eq!(judged(200, &items([&item, &item])), "Misconfigured", "{item}");
        // A reason may quote a document, which must not stop the lane.
        for reason in ["failed to parse: no write index is defined", "x: pipeline with id [s1] does not exist"] {
            let error = serde_json::json!({ "type": "illegal_argument_exception", "reason": reason });
            let item = serde_json::json!({ "create": { "status": 400, "error": error } }).to_string();
            assert_eq!(judged(200, &items([CREATED, &item])), "refused [1] retry []", "{item}");
        }
    }

    #[test]
    fn a_refused_document_has_its_own_status_and_the_first_cause() {
        let error = serde_json::json!({
            "type": "mapper_parsing_exception", "reason": "failed to parse",
            "caused_by": {
                "type": "illegal_argument_exception", "reason": "failed",
                "caused_by": { "type": "json_parse_exception", "reason": "Duplicate field 'data_stream'\n at [Source]" },
            },
        });
        let refused = serde_json::json!({ "create": { "status": 400, "error": error } }).to_string();
        let status = http::StatusCode::OK;
        let headers = http::HeaderMap::new();
        let body = items([CREATED, &refused]);
        let outcome = judge_all(&ResponseView {
            status,
            headers: &headers,
            body: body.as_bytes(),
            secrets: &Default::default(),
            events: 2,
        });
        let reason =
            "400 mapper_parsing_exception: failed to parse: Duplicate field 'data_stream' at [Source]".to_owned();
        let refused = vec![RefusedEvent { index: 1, status: "400".to_owned(), reason }];
        assert_eq!(outcome, Outcome::Partial { refused, retry: Vec::new(), retry_after: None, warnings: Vec::new() });
    }

    #[test]
    fn a_response_that_breaks_off_is_asked_for_again_with_fewer_documents() {
        let whole = items([CREATED, PARSING]);
        for end in [40, 60, whole.len() - 2] {
            assert_eq!(judged(200, &whole[..end]), "TooLarge", "{end}");
            assert_eq!(judged_by(judge_all, 200, &whole[..end], 1), "Transient", "one event has no half");
        }
        assert_eq!(judged(200, &format!("{whole} and more")), "Misconfigured");
        assert_eq!(judged(200, r#"{"tool":1"#), "Misconfigured");
    }
}
