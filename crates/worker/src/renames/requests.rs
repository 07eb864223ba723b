//! Requests of `state rename` and `retry` to a worker that has the state to itself: the command asks, the worker acts.
//!
//! A request is stored in an area of the state, under the name of its lane. It says what to do, then holds the answer,
//! and is removed when it is done.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store};
use s1_forwarder_failure::Failure;
use s1_forwarder_record::LaneId;
use s1_forwarder_state::{Access, StoreLocation};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info};

use super::rename_checkpoint;
use crate::options::Options;
use crate::shared::Shared;

/// Interval at which a worker looks for requests.
const INTERVAL: Duration = Duration::from_millis(500);
/// The character before the text of a refusal. No lane's name begins with it.
const REFUSED: char = '!';
/// The text of a [`LaneRequest::Retry`], which is not the name of a lane.
const RETRY: &str = "retry";

fn requests_area() -> &'static Path {
    Path::new("renames")
}

/// A request to a worker about a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneRequest {
    /// The lane gets the checkpoint of this other lane.
    Rename(LaneId),
    /// The lane makes its next attempt now.
    Retry,
}

impl LaneRequest {
    fn text(&self) -> String {
        match self {
            Self::Rename(from) => from.to_string(),
            Self::Retry => RETRY.to_owned(),
        }
    }

    /// Reads a stored request. `None` if it was refused, and has the reason as its text.
    fn parse(text: &[u8]) -> Option<Self> {
        match std::str::from_utf8(text).ok()? {
            RETRY => Some(Self::Retry),
            from => from.parse().ok().map(Self::Rename),
        }
    }
}

/// The requests of one command.
#[derive(Debug)]
pub struct LaneRequests {
    state: StoreLocation,
    store: Arc<dyn Store>,
}

/// The state of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneAnswer {
    Waits,
    Done,
    Refused(String),
}

impl LaneRequests {
    /// Opens the place of a command's requests.
    ///
    /// # Errors
    /// If requests cannot be stored, or another command has some.
    pub async fn open(options: &Options) -> Result<Self, StateError> {
        let store = options.open_state(Some(requests_area())).await?;
        Ok(Self { state: options.state.clone(), store })
    }

    /// Asks for something about a lane.
    ///
    /// # Errors
    /// If the request cannot be stored.
    pub async fn put(&self, lane: &LaneId, request: &LaneRequest) -> Result<(), StateError> {
        self.store.commit(&lane.clone().into(), request.text().into_bytes().into()).await.map(drop)
    }

    /// Returns the state of the request about this lane.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn answer(&self, lane: &LaneId) -> Result<LaneAnswer, StateError> {
        let Some(text) = self.store.load(&lane.clone().into()).await? else { return Ok(LaneAnswer::Done) };
        let text = String::from_utf8_lossy(&text);
        Ok(text.strip_prefix(REFUSED).map_or(LaneAnswer::Waits, |reason| LaneAnswer::Refused(reason.to_owned())))
    }

    /// Withdraws the requests without an answer, and removes all requests.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub async fn remove(self) -> Result<(), StateError> {
        self.state.remove_area(requests_area(), &*self.store).await
    }
}

/// Serves the requests of commands, and sends the lanes to be retried to the supervisor. Never returns; without a lock
/// on the state, it has nothing to do.
pub async fn serve_requests(shared: Arc<Shared>, retries: mpsc::Sender<Vec<LaneId>>) {
    if !matches!(shared.options.state, StoreLocation::File(_)) {
        return std::future::pending().await;
    }
    // An interrupted command has left its requests, and no longer waits for their answers.
    if let Err(error) = remove_old(&shared.options).await {
        debug!(%error, "old requests of commands cannot be removed");
    }
    loop {
        sleep(INTERVAL).await;
        if let Err(error) = serve_once(&shared, &retries).await {
            debug!(%error, "requests of commands cannot be read");
        }
    }
}

async fn remove_old(options: &Options) -> Result<(), StateError> {
    let requests = options.state.open(&options.instance, Access::Read, Some(requests_area())).await?;
    for key in requests.list().await? {
        requests.delete(&key).await?;
    }
    Ok(())
}

async fn serve_once(shared: &Shared, retries: &mpsc::Sender<Vec<LaneId>>) -> Result<(), StateError> {
    let requests = shared.options.state.open(&shared.options.instance, Access::Read, Some(requests_area())).await?;
    let mut retried = Vec::new();
    for key in requests.list().await? {
        let Some(text) = requests.load(&key).await? else { continue };
        let Some(request) = LaneRequest::parse(&text) else { continue };
        let CheckpointKey { lane, .. } = &key;
        let served = match &request {
            LaneRequest::Rename(from) => rename(shared, from, lane).await,
            LaneRequest::Retry if shared.telemetry.lane(lane).is_some() => {
                retried.push(key);
                continue;
            }
            LaneRequest::Retry => Err(Failure::transient("the worker runs no such lane")),
        };
        match served {
            Ok(()) => requests.delete(&key).await?,
            Err(reason) => {
                requests.commit(&key, format!("{REFUSED}{reason}").into_bytes().into()).await?;
            }
        }
    }
    if retried.is_empty() {
        return Ok(());
    }
    // Before the answers: a command that has them removes the directory, and then the next `delete` fails.
    // Sending fails only if the worker ends.
    let _ = retries.send(retried.iter().map(|key| key.lane.clone()).collect()).await;
    for key in retried {
        requests.delete(&key).await?;
    }
    Ok(())
}

async fn rename(shared: &Shared, from: &LaneId, to: &LaneId) -> Result<(), Failure> {
    let store = shared.stores.main();
    let renaming = rename_checkpoint(&*store, &shared.options, from, to);
    shared.renames.rename(from, to, renaming).await?;
    info!(pipeline = %to.pipeline, stream = %to.stream, sink = %to.sink, "`state rename`: {from} is now {to}");
    Ok(())
}
