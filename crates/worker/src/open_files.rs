//! The limit of open files. Each connection to a console or a sink is one.

use std::collections::HashSet;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::lanes::spec::LaneSpec;

/// Open in addition to connections: the listener and its clients, files of the state and of pipelines, and the threads'
/// own.
const OTHERS: usize = 200;

/// Raises the limit of open files as far as the process may. Container runtimes and shells start a process with 1,024,
/// for programs that cannot handle more. Returns the limit before and after.
///
/// # Errors
/// If the limit cannot be set.
pub fn raise_limit() -> io::Result<(u64, u64)> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    Ok((number(current), number(maximum)))
}

/// Returns the limit of open files. `None` if there is none.
pub(super) fn limit() -> Option<usize> {
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// Returns the number of open files that these lanes may need when none of them is busy. These are a connection to each
/// console, one for each sink of a pipeline, and others.
pub(super) fn needed<'a>(lanes: impl Iterator<Item = &'a LaneSpec>) -> usize {
    let mut consoles = HashSet::new();
    let mut sinks = HashSet::new();
    for lane in lanes {
        consoles.insert(lane.console.url.host());
        sinks.insert((&*lane.id.pipeline, &*lane.id.sink));
    }
    consoles.len() + sinks.len() + OTHERS
}
