use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Keys, Known, Pass, PassPosition, PollContext, RecordKey, SourcePosition};
use crate::record::{Identity, Timestamp};
use crate::telemetry::SkipReason;

/// Keys are forgotten after this many records and this many full pages.
const KEPT_RECORDS: usize = 100;
const KEPT_PAGES: usize = 4;

/// The keys of the records that a poll has returned, in addition to those that the lane's checkpoint had when the poll
/// began. The checkpoint's own position takes the same records later, when a sink has settled them.
#[derive(Debug)]
pub(super) struct SeenKeys {
    passes: Vec<Pass>,
    context: PollContext,
    position: SourcePosition,
    /// Whether the stream's records change, so that a poll returns one version of each: batches may be settled in any
    /// order.
    one_version: bool,
    /// The versions that were returned, where that is so.
    versions: HashMap<u64, u64>,
    /// Records of these identities are accounted for elsewhere.
    accounted: Option<Arc<HashSet<Identity>>>,
    /// How far the poll had read when it last forgot keys.
    forgotten_until: Timestamp,
    /// Records shown since then.
    shown: usize,
}

/// Why a poll does not return a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    Skip(SkipReason),
    /// The next poll returns it.
    Requeue,
}

impl SeenKeys {
    /// `position` is aligned to `passes` and has entered `context`.
    pub fn new(
        passes: Vec<Pass>,
        context: PollContext,
        position: SourcePosition,
        from: Timestamp,
        is_scan: bool,
    ) -> Self {
        let one_version = is_scan || passes.get(context.pass).is_some_and(|pass| pass.keys == Keys::Latest);
        let (versions, accounted) = (HashMap::new(), None);
        Self { passes, context, position, one_version, versions, accounted, forgotten_until: from, shown: 0 }
    }

    pub fn pass(&self) -> &Pass {
        // A poll exists only for a pass that the stream has.
        &self.passes[self.context.pass]
    }

    pub fn context(&self) -> PollContext {
        self.context
    }

    /// The lane owes nothing before this time.
    pub fn since(&self) -> Timestamp {
        self.position.since()
    }

    /// Start of the pass's last complete poll.
    pub fn complete(&self) -> Option<Timestamp> {
        self.position.track(self.context.pass).and_then(PassPosition::complete)
    }

    /// Number of keys in memory.
    pub fn key_count(&self) -> usize {
        self.position.key_count()
    }

    /// Skips records with these identities from now on.
    pub fn skip_accounted(&mut self, accounted: Arc<HashSet<Identity>>) {
        self.accounted = Some(accounted);
    }

    /// Whether a record is accounted for, in this version or, by an identity without a version, in any.
    pub fn is_accounted(&self, identity: Identity, of_any_version: impl FnOnce() -> Identity) -> bool {
        let accounted = self.accounted.as_ref();
        accounted.is_some_and(|accounted| accounted.contains(&identity) || accounted.contains(&of_any_version()))
    }

    /// Remembers a record that is to be returned, and says what was known of it; or why it is not. `content` hashes the
    /// content of streams in which a version may differ in nothing of interest.
    pub fn accept(
        &mut self,
        key: &mut RecordKey,
        has_time: bool,
        content: impl FnOnce() -> Option<u64>,
    ) -> Result<Known, Rejection> {
        let pass = &self.passes[self.context.pass];
        let known = self.position.knows(pass, self.context, key, has_time);
        if known == Known::Taken {
            return Err(Rejection::Skip(SkipReason::Duplicate));
        }
        key.content = content();
        if self.one_version || key.content.is_some() {
            match self.versions.get(&key.id) {
                Some(version) if *version == key.version => return Err(Rejection::Skip(SkipReason::Duplicate)),
                // The next poll returns this version.
                Some(_) => return Err(Rejection::Requeue),
                None if self.position.has_content(key) => return Err(Rejection::Skip(SkipReason::Unchanged)),
                None => self.versions.insert(key.id, key.version),
            };
        }
        self.position.take(&self.passes, self.context, key);
        Ok(known)
    }

    /// Whether the marker event of a snapshot was delivered before.
    pub fn has_marker(&self, key: &RecordKey) -> bool {
        self.position.knows(self.pass(), self.context, key, false) == Known::Taken
    }

    /// After an ordered page of `shown` records up to `newest`: forgets the keys that no pager can meet again. A pager
    /// goes back by a second, or meets a page twice; the keys of a whole history would fill the memory.
    pub fn forget_old(&mut self, shown: usize, newest: Timestamp) {
        self.shown += shown;
        if self.shown >= KEPT_RECORDS.max(KEPT_PAGES * shown) {
            let before = std::mem::replace(&mut self.forgotten_until, newest);
            self.position.advance(&self.passes, self.context, before);
            self.shown = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stream;
    use crate::source::Pull;

    fn time(second: usize) -> Timestamp {
        Timestamp::from_micros(second as i64 * 1_000_000)
    }

    /// Takes a record of this second, and forgets old ones after a page of `shown` records.
    fn page(seen: &mut SeenKeys, second: usize, shown: usize) -> Timestamp {
        let id = second as u64;
        let mut key = RecordKey { id, version: id, content: None, time: time(second), created: None };
        assert_eq!(seen.accept(&mut key, true, || None), Ok(Known::New));
        seen.forget_old(shown, time(second));
        seen.position.bound()
    }

    /// The keys of a page are forgotten once more keys, and more pages, came after it.
    #[test]
    fn keys_are_forgotten_after_a_hundred_records_and_four_full_pages() {
        let pull = Pull::of(Stream::Activities);
        let mut position = SourcePosition::starting_at(time(0));
        position.align(&pull.passes());
        let context = PollContext { start: time(1_000_000), ..PollContext::default() };
        let mut seen = SeenKeys::new(pull.passes(), context, position, time(0), false);
        for second in 1..20 {
            assert_eq!(page(&mut seen, second, KEPT_RECORDS / 10), time(0));
        }
        // Twice a hundred: keys up to the first hundred go, less the second that ties may share.
        assert_eq!((page(&mut seen, 20, KEPT_RECORDS / 10), seen.key_count()), (time(9), 13));
        for second in 21..20 + KEPT_PAGES {
            assert_eq!(page(&mut seen, second, KEPT_RECORDS), time(9));
        }
        assert_eq!(page(&mut seen, 30, KEPT_RECORDS), time(19));
    }
}
