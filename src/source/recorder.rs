//! What has changed of a position since it was stored last.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::encoding::seconds;
use super::pass_position::{Head, PassPosition, Second, forget};

/// Keys that the same passes remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedKeys<'a> {
    pub passes: Vec<CompactString>,
    /// A record is remembered under one time only: the last one.
    pub moves: bool,
    #[serde(with = "seconds")]
    pub seconds: Cow<'a, BTreeMap<i64, Second>>,
}

/// What changed since a position was stored last; `None` where nothing is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorder(pub Option<Box<Changes>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// As they were stored last.
    pub passes: Vec<(CompactString, Head)>,
    pub keys: Vec<SharedKeys<'static>>,
    pub contents: HashMap<u64, u64>,
}

/// A key that passes remember, by their places among the passes.
pub(super) struct Noted {
    pub passes: SmallVec<[usize; 2]>,
    pub moves: bool,
    pub second: i64,
    pub key: u64,
    pub version: Option<u64>,
}

impl Recorder {
    /// More than keys, contents and times has changed: only the whole position says what.
    pub fn replaced(&mut self) {
        self.0 = None;
    }

    /// `pass_positions` are those of the position.
    pub fn note(&mut self, pass_positions: &[(CompactString, Arc<PassPosition>)], noted: &Noted) {
        let Some(changes) = &mut self.0 else { return };
        let names = || noted.passes.iter().filter_map(|index| pass_positions.get(*index)).map(|(name, _)| name);
        let of = |keys: &SharedKeys<'_>| keys.moves == noted.moves && keys.passes.iter().eq(names());
        // They are applied in their order: the key must not stand before what other passes have of it.
        let has_key =
            |keys: &SharedKeys<'_>| keys.seconds.get(&noted.second).is_some_and(|records| records.has(noted.key));
        let after_key = changes.keys.iter().rposition(has_key).unwrap_or_default();
        let place = changes.keys.iter().rposition(of).filter(|place| *place >= after_key).unwrap_or_else(|| {
            let passes = names().cloned().collect();
            let moves = noted.moves;
            changes.keys.push(SharedKeys { passes, moves, seconds: Cow::default() });
            changes.keys.len() - 1
        });
        let Some(SharedKeys { seconds, .. }) = changes.keys.get_mut(place) else { return };
        let seconds = seconds.to_mut();
        if noted.moves {
            forget(seconds, noted.key);
        }
        seconds.entry(noted.second).or_default().take(noted.key, noted.version);
    }

    /// Forgets changed keys that no pass of theirs remembers any more.
    pub fn prune(&mut self, pass_positions: &[(CompactString, Arc<PassPosition>)]) {
        let Some(changes) = &mut self.0 else { return };
        for SharedKeys { passes, seconds, .. } in &mut changes.keys {
            let of_keys = pass_positions.iter().filter(|(name, _)| passes.contains(name));
            let first = of_keys.map(|(_, pass_position)| pass_position.first_kept_second()).min().unwrap_or(i64::MIN);
            *seconds = Cow::Owned(seconds.to_mut().split_off(&first));
        }
        changes.keys.retain(|keys| !keys.seconds.is_empty());
    }

    pub fn note_content(&mut self, id: u64, content: u64) {
        if let Some(changes) = &mut self.0 {
            changes.contents.insert(id, content);
        }
    }
}
