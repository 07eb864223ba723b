//! The meaning of a response to a bulk request.

use serde::Deserialize;

use crate::sink::Outcome;
use crate::sink::http::ResponseView;

#[derive(Deserialize)]
struct Bulk {
    items: Vec<Item>,
}

/// Only `create` is requested, so the response has no other action.
#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    error: Option<ItemError>,
    failure_store: Option<String>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
}

impl Created {
    fn reason(&self) -> String {
        match &self.error {
            Some(error) => format!("{} {}: {}", self.status, error.kind, error.reason.as_deref().unwrap_or_default()),
            None => self.status.to_string(),
        }
    }
}

/// In a successful response each document has its own status.
pub(super) fn judge(response: &ResponseView<'_>) -> Outcome {
    let by_status = response.by_status();
    if by_status != Outcome::Delivered {
        return by_status;
    }
    let Ok(Bulk { items }) = serde_json::from_slice(response.body) else {
        return response.unexpected("Elasticsearch");
    };
    if items.len() != response.events {
        // Documents that exist already are recognised by their `_id`.
        let reason = format!("the response names {} of {} documents", items.len(), response.events);
        return Outcome::RetryLater { reason, after: None };
    }
    judge_items(items.iter().map(|item| &item.create))
}

/// `items` has one element for each document, in the order of sending.
fn judge_items<'a>(items: impl Iterator<Item = &'a Created>) -> Outcome {
    let (mut rejected, mut retry) = (Vec::new(), Vec::new());
    let (mut settled, mut stop, mut busy, mut warning) = (0, None, None, None);
    for (index, item) in items.enumerate() {
        match item.status {
            // 409: an earlier attempt created the document.
            200..=299 | 409 => {
                settled += 1;
                if item.failure_store.as_deref() == Some("used") {
                    warning
                        .get_or_insert("documents went into the failure store instead of the data stream".to_owned());
                }
            }
            401 | 403 | 404 => {
                stop.get_or_insert_with(|| item.reason());
                retry.push(index);
            }
            429 | 500..=599 => {
                busy.get_or_insert_with(|| item.reason());
                retry.push(index);
            }
            _ => {
                settled += 1;
                rejected.push((index, item.reason()));
            }
        }
    }
    match (settled, stop, busy) {
        (0, Some(reason), _) => Outcome::Misconfigured(reason),
        (0, None, Some(reason)) => Outcome::RetryLater { reason, after: None },
        _ if !rejected.is_empty() || !retry.is_empty() => Outcome::Partial { rejected, retry, after: None },
        _ => warning.map_or(Outcome::Delivered, Outcome::DeliveredWithWarning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::http::response::judged_by;

    /// The outcome of a response to two documents.
    fn judged(status: u16, body: &str) -> String {
        judged_by(judge, status, body, 2)
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
    const STORED: &str = r#"{"create":{"status":201,"failure_store":"used"}}"#;

    #[test]
    fn each_response_has_its_outcome() {
        for (body, expected) in [
            (items([CREATED, CREATED]), "Delivered"),
            (items([CREATED, CONFLICT]), "Delivered"),
            (items([CONFLICT, CONFLICT]), "Delivered"),
            (items([CREATED, STORED]), "DeliveredWithWarning"),
            (items([STORED, CONFLICT]), "DeliveredWithWarning"),
            (items([CREATED, NOT_STORED]), "Delivered"),
            (items([STORED, STORE_FAILED]), "rejected [1] retry []"),
            (items([MAPPER, ILLEGAL]), "rejected [0, 1] retry []"),
            (items([CIRCUIT, NO_SHARD]), "RetryLater"),
            (items([CLUSTER, CREATED]), "rejected [] retry [0]"),
            (items([FORBIDDEN, FORBIDDEN]), "Misconfigured"),
            (items([TOO_LARGE, CREATED]), "rejected [0] retry []"),
            (items([CREATED, BUSY]), "rejected [] retry [1]"),
            (items([DISK, PARSING]), "rejected [1] retry [0]"),
            (items([PARSING, STRICT]), "rejected [0, 1] retry []"),
            (items([BUSY, SHARDS]), "RetryLater"),
            (items([BLOCKED, BLOCKED]), "Misconfigured"),
            (items([MISSING, BUSY]), "Misconfigured"),
            (items([CREATED, BLOCKED]), "rejected [] retry [1]"),
            (format!(r#"{{"errors":false,"items":[{CREATED}]}}"#), "RetryLater"),
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
            (429, "RetryLater"),
            (500, "RetryLater"),
            (503, "RetryLater"),
            (301, "Misconfigured"),
        ] {
            assert_eq!(judged(status, "<html>"), expected, "{status}");
        }
        assert_eq!(judged(400, r#"{"error":{"type":"illegal_argument_exception"},"status":400}"#), "Refused");
    }
}
