//! Leaves of records that no mapping knows: how many there were, and which paths the log has named.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::record::Stream;

/// Paths of one stream that the log names.
const MOST_PATHS: usize = 200;
/// Those of them below one object inside a record: its keys may be data, and have no end.
const MOST_BELOW: usize = 20;

/// The leaves of each stream, over all lanes of the process.
#[derive(Debug, Default)]
pub(super) struct UnmappedFields(Mutex<BTreeMap<Stream, Leaves>>);

#[derive(Debug, Default)]
struct Leaves {
    count: u64,
    paths: BTreeSet<Box<str>>,
    /// How many paths were named below each object.
    below: BTreeMap<Box<str>, usize>,
    is_full: bool,
}

/// What the log says of a leaf.
#[derive(Debug, PartialEq, Eq)]
enum Line<'p> {
    Path(&'p str),
    /// The object has more keys than are named.
    More(&'p str),
    Full,
}

impl UnmappedFields {
    pub fn leaves(&self, stream: Stream) -> u64 {
        self.0.lock().get(&stream).map_or(0, |leaves| leaves.count)
    }

    /// Counts a leaf. `path` was made for logs. The caller runs within the lane's span, which names the stream.
    pub fn count(&self, stream: Stream, path: &str) {
        // Not while others wait for the lock: a log line may take long.
        let line = self.0.lock().entry(stream).or_default().count(path);
        match line {
            None => {}
            Some(Line::Path(path)) => info!(path, "records have a field that no mapping knows"),
            Some(Line::More(object)) => {
                info!(object, most = MOST_BELOW, "an object has more unknown fields than are named");
            }
            Some(Line::Full) => warn!(most = MOST_PATHS, "records have more unknown fields than are named"),
        }
    }
}

impl Leaves {
    fn count<'p>(&mut self, path: &'p str) -> Option<Line<'p>> {
        self.count += 1;
        if self.is_full || self.paths.contains(path) {
            return None;
        }
        let object = path.rsplit_once('.').map_or("", |(object, _)| object);
        let below = self.below.get(object).copied().unwrap_or_default();
        let most = if object.is_empty() { MOST_PATHS } else { MOST_BELOW };
        if below > most {
            return None;
        }
        if self.paths.len() >= MOST_PATHS {
            self.is_full = true;
            return Some(Line::Full);
        }
        self.below.insert(object.into(), below + 1);
        if below == most {
            return Some(Line::More(object));
        }
        self.paths.insert(path.into());
        Some(Line::Path(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_once_and_an_object_with_many_keys_ends_in_one_line() {
        let mut leaves = Leaves::default();
        assert_eq!(leaves.count("new"), Some(Line::Path("new")));
        assert_eq!(leaves.count("new"), None);
        let lines: Vec<String> =
            (0..100).filter_map(|key| leaves.count(&format!("map.k{key}")).map(|line| format!("{line:?}"))).collect();
        assert_eq!(lines.len(), MOST_BELOW + 1);
        assert_eq!(lines[MOST_BELOW], r#"More("map")"#);
        assert_eq!(leaves.count("other"), Some(Line::Path("other")));
        assert_eq!(leaves.count, 103);
    }

    #[test]
    fn a_stream_names_two_hundred_paths_and_says_once_that_there_are_more() {
        let mut leaves = Leaves::default();
        let mut lines = Vec::new();
        for object in 0..100 {
            for key in 0..10 {
                lines.extend(leaves.count(&format!("o{object}.k{key}")).map(|line| format!("{line:?}")));
            }
        }
        assert_eq!((lines.len(), lines[MOST_PATHS].as_str()), (MOST_PATHS + 1, "Full"));
        assert!(leaves.below.len() <= MOST_PATHS && leaves.paths.len() == MOST_PATHS);
    }
}
