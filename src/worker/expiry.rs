use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::shared::Shared;
use crate::console::Client;
use crate::pipeline::Pipeline;

/// Tokens live for weeks, so this is soon enough to see one that was replaced.
const ASK_EVERY: Duration = Duration::from_secs(6 * 3600);
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// From then on each answer is a warning in the log: nothing else tells before the console stops answering.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Asks the console now and then when the pipeline's token expires, until `stop`. `starting` lanes in all start with it: of
/// ten thousand pipelines not all ask at once, each over a connection of its own.
pub async fn watch_expiry(shared: Arc<Shared>, pipeline: Arc<Pipeline>, starting: usize, stop: CancellationToken) {
    stop.run_until_cancelled(watch(&shared, &pipeline, starting)).await;
}

async fn watch(shared: &Shared, pipeline: &Pipeline, starting: usize) {
    // The lanes' first requests come first.
    let first = Duration::from_secs(1).mul_f64(1.0 + shared.fork_random().f64());
    sleep(first + shared.first_poll_after(starting, ASK_AGAIN)).await;
    loop {
        let Ok(client) = shared.client(&pipeline.name, &pipeline.console) else {
            sleep(ASK_AGAIN).await;
            continue;
        };
        let mut changes = client.token_changes();
        // In a box: what a request needs is not part of a task that sleeps for hours, one for each of ten thousand pipelines.
        let rest = if Box::pin(ask(shared, pipeline, &client)).await { ASK_EVERY } else { ASK_AGAIN };
        // Another token has another expiry. The client outlives its changes, so there is always one to wait for.
        let _ = timeout(rest, changes.changed()).await;
    }
}

async fn ask(shared: &Shared, pipeline: &Pipeline, client: &Client) -> bool {
    let expires = match client.token_expiry().await {
        Ok(expires) => expires,
        Err(error) => {
            debug!(pipeline = %pipeline.name, %error, "the console does not tell when the token expires");
            return false;
        }
    };
    shared.telemetry.set_token_expiry(&pipeline.name, expires);
    if let Some(expires) = expires.filter(|expires| expires.since(shared.clock().now()) < WARN_BEFORE) {
        warn!(pipeline = %pipeline.name, %expires, "the API token expires soon; put a new one in its place");
    }
    true
}
