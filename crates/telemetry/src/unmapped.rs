//! Leaves of records that no mapping knows: how many there were, and which paths the log has named.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use s1_forwarder_record::Stream;
use tracing::{info, warn};

/// Number of paths of one stream that the log names. A pipeline in the stream has its own bound, so that no customer
/// uses up the names of others.
const OF_STREAM: Bounds = Bounds { paths: 500, below: 100 };
const OF_PIPELINE: Bounds = Bounds { paths: 50, below: 20 };

#[derive(Debug, Clone, Copy)]
struct Bounds {
    paths: usize,
    /// Most paths below one object inside a record: its keys may be data, and have no end.
    below: usize,
}

/// The leaves of each stream, over all lanes of the process.
#[derive(Debug, Default)]
pub(super) struct UnmappedFields(Mutex<BTreeMap<Stream, Leaves>>);

#[derive(Debug, Default)]
struct Leaves {
    count: u64,
    paths: BTreeSet<Box<str>>,
    named: Named,
    /// The named paths by pipeline.
    shares: BTreeMap<Box<str>, Named>,
}

/// Numbers of named paths.
#[derive(Debug, Default)]
struct Named {
    paths: usize,
    /// Number of paths below each object.
    below: BTreeMap<Box<str>, usize>,
    is_full: bool,
}

/// A line of the log about a leaf.
#[derive(Debug, PartialEq, Eq)]
enum Line<'p> {
    Path(&'p str),
    /// The object has more keys than are named.
    More(&'p str, usize),
    /// The pipeline, or all of them, have more paths than are named.
    Full(usize),
}

impl UnmappedFields {
    pub fn leaves(&self, stream: Stream) -> u64 {
        self.0.lock().get(&stream).map_or(0, |leaves| leaves.count)
    }

    /// Counts a record's leaves that no mapping knows.
    pub fn count(&self, stream: Stream, leaves: u32) {
        self.0.lock().entry(stream).or_default().count += u64::from(leaves);
    }

    /// Names a path in the log. `path` was made for logs. The caller runs within the lane's span, as [`crate::Meter`]
    /// says.
    pub fn name(&self, pipeline: &str, stream: Stream, path: &str) {
        // The line is not logged while others wait for the lock: a log line may take long.
        let line = self.0.lock().entry(stream).or_default().name(pipeline, path);
        match line {
            None => {}
            Some(Line::Path(path)) => info!(path, "records have a field that no mapping knows"),
            Some(Line::More(object, most)) => {
                info!(object, most, "an object has more unknown fields than are named");
            }
            Some(Line::Full(most)) => warn!(most, "records have more unknown fields than are named"),
        }
    }
}

impl Leaves {
    fn name<'p>(&mut self, pipeline: &str, path: &'p str) -> Option<Line<'p>> {
        if self.paths.contains(path) {
            return None;
        }
        if !self.shares.contains_key(pipeline) {
            if self.named.is_full {
                return None;
            }
            self.shares.insert(pipeline.into(), Named::default());
        }
        let share = self.shares.get_mut(pipeline)?;
        let object = path.rsplit_once('.').map_or("", |(object, _)| object);
        for (named, bounds) in [(&mut *share, OF_PIPELINE), (&mut self.named, OF_STREAM)] {
            match named.room(object, bounds) {
                Room::Free => {}
                Room::None => return None,
                Room::NoMore => {
                    return Some(if named.is_full {
                        Line::Full(bounds.paths)
                    } else {
                        Line::More(object, bounds.below)
                    });
                }
            }
        }
        share.add(object);
        self.named.add(object);
        self.paths.insert(path.into());
        Some(Line::Path(path))
    }
}

/// The room for one more path to be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// There is no room from now on, which is logged.
    NoMore,
    None,
}

impl Named {
    fn room(&mut self, object: &str, bounds: Bounds) -> Room {
        if self.is_full {
            return Room::None;
        }
        let below = self.below.get(object).copied().unwrap_or_default();
        if below > bounds.below {
            return Room::None;
        }
        if self.paths >= bounds.paths {
            self.is_full = true;
            return Room::NoMore;
        }
        if below == bounds.below && !object.is_empty() {
            self.below.insert(object.into(), below + 1);
            return Room::NoMore;
        }
        Room::Free
    }

    fn add(&mut self, object: &str) {
        self.paths += 1;
        // A record itself is no map.
        if !object.is_empty() {
            *self.below.entry(object.into()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(leaves: &mut Leaves, pipeline: &str, paths: impl Iterator<Item = String>) -> Vec<String> {
        paths.filter_map(|path| leaves.name(pipeline, &path).map(|line| format!("{line:?}"))).collect()
    }

    #[test]
    fn a_path_is_named_once_and_an_object_with_many_keys_ends_in_one_line() {
        let mut leaves = Leaves::default();
        assert_eq!(leaves.name("acme", "new"), Some(Line::Path("new")));
        assert_eq!((leaves.name("acme", "new"), leaves.name("bolt", "new")), (None, None));
        let lines = lines(&mut leaves, "acme", (0..100).map(|key| format!("map.k{key}")));
        assert_eq!(lines.len(), OF_PIPELINE.below + 1);
        assert_eq!(lines[OF_PIPELINE.below], r#"More("map", 20)"#);
        assert_eq!(leaves.name("acme", "other"), Some(Line::Path("other")));
    }

    #[test]
    fn a_pipeline_names_its_share_and_leaves_names_to_others() {
        let mut leaves = Leaves::default();
        let paths = || (0..100).flat_map(|object| (0..10).map(move |key| format!("o{object}.k{key}")));
        let of_acme = lines(&mut leaves, "acme", paths());
        assert_eq!((of_acme.len(), of_acme[50].as_str()), (51, "Full(50)"));
        assert_eq!(leaves.name("bolt", "new"), Some(Line::Path("new")));
        // Below an object that one pipeline has filled.
        let of_cedar = lines(&mut leaves, "cedar", (0..100).map(|key| format!("map.k{key}")));
        assert_eq!((of_cedar.len(), of_cedar[20].as_str()), (21, r#"More("map", 20)"#));
        assert_eq!(leaves.name("bolt", "map.new"), Some(Line::Path("map.new")));
    }

    #[test]
    fn a_stream_names_five_hundred_paths_and_says_once_that_there_are_more() {
        let mut leaves = Leaves::default();
        let mut said = Vec::new();
        for pipeline in 0..100 {
            let paths = (0..100).map(|key| format!("o{pipeline}x{}.k{key}", key / 10));
            said.extend(lines(&mut leaves, &format!("p{pipeline}"), paths));
        }
        let of_pipelines = said.iter().filter(|line| *line == "Full(50)").count();
        assert_eq!((of_pipelines, said.last().map(String::as_str)), (10, Some("Full(500)")));
        assert_eq!(said.len(), OF_STREAM.paths + of_pipelines + 1);
        assert_eq!((leaves.paths.len(), leaves.shares.len()), (OF_STREAM.paths, 11));
        // Below one object, in all pipelines together.
        let mut leaves = Leaves::default();
        let mut said = Vec::new();
        for pipeline in 0..100 {
            said.extend(lines(
                &mut leaves,
                &format!("p{pipeline}"),
                (0..15).map(|key| format!("map.p{pipeline}k{key}")),
            ));
        }
        assert_eq!((said.len(), said[100].as_str()), (OF_STREAM.below + 1, r#"More("map", 100)"#));
    }
}
