//! The limit of open files. Each connection to a console or a sink is one.

use std::collections::HashSet;
use std::io;

use rlimit::{INFINITY, Resource};

use super::LaneSpec;

/// Open in addition to connections: the listener and its clients, files of the state and of pipelines, and the threads'
/// own.
const OTHERS: usize = 200;

/// Raises the limit of open files as far as the process may: container runtimes and shells start a process with 1,024,
/// for programs that cannot handle more. Returns the limit before and after.
///
/// # Errors
/// When the limit cannot be read or set.
pub fn raise_limit() -> io::Result<(u64, u64)> {
    let (before, _) = Resource::NOFILE.get()?;
    Ok((before, rlimit::increase_nofile_limit(INFINITY)?))
}

/// The limit of open files; none if it cannot be read.
pub(super) fn limit() -> Option<usize> {
    let (limit, _) = Resource::NOFILE.get().ok()?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The open files that these lanes may need when none of them is busy: a connection to each console, one for each sink
/// of a pipeline, and others.
pub(super) fn needed<'a>(lanes: impl Iterator<Item = &'a LaneSpec>) -> usize {
    let (mut consoles, mut sinks) = (HashSet::new(), HashSet::new());
    for lane in lanes {
        consoles.insert(lane.console.url.host());
        sinks.insert((&*lane.id.pipeline, &*lane.id.sink));
    }
    consoles.len() + sinks.len() + OTHERS
}
