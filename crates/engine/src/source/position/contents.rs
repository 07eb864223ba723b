//! Hashes of the records that were delivered, by which a pass finds records that have changed.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use s1_forwarder_record::Timestamp;

use crate::source::RecordKey;

/// A record's content is forgotten when no poll showed the record for this time, at the latest after twice this time.
const CONTENT_LIFETIME: Duration = Duration::from_hours(1_080);

/// Most lanes remember no contents, and a worker may have ten thousand lanes: they share this.
static NONE: LazyLock<Arc<HashMap<u64, u64>>> = LazyLock::new(Arc::default);

/// The content of each record that was delivered, as a hash: records of some streams change in nothing of interest.
/// Clones share what neither of them changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Contents {
    /// By the record's key, for each record that was shown since `since`.
    pub recent: Arc<HashMap<u64, u64>>,
    /// By the record's key, for each record that was last shown before `since`.
    pub old: Arc<HashMap<u64, u64>>,
    pub since: Option<Timestamp>,
}

impl Default for Contents {
    fn default() -> Self {
        Self { recent: NONE.clone(), old: NONE.clone(), since: None }
    }
}

impl Contents {
    pub fn len(&self) -> usize {
        self.recent.len() + self.old.len()
    }

    /// Returns whether the record's content is the content that was last delivered.
    pub fn has(&self, record_key: &RecordKey) -> bool {
        let Some(content) = &record_key.content else { return false };
        self.recent.get(&record_key.id).or_else(|| self.old.get(&record_key.id)) == Some(content)
    }

    /// Returns whether the content of the record will be forgotten unless it is inserted again.
    pub fn is_old(&self, record_key: &RecordKey) -> bool {
        self.old.contains_key(&record_key.id)
    }

    pub fn insert(&mut self, id: u64, content: u64) {
        Arc::make_mut(&mut self.recent).insert(id, content);
        if self.old.contains_key(&id) {
            Arc::make_mut(&mut self.old).remove(&id);
        }
    }

    /// Forgets old contents. Returns true if some were forgotten, or will be next time.
    pub fn age(&mut self, now: Timestamp) -> bool {
        if self.len() == 0 {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) < CONTENT_LIFETIME {
            return false;
        }
        self.old = std::mem::take(&mut self.recent);
        self.since = Some(now);
        true
    }
}
