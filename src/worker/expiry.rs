use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::context::WorkerContext;
use crate::console::Client;
use crate::pipeline::Pipeline;
use crate::record::Timestamp;

/// Tokens are valid for weeks, so that a replaced one is noticed soon enough.
const CHECK_INTERVAL: Duration = Duration::from_secs(6 * 3600);
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// Each of these numbers of days before the expiry, one line is logged. No other sign comes before the console refuses
/// the token.
const STAGES: [u64; 6] = [0, 1, 3, 7, 14, 30];
/// From then on the line is a warning.
const WARN_DAYS: u64 = 14;

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
    let mut logged = None;
    loop {
        let Ok(client) = context.client(&pipeline.name, &pipeline.console) else {
            sleep(RETRY_INTERVAL).await;
            continue;
        };
        let mut changes = client.token_changes();
        // Boxed: each pipeline has such a task, and it sleeps for hours without the memory of a request.
        let is_known = Box::pin(check(context, pipeline, &client, &mut logged)).await;
        let pause = if is_known { CHECK_INTERVAL } else { RETRY_INTERVAL };
        // Another token has another expiry. The client, which sends the changes, lives here.
        let _ = timeout(pause, changes.changed()).await;
    }
}

/// True if the console answered. `logged` is the stage of the last line.
async fn check(context: &WorkerContext, pipeline: &Pipeline, client: &Client, logged: &mut Option<u64>) -> bool {
    let expires = match client.token_expiry().await {
        Ok(expires) => expires,
        Err(error) => {
            debug!(pipeline = %pipeline.name, %error, "the expiry of the API token is unknown");
            return false;
        }
    };
    context.telemetry.set_token_expiry(&pipeline.name, expires);
    let stage = expires.and_then(|expires| stage(expires, context.clock().now()));
    if let (Some(days), Some(expires)) = (stage.filter(|_| stage != *logged), expires) {
        let pipeline = &*pipeline.name;
        let days_left = expires.since(context.clock().now()).as_secs() / 86_400;
        match days {
            0 => error!(pipeline, %expires, "the API token has expired: create a new one"),
            1..=WARN_DAYS => warn!(pipeline, %expires, days_left, "the API token expires soon: replace it"),
            _ => info!(pipeline, %expires, days_left, "the API token expires within a month"),
        }
    }
    *logged = stage;
    true
}

/// The least of [`STAGES`] that the rest of the token's life is within; `None` if it is longer than all of them.
fn stage(expires: Timestamp, now: Timestamp) -> Option<u64> {
    let left = expires.since(now);
    STAGES.into_iter().find(|days| left <= Duration::from_secs(days * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_s_life_has_stages() {
        let now = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
        let after = |hours: u64| stage(now.plus(Duration::from_secs(hours * 3600)), now);
        assert_eq!(
            [31 * 24, 30 * 24, 15 * 24, 14 * 24, 7 * 24, 73].map(after),
            [None, Some(30), Some(30), Some(14), Some(7), Some(7)]
        );
        assert_eq!([72, 25, 24, 1, 0].map(after), [Some(3), Some(3), Some(1), Some(1), Some(0)]);
        assert_eq!(stage(now.minus(Duration::from_secs(5)), now), Some(0), "expired");
    }
}
