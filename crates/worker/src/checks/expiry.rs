//! Checks when the tokens of the pipelines expire, and warns before.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::console::Client;
use s1_forwarder_record::Timestamp;
use tracing::{debug, error, info, warn};

use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;

/// Wait before the first check: the first requests of the lanes go first.
pub const FIRST_CHECK: Duration = Duration::from_secs(1);
/// Wait before the next check while the console does not answer.
const RETRY_INTERVAL: Duration = Duration::from_mins(10);
/// Tokens are valid for weeks, so that a replaced one is noticed soon enough.
const CHECK_INTERVAL: Duration = Duration::from_hours(6);
/// Each of these numbers of days before the expiry, one line is logged. No other sign comes before the console refuses
/// the token.
const STAGES: [u64; 6] = [0, 1, 3, 7, 14, 30];
/// Number of days left from which on the line is a warning.
const WARN_DAYS: u64 = 14;

/// The token that the console was last asked about.
#[derive(Debug, Default)]
pub struct KnownToken {
    client: Option<Arc<Client>>,
    /// [`Client::token_changes`] when the console was asked.
    changes: u64,
}

impl KnownToken {
    /// Returns whether requests use another token by now.
    pub fn is_replaced(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.token_changes() != self.changes)
    }

    /// Sets the client that asks the console about the token in use.
    pub fn follow(&mut self, client: &Arc<Client>) {
        self.client = Some(client.clone());
        self.changes = client.token_changes();
    }
}

/// The token whose expiry was last asked for.
#[derive(Debug, Default)]
pub struct KnownExpiry {
    pub token: KnownToken,
    /// The stage of the last line.
    logged: Option<u64>,
}

/// Asks the console when the token of the lanes' pipeline expires. Returns the wait before the next check too.
pub async fn check(shared: Arc<Shared>, lanes: Vec<Arc<LaneSpec>>, mut known: KnownExpiry) -> (KnownExpiry, Duration) {
    let lane = lanes.first().map(|lane| (&*lane.id.pipeline, &lane.console));
    let Some((pipeline, client)) =
        lane.and_then(|(name, console)| Some((name, shared.lane_builder.client(name, console).ok()?)))
    else {
        return (known, RETRY_INTERVAL);
    };
    if known.token.is_replaced() {
        // The console may not say when this one expires.
        shared.telemetry.set_token_expiry(pipeline, None);
    }
    known.token.follow(&client);
    match client.token_expiry().await {
        Ok(expires) => {
            report(&shared, pipeline, expires, &mut known.logged);
            (known, CHECK_INTERVAL)
        }
        Err(error) => {
            debug!(%pipeline, %error, "the expiry of the API token is unknown");
            (known, RETRY_INTERVAL)
        }
    }
}

/// Reports the expiry. `logged` is the stage of the last line.
fn report(shared: &Shared, pipeline: &str, expires: Option<Timestamp>, logged: &mut Option<u64>) {
    shared.telemetry.set_token_expiry(pipeline, expires);
    let stage = expires.and_then(|expires| stage(expires, shared.options.clock.now()));
    if let (Some(days), Some(expires)) = (stage, expires)
        && stage != *logged
    {
        let days_left = expires.since(shared.options.clock.now()).as_secs() / 86_400;
        match days {
            0 => error!(pipeline, %expires, "the API token has expired: create a new one"),
            1..=WARN_DAYS => warn!(pipeline, %expires, days_left, "the API token expires soon: replace it"),
            _ => info!(pipeline, %expires, days_left, "the API token expires within a month"),
        }
    }
    *logged = stage;
}

/// Returns the smallest of [`STAGES`] that the rest of the token's life does not exceed. `None` if it exceeds all of
/// them.
fn stage(expires: Timestamp, now: Timestamp) -> Option<u64> {
    let left = expires.since(now);
    STAGES.into_iter().find(|days| left <= Duration::from_secs(days * 86_400))
}

#[cfg(test)]
mod tests {
    use super::super::new_token::tests::Rotation;
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

    /// An alert on the expiry of a token that is not used any more would never end.
    #[tokio::test(start_paused = true)]
    async fn the_expiry_of_a_former_token_is_forgotten() {
        let rotation = Rotation::new();
        let (shared, lanes) = (&rotation.shared, &rotation.lanes);
        *rotation.details.lock() = Some(r#"{"data":{"expiresAt":"2026-12-01T00:00:00Z"}}"#);
        rotation.list().await.unwrap();
        let (known, _) = check(shared.clone(), lanes.clone(), KnownExpiry::default()).await;
        let expiry = || shared.telemetry.token_expiry("acme").map(|expires| expires.to_string());
        assert_eq!(expiry().as_deref(), Some("2026-12-01T00:00:00.000000Z"));
        // The expiry stays known while the console does not say it again.
        *rotation.details.lock() = None;
        let (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert!(expiry().is_some() && !known.token.is_replaced());

        rotation.write("next");
        *rotation.good.lock() = vec!["next"];
        rotation.list().await.unwrap();
        assert!(known.token.is_replaced());
        let (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((expiry(), known.token.is_replaced()), (None, false));
    }
}
