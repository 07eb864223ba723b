//! How a position is stored: as a whole, or as what has changed since it was stored last.
//!
//! A busy lane's position has hundreds of thousands of keys, of which an acknowledged batch adds a thousand. Where the
//! store keeps journals, the lane writes the whole position there now and then, and after it what has changed
//! (`lane/change_log.rs`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::changes::{Changes, SharedKeys};
use super::encoding::contents;
use super::pass_position::{Head, PassPosition};
use super::seconds::Seconds;
use super::{SourcePosition, first_kept_seconds};
use crate::record::Timestamp;

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
    /// From now on the position records what changes.
    pub fn record_changes(&mut self) {
        self.changes = Some(Box::new(Changes::since(self.heads().collect())));
    }

    /// A copy for a poll, which only reads it: it is never stored, so it records nothing.
    #[must_use]
    pub fn for_poll(&self) -> Self {
        let Self { since, pass_positions, contents, changes: _ } = self;
        let pass_positions = pass_positions.clone();
        Self { since: *since, pass_positions, contents: contents.clone(), changes: None }
    }

    /// Leaves what was overwritten, or forgotten, out of the changes. Returns the number of keys and contents that have
    /// changed; none where the whole position has to be stored.
    pub fn compact_changes(&mut self) -> Option<usize> {
        let changes = self.changes.as_mut()?;
        changes.compact(&first_kept_seconds(&self.pass_positions));
        Some(changes.len())
    }

    /// The stored form of what has changed, and of the first pass. The others are in it if their times have changed.
    pub fn changes(&self) -> Vec<u8> {
        let Some(changes) = &self.changes else { return self.whole() };
        let heads = self.heads().enumerate();
        let heads = heads.filter(|(index, pass)| *index == 0 || changes.heads.get(*index) != Some(pass));
        let heads = heads.map(|(_, pass)| pass).collect();
        let keys = changes.shared_keys(&self.names(), &first_kept_seconds(&self.pass_positions));
        self.encode(heads, keys, &changes.contents, &HashMap::new())
    }

    /// The stored form of all of it.
    pub fn whole(&self) -> Vec<u8> {
        let keys = self.pass_positions.iter().filter(|(_, pass_position)| !pass_position.seconds.is_empty());
        let keys = keys.map(|(name, pass_position)| SharedKeys {
            passes: vec![name.clone()],
            moves: false,
            seconds: Cow::Borrowed(&pass_position.seconds),
        });
        self.encode(self.heads().collect(), keys.collect(), &self.contents.recent, &self.contents.old)
    }

    fn names(&self) -> Vec<&CompactString> {
        self.pass_positions.iter().map(|(name, _)| name).collect()
    }

    fn heads(&self) -> impl Iterator<Item = (CompactString, Head)> {
        self.pass_positions.iter().map(|(name, pass_position)| (name.clone(), pass_position.head()))
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

/// Makes a position of its parts.
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
            pass_of(position, &name).set_head(head);
        }
        for SharedKeys { passes, moves, seconds } in &part.keys {
            for name in passes {
                let into = &mut pass_of(position, name).seconds;
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

    /// The position, without the keys that it had forgotten meanwhile.
    pub fn finish(mut self) -> SourcePosition {
        self.position
            .pass_positions
            .iter_mut()
            .for_each(|(_, pass_position)| Arc::make_mut(pass_position).forget_old_keys());
        self.position
    }

    /// The same after `last`, which is a part that has changed and is to be stored again with what changes next.
    pub fn finish_recording(mut self, last: PositionPart<'static>) -> SourcePosition {
        let mut changes = Changes::since(self.position.heads().collect());
        self.apply(last.clone());
        let names = self.position.names();
        last.keys.iter().for_each(|shared| changes.extend(shared, &names));
        changes.contents = last.contents.into_owned();
        SourcePosition { changes: Some(Box::new(changes)), ..self.finish() }
    }
}

/// The position of the pass with this name, which is added if it is not there.
fn pass_of<'a>(position: &'a mut SourcePosition, name: &CompactString) -> &'a mut PassPosition {
    let place = position.pass_positions.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
        position.pass_positions.push((name.clone(), Arc::new(PassPosition::starting_at(position.since))));
        position.pass_positions.len() - 1
    });
    Arc::make_mut(&mut position.pass_positions[place].1)
}

/// The second of each key.
fn places(seconds: &Seconds) -> HashMap<u64, i64> {
    seconds.iter().flat_map(|(second, records)| records.iter().map(move |(key, _)| (key, second))).collect()
}
