//! The indices that belong to a data stream, an index or an alias.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use http::Method;
use parking_lot::Mutex;
use serde::de::IgnoredAny;

use crate::http::{Endpoint, SinkClient};

/// Most indices that are known: an ingest pipeline may name one for each document. Beyond that, the cluster is asked
/// about all again.
const MAX_INDICES: usize = 1_000;

/// The target of a lane, and the indices that its documents were seen in.
#[derive(Debug)]
pub(super) struct Indices {
    base: Endpoint,
    target: String,
    /// Whether an index belongs to the target. The names tell for most, and the cluster for the others.
    known: Mutex<BTreeMap<String, bool>>,
    /// The first index that does not belong to the target. It is named in errors.
    example: OnceLock<String>,
}

impl Indices {
    pub(super) fn new(base: Endpoint, target: String) -> Self {
        Self { base, target, known: Mutex::default(), example: OnceLock::new() }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Returns whether the index is the target, or a backing index of the target as both products name it:
    /// `.ds-NAME-000001`, `.ds-NAME-2026.11.28-000001`.
    fn is_own_name(&self, index: &str) -> bool {
        let backing = index.strip_prefix(".ds-").and_then(|name| name.strip_prefix(&self.target)?.strip_prefix('-'));
        // Another data stream may have a name that begins as this one.
        index == self.target
            || backing.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-')))
    }

    /// Returns whether the cluster has said that the index does not belong to the target.
    pub(super) fn is_foreign(&self, index: &str) -> bool {
        !self.is_own_name(index) && self.known.lock().get(index) == Some(&false)
    }

    /// Returns whether the cluster has said that the index does not belong to the target, or has not been asked.
    pub(super) fn may_be_foreign(&self, index: &str) -> bool {
        !self.is_own_name(index) && self.known.lock().get(index) != Some(&true)
    }

    /// Returns the index that all warnings name. It stays the same, since a warning is logged again when its text
    /// changes.
    pub(super) fn example<'a>(&'a self, index: &'a str) -> &'a str {
        self.example.get().map_or(index, String::as_str)
    }

    pub(super) fn is_unknown(&self, index: &str) -> bool {
        !self.is_own_name(index) && !self.known.lock().contains_key(index)
    }

    /// Asks the cluster which indices the target names. An alias names some, and a rollover adds an index to it. If the
    /// credentials may not read them, `unknown` indices count as the target's.
    pub(super) async fn learn(&self, unknown: BTreeSet<String>, client: &SinkClient) {
        let url = self.base.join(&self.target).with_query("filter_path", "*.aliases");
        let Ok(response) = client.send_empty(Method::GET, url.url()).await else { return };
        let named = match (response.status.as_u16(), serde_json::from_slice(&response.body)) {
            (200, Ok(named)) => Some(named),
            (408 | 429 | 500..=599, _) => return,
            _ => None::<BTreeMap<String, IgnoredAny>>,
        };
        let mut known = self.known.lock();
        if known.len() + unknown.len() > MAX_INDICES {
            known.clear();
        }
        for index in unknown {
            let is_own = named.as_ref().is_none_or(|named| named.contains_key(&index));
            if !is_own {
                self.example.get_or_init(|| index.clone());
            }
            known.insert(index, is_own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backing_indices_are_known_by_their_names() {
        let indices = Indices::new("https://elastic.example".parse().unwrap(), "logs-a-b".to_owned());
        for (index, is_own) in [
            ("logs-a-b", true),
            (".ds-logs-a-b-000001", true),
            (".ds-logs-a-b-2026.11.28-000012", true),
            (".ds-logs-a-b-c-000001", false),
            (".ds-logs-a-b-c-2026.11.28-000001", false),
            (".ds-logs-a-bc-000001", false),
            ("logs-a-b-000001", false),
            (".fs-logs-a-b-2026.11.28-000001", false),
            ("other", false),
        ] {
            assert_eq!((indices.may_be_foreign(index), indices.is_unknown(index)), (!is_own, !is_own), "{index}");
            assert!(!indices.is_foreign(index), "{index}: the cluster was not asked");
        }
    }
}
