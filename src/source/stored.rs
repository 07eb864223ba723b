//! How a position is stored: as a whole, or as what has changed since it was stored last.
//!
//! A busy lane's position has hundreds of thousands of keys, of which an acknowledged batch adds a thousand. Where the
//! store keeps journals, the lane writes the whole position there now and then, and after it what has changed
//! (`lane/change_log.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::encoding::{contents, seconds};
use super::pass_position::{Head, Second};
use super::recorder::{Changes, Passes, Recorder, SharedKeys};
use super::{PassPosition, SourcePosition};
use crate::record::Timestamp;

/// A part of a position. The position is what parts make that are applied one after the other, the first one being
/// whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PositionPart {
    since: Timestamp,
    contents_since: Option<Timestamp>,
    passes: Vec<(CompactString, Head)>,
    keys: Vec<SharedKeys>,
    #[serde(with = "contents")]
    contents: HashMap<u64, u64>,
    #[serde(with = "contents")]
    old_contents: HashMap<u64, u64>,
}

/// The same, to be written.
#[derive(Serialize)]
struct PartToStore<'a> {
    since: Timestamp,
    contents_since: Option<Timestamp>,
    passes: Vec<(&'a CompactString, Head)>,
    keys: Vec<SharedKeysToStore<'a>>,
    #[serde(with = "contents")]
    contents: &'a HashMap<u64, u64>,
    #[serde(with = "contents")]
    old_contents: &'a HashMap<u64, u64>,
}

#[derive(Serialize)]
struct SharedKeysToStore<'a> {
    passes: Passes,
    moves: bool,
    #[serde(with = "seconds")]
    seconds: &'a BTreeMap<i64, Second>,
}

impl SourcePosition {
    /// From now on the position records what changes.
    pub fn record_changes(&mut self) {
        let passes =
            self.pass_positions.iter().map(|(name, pass_position)| (name.clone(), pass_position.head())).collect();
        self.recorder = Recorder(Some(Box::new(Changes { passes, ..Changes::default() })));
    }

    /// The position is stored as a whole from now on.
    pub fn record_nothing(&mut self) {
        self.recorder = Recorder::default();
    }

    /// A copy for a poll: it is never stored, so it records nothing.
    #[must_use]
    pub fn for_poll(&self) -> Self {
        let Self { since, pass_positions, contents, old_contents, contents_since, recorder: _ } = self;
        Self {
            since: *since,
            pass_positions: pass_positions.clone(),
            contents: contents.clone(),
            old_contents: old_contents.clone(),
            contents_since: *contents_since,
            recorder: Recorder::default(),
        }
    }

    /// Number of keys and contents that have changed; none where the whole position has to be stored.
    pub fn change_count(&mut self) -> Option<usize> {
        self.recorder.prune(&self.pass_positions);
        self.recorder.0.as_ref().filter(|changes| !changes.is_replaced).map(|changes| changes.count)
    }

    /// The stored form of what has changed, and of the first pass. The others are in it if their times have changed.
    pub fn changes(&self) -> Vec<u8> {
        let Some(changes) = &self.recorder.0 else { return self.whole() };
        let is_stored = |index: usize, pass: &(&CompactString, Head)| {
            changes.passes.get(index).is_some_and(|(name, head)| (name, *head) == *pass)
        };
        let heads = self.heads().enumerate();
        let heads = heads.filter(|(index, pass)| *index == 0 || !is_stored(*index, pass)).map(|(_, pass)| pass);
        let keys = changes.keys.iter().map(|SharedKeys { passes, moves, seconds }| SharedKeysToStore {
            passes: passes.clone(),
            moves: *moves,
            seconds,
        });
        self.encode(heads.collect(), keys.collect(), &changes.contents, &HashMap::new())
    }

    /// The stored form of all of it.
    pub fn whole(&self) -> Vec<u8> {
        let keys = self.pass_positions.iter().filter(|(_, pass_position)| !pass_position.seconds.is_empty());
        let keys = keys.map(|(name, pass_position)| SharedKeysToStore {
            passes: vec![name.clone()],
            moves: false,
            seconds: &pass_position.seconds,
        });
        self.encode(self.heads().collect(), keys.collect(), &self.contents, &self.old_contents)
    }

    fn heads(&self) -> impl Iterator<Item = (&CompactString, Head)> {
        self.pass_positions.iter().map(|(name, pass_position)| (name, pass_position.head()))
    }

    fn encode(
        &self,
        passes: Vec<(&CompactString, Head)>,
        keys: Vec<SharedKeysToStore<'_>>,
        contents: &HashMap<u64, u64>,
        old_contents: &HashMap<u64, u64>,
    ) -> Vec<u8> {
        let Self { since, contents_since, .. } = *self;
        let part = PartToStore { since, contents_since, passes, keys, contents, old_contents };
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
    pub fn apply(&mut self, part: PositionPart) {
        let Self { position, moved } = self;
        (position.since, position.contents_since) = (part.since, part.contents_since);
        for (name, head) in part.passes {
            pass_of(position, &name).set_head(head);
        }
        for SharedKeys { passes, moves, seconds } in part.keys {
            for name in passes {
                let into = &mut pass_of(position, &name).seconds;
                for (second, records) in &seconds {
                    if moves {
                        // The first part, which is whole, does not say which keys move.
                        let places = moved.entry(name.clone()).or_insert_with(|| places(into));
                        for key in &records.keys {
                            if let Some(before) = places.insert(*key, *second) {
                                forget_in(into, before, *key);
                            }
                        }
                    }
                    into.entry(*second).or_default().merge(records);
                }
            }
        }
        if !part.contents.is_empty() {
            let old = Arc::make_mut(&mut position.old_contents);
            part.contents.keys().for_each(|id| _ = old.remove(id));
            Arc::make_mut(&mut position.contents).extend(part.contents);
        }
        if !part.old_contents.is_empty() {
            Arc::make_mut(&mut position.old_contents).extend(part.old_contents);
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
    pub fn finish_recording(mut self, last: PositionPart) -> SourcePosition {
        let passes = self.position.heads().map(|(name, head)| (name.clone(), head)).collect();
        let (keys, contents) = (last.keys.clone(), last.contents.clone());
        let count = keys.iter().flat_map(|keys| keys.seconds.values()).map(|records| records.keys.len()).sum::<usize>();
        let count = count + contents.len();
        self.apply(last);
        let changes = Changes { passes, keys, contents, count, is_replaced: false };
        SourcePosition { recorder: Recorder(Some(Box::new(changes))), ..self.finish() }
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
fn places(seconds: &BTreeMap<i64, Second>) -> HashMap<u64, i64> {
    seconds.iter().flat_map(|(second, records)| records.keys.iter().map(|key| (*key, *second))).collect()
}

fn forget_in(seconds: &mut BTreeMap<i64, Second>, second: i64, key: u64) {
    if let Some(records) = seconds.get_mut(&second) {
        records.forget(key);
        if records.keys.is_empty() {
            seconds.remove(&second);
        }
    }
}
