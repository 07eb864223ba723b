//! Stored form of a position: the whole, or the changes since it was stored last.
//!
//! A busy lane's position has hundreds of thousands of keys, of which an acknowledged batch adds a thousand. If the
//! store keeps journals, the lane writes the whole position there now and then, and after it what has changed
//! (`lane/change_log.rs`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

use super::SourcePosition;
use super::changes::{Changes, SharedKeys};
use super::encoding::contents;
use super::pass_position::{Head, PassPosition};
use super::seconds::KeysBySecond;

/// A position as a whole, or a change to it. Parts are applied in their order, beginning with a whole one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionPart<'a> {
    since: Timestamp,
    contents_since: Option<Timestamp>,
    passes: Vec<(CompactString, Head)>,
    keys: Vec<SharedKeys<'a>>,
    #[serde(with = "contents")]
    contents: Cow<'a, HashMap<u64, u64>>,
    #[serde(with = "contents")]
    old_contents: Cow<'a, HashMap<u64, u64>>,
}

impl SourcePosition {
    /// Begins to record changes.
    pub(crate) fn record_changes(&mut self) {
        self.passes.begin_log();
    }

    /// Returns a copy for a poll, which only reads it. The copy is never stored, so it records nothing.
    #[must_use]
    pub fn for_poll(&self) -> Self {
        Self { passes: self.passes.without_log(), contents: self.contents.clone(), ..*self }
    }

    /// Removes overwritten and forgotten keys from the changes. Returns the number of keys and contents that have
    /// changed; `None` if the whole position has to be stored.
    pub(crate) fn compact_changes(&mut self) -> Option<usize> {
        self.passes.compact_log();
        self.passes.log().map(Changes::len)
    }

    /// Returns the stored form of the changes. It always has the first pass, and other passes if their times have
    /// changed.
    pub fn changes(&self) -> Vec<u8> {
        let Some(changes) = self.passes.log() else { return self.whole() };
        let heads = self.passes.heads().enumerate();
        let heads = heads.filter(|(index, pass)| *index == 0 || changes.heads.get(*index) != Some(pass));
        let heads = heads.map(|(_, pass)| pass).collect();
        let keys = changes.shared_keys(&self.passes.names(), &self.passes.first_kept_seconds());
        self.encode(heads, keys, &changes.contents, &HashMap::new())
    }

    /// Returns the stored form of the whole position.
    pub fn whole(&self) -> Vec<u8> {
        let keys = self.passes.iter().filter(|(_, pass_position)| !pass_position.seconds.is_empty());
        let keys = keys.map(|(name, pass_position)| SharedKeys {
            passes: vec![name.clone()],
            moves: false,
            seconds: Cow::Borrowed(&pass_position.seconds),
        });
        self.encode(self.passes.heads().collect(), keys.collect(), &self.contents.recent, &self.contents.old)
    }

    fn encode<'a>(
        &self,
        passes: Vec<(CompactString, Head)>,
        keys: Vec<SharedKeys<'a>>,
        contents: &'a HashMap<u64, u64>,
        old_contents: &'a HashMap<u64, u64>,
    ) -> Vec<u8> {
        let since = self.since;
        let contents_since = self.contents.since;
        let contents = Cow::Borrowed(contents);
        let old_contents = Cow::Borrowed(old_contents);
        let part = PositionPart { since, contents_since, passes, keys, contents, old_contents };
        // A `Vec` accepts every byte, and all of it can be serialized.
        postcard::to_stdvec(&part).unwrap_or_default()
    }
}

/// Builds a position from its parts.
#[derive(Debug, Default)]
pub struct PositionReader {
    position: SourcePosition,
    /// The second of each key of passes that remember a record under one time only.
    moved: HashMap<CompactString, HashMap<u64, i64>>,
}

impl PositionReader {
    pub fn apply(&mut self, part: PositionPart<'_>) {
        let Self { position, moved } = self;
        position.since = part.since;
        position.contents.since = part.contents_since;
        for (name, head) in part.passes {
            if let Some(pass_position) = pass_of(position, &name) {
                pass_position.set_head(head);
            }
        }
        for SharedKeys { passes, moves, seconds } in &part.keys {
            for name in passes {
                let Some(PassPosition { seconds: into, .. }) = pass_of(position, name) else { continue };
                for (second, records) in seconds.iter() {
                    if *moves {
                        // The first part, which is whole, does not say which keys move.
                        let places = moved.entry(name.clone()).or_insert_with(|| places(into));
                        for (key, _) in records.iter() {
                            if let Some(before) = places.insert(key, second) {
                                into.forget_at(before, key);
                            }
                        }
                    }
                    into.merge(second, records);
                }
            }
        }
        if !part.contents.is_empty() {
            let old = Arc::make_mut(&mut position.contents.old);
            part.contents.keys().for_each(|id| _ = old.remove(id));
            Arc::make_mut(&mut position.contents.recent).extend(part.contents.into_owned());
        }
        if !part.old_contents.is_empty() {
            Arc::make_mut(&mut position.contents.old).extend(part.old_contents.into_owned());
        }
    }

    /// Returns the position, without the keys that it had forgotten since they were stored.
    pub fn finish(mut self) -> SourcePosition {
        self.position.passes.change_all(PassPosition::forget_old_keys);
        self.position
    }

    /// Applies `last`, a part with changes, and returns the position. These changes are stored again with the next
    /// ones.
    pub(crate) fn finish_recording(mut self, last: PositionPart<'static>) -> SourcePosition {
        let mut changes = Changes::since(self.position.passes.heads().collect());
        self.apply(last.clone());
        let names = self.position.passes.names();
        last.keys.iter().for_each(|shared| changes.extend(shared, &names));
        changes.contents = last.contents.into_owned();
        let mut position = self.finish();
        position.passes.resume_log(changes);
        position
    }
}

/// Returns the position of the pass with this name. The position is added if it is not there.
fn pass_of<'a>(position: &'a mut SourcePosition, name: &CompactString) -> Option<&'a mut PassPosition> {
    let SourcePosition { since, passes, .. } = position;
    let index = passes.index(name);
    let start = || Arc::new(PassPosition::starting_at(*since));
    let index = index.unwrap_or_else(|| passes.begin(name.clone(), start()));
    passes.at_mut(index)
}

/// Returns the second of each key.
fn places(seconds: &KeysBySecond) -> HashMap<u64, i64> {
    seconds.iter().flat_map(|(second, records)| records.iter().map(move |(key, _)| (key, second))).collect()
}
