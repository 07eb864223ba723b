//! `state rename` next to a worker that has the state to itself: the command asks, and the worker renames.
//!
//! A request is stored in an area of the state, under the lane's new name. It holds the old name, then the answer, and
//! is removed when the checkpoint has the new name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info};

use super::rename_checkpoint;
use crate::state::{Access, CheckpointKey, LaneId, Location, StateError, Store};
use crate::worker::Options;
use crate::worker::context::WorkerContext;

/// Interval at which a worker looks for requests.
const INTERVAL: Duration = Duration::from_millis(500);
/// Comes before the text of a refusal. No lane's name begins with it.
const REFUSED: char = '!';

fn area() -> &'static Path {
    Path::new("renames")
}

/// The requests of one command.
#[derive(Debug)]
pub struct RenameRequests {
    state: Location,
    store: Arc<dyn Store>,
}

/// What has become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Waits,
    Renamed,
    Refused(String),
}

impl RenameRequests {
    /// # Errors
    /// If they cannot be stored, or another command has some.
    pub async fn open(options: &Options) -> Result<Self, StateError> {
        let store = options.open_state(Some(area())).await?;
        Ok(Self { state: options.state.clone(), store })
    }

    /// Asks for a checkpoint to be renamed.
    ///
    /// # Errors
    /// If the request cannot be stored.
    pub async fn put(&self, from: &LaneId, to: &LaneId) -> Result<(), StateError> {
        self.store.commit(&to.clone().into(), from.to_string().into_bytes().into()).await.map(drop)
    }

    /// What has become of the request for this new name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn answer(&self, to: &LaneId) -> Result<Answer, StateError> {
        let Some(text) = self.store.load(&to.clone().into()).await? else { return Ok(Answer::Renamed) };
        let text = String::from_utf8_lossy(&text);
        Ok(text.strip_prefix(REFUSED).map_or(Answer::Waits, |reason| Answer::Refused(reason.to_owned())))
    }

    /// Withdraws those that have no answer, and removes all.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub async fn remove(self) -> Result<(), StateError> {
        self.state.remove_area(area(), &*self.store).await
    }
}

/// Serves the requests of commands. Never returns; without a lock on the state, it has nothing to do.
pub async fn serve_requests(context: Arc<WorkerContext>) {
    if !matches!(context.options.state, Location::File(_)) {
        return std::future::pending().await;
    }
    // A command that was interrupted has left its requests: nobody waits for their answers.
    if let Err(error) = remove_old(&context.options).await {
        debug!(%error, "old requests of `state rename` cannot be removed");
    }
    loop {
        sleep(INTERVAL).await;
        if let Err(error) = serve_once(&context).await {
            debug!(%error, "requests of `state rename` cannot be read");
        }
    }
}

async fn remove_old(options: &Options) -> Result<(), StateError> {
    let requests = options.state.open(&options.instance, Access::Read, Some(area())).await?;
    for key in requests.list().await? {
        requests.delete(&key).await?;
    }
    Ok(())
}

async fn serve_once(context: &WorkerContext) -> Result<(), StateError> {
    let options = &context.options;
    let requests = options.state.open(&options.instance, Access::Read, Some(area())).await?;
    for key in requests.list().await? {
        let Some(text) = requests.load(&key).await? else { continue };
        // A request that was refused holds the reason, which is not the name of a lane.
        let Ok(from) = String::from_utf8_lossy(&text).parse::<LaneId>() else { continue };
        let CheckpointKey { lane: to, .. } = &key;
        let store = context.store();
        let renaming = rename_checkpoint(&*store, options, &from, to);
        match context.renames.rename(&from, to, renaming).await {
            Ok(()) => {
                info!(pipeline = %to.pipeline, stream = %to.stream, sink = %to.sink, "`state rename`: {from} is now {to}");
                requests.delete(&key).await?;
            }
            Err(reason) => {
                requests.commit(&key, format!("{REFUSED}{reason}").into_bytes().into()).await?;
            }
        }
    }
    Ok(())
}
