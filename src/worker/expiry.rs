use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::context::WorkerContext;
use crate::console::Client;
use crate::pipeline::Pipeline;

/// Tokens are valid for weeks, so that a replaced one is noticed soon enough.
const CHECK_INTERVAL: Duration = Duration::from_secs(6 * 3600);
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// From then on every check logs a warning. No other sign comes before the console refuses the token.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Regularly asks the console when the pipeline's token expires, until `stop`. `starting` is the number of lanes that
/// start at the same time. It spreads the first requests, so that ten thousand pipelines do not connect at once.
pub async fn watch_expiry(
    context: Arc<WorkerContext>,
    pipeline: Arc<Pipeline>,
    starting: usize,
    stop: CancellationToken,
) {
    stop.run_until_cancelled(watch(&context, &pipeline, starting)).await;
}

async fn watch(context: &WorkerContext, pipeline: &Pipeline, starting: usize) {
    // Lets the first requests of the lanes go first.
    let first = Duration::from_secs(1).mul_f64(1.0 + context.fork_random().f64());
    sleep(first + context.first_poll_after(starting, RETRY_INTERVAL)).await;
    loop {
        let Ok(client) = context.client(&pipeline.name, &pipeline.console) else {
            sleep(RETRY_INTERVAL).await;
            continue;
        };
        let mut changes = client.token_changes();
        // Boxed: each pipeline has such a task, and it sleeps for hours without the memory of a request.
        let is_known = Box::pin(check(context, pipeline, &client)).await;
        let pause = if is_known { CHECK_INTERVAL } else { RETRY_INTERVAL };
        // Another token has another expiry. The client, which sends the changes, lives here.
        let _ = timeout(pause, changes.changed()).await;
    }
}

/// True if the console answered.
async fn check(context: &WorkerContext, pipeline: &Pipeline, client: &Client) -> bool {
    let expires = match client.token_expiry().await {
        Ok(expires) => expires,
        Err(error) => {
            debug!(pipeline = %pipeline.name, %error, "the expiry of the API token is unknown");
            return false;
        }
    };
    context.telemetry.set_token_expiry(&pipeline.name, expires);
    if let Some(expires) = expires.filter(|expires| expires.since(context.clock().now()) < WARN_BEFORE) {
        warn!(pipeline = %pipeline.name, %expires, "the API token expires soon: replace it");
    }
    true
}
