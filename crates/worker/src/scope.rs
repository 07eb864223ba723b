use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::LaneId;
use s1_forwarder_engine::console::{Client, ConsoleError};
use s1_forwarder_engine::source::{SeenScope, named_scopes, scope_of_user};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::LaneMetrics;
use tokio::time::Instant;
use tracing::debug;

use super::expiry::KnownToken;
use super::shared::Shared;
use super::spec::LaneSpec;
use super::warnings::Compared;

/// Wait before the comparison: the first requests of the lanes go first.
pub const FIRST_CHECK: Duration = Duration::from_secs(1);
/// Wait before the next attempt while the console does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);
/// The console may show another scope than before to the same token.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// The interval while something is not seen: somebody is mending it.
const UNSEEN_INTERVAL: Duration = Duration::from_secs(120);
/// Nothing is to be compared: longer than a process runs.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What the last check of a pipeline knew.
#[derive(Debug)]
pub struct KnownScope {
    pub token: KnownToken,
    /// When nothing was wrong, or the first check was planned.
    well_at: Instant,
    /// Up to when the lanes had read everything then. `None` before the first comparison.
    read_until: Option<Timestamp>,
    /// The scope of the first token's user, of a pipeline that names no ids.
    of_user: Option<String>,
}

impl Default for KnownScope {
    fn default() -> Self {
        Self { token: KnownToken::default(), well_at: Instant::now(), read_until: None, of_user: None }
    }
}

/// Compares the scope of the lanes' pipeline with what its token sees, for each console, token and set of ids once an
/// hour, and when requests use another token than `known`. Returns the wait before the next comparison too.
pub async fn check(shared: Arc<Shared>, lanes: Vec<Arc<LaneSpec>>, mut known: KnownScope) -> (KnownScope, Duration) {
    let Some(lane) = lanes.first() else { return (known, NEVER) };
    let pipeline = &lane.id.pipeline;
    let Ok(client) = shared.lanes.client(pipeline, &lane.console) else { return (known, RETRY_INTERVAL) };
    let max_age = if known.token.is_replaced() { Duration::ZERO } else { CHECK_INTERVAL };
    known.token.follow(&client);
    let is_named = named_scopes(&lane.console).next().is_some();
    let compared = if is_named {
        let comparison = shared.warnings.comparison(&lane.console, max_age, UNSEEN_INTERVAL);
        comparison.get_or_try_init(|| compare(&client, lane)).await.cloned()
    } else {
        compare_with_former(&client, &mut known.of_user).await
    };
    let now = shared.options.clock.now();
    let pause = match compared {
        Ok(Compared::Unseen(text)) => {
            let well_at = now.minus(known.well_at.elapsed());
            let read_until = known.read_until.or_else(|| earliest(&shared, &lanes, LaneMetrics::opened_from));
            let since = read_until.map_or(well_at, |until| until.min(well_at));
            shared.warnings.set_unseen(pipeline, &lane.console, text, since);
            if is_named { UNSEEN_INTERVAL } else { NEVER }
        }
        Ok(Compared::Nothing) => {
            let streams = lanes.iter().map(|lane| lane.id.stream).collect();
            shared.warnings.clear_unseen(pipeline, &lane.console, &streams, &shared.lanes.state_flags(lane), now);
            known.well_at = Instant::now();
            known.read_until = earliest(&shared, &lanes, LaneMetrics::complete_until);
            if is_named { CHECK_INTERVAL } else { NEVER }
        }
        Err(NotKnown) => RETRY_INTERVAL,
    };
    (known, pause)
}

/// The earliest of such times of these lanes: what they have not read is not settled.
fn earliest(
    shared: &Shared,
    lanes: &[Arc<LaneSpec>],
    time: impl Fn(&LaneMetrics) -> Option<Timestamp>,
) -> Option<Timestamp> {
    let running = lanes.iter().filter_map(|lane| {
        let LaneId { pipeline, stream, sink } = &lane.id;
        shared.telemetry.lane(pipeline, *stream, sink)
    });
    running.filter_map(|lane| time(&lane)).min()
}

/// Compares the scope of the token's user with that of the `first` token. Without ids in the file, the token of another
/// customer of the console would be no less good.
async fn compare_with_former(client: &Client, first: &mut Option<String>) -> Result<Compared, NotKnown> {
    let scope = match scope_of_user(client).await {
        Err(ConsoleError::Transient { .. }) => return Err(NotKnown),
        answer => answer.ok().flatten(),
    };
    let Some(scope) = scope else { return Ok(Compared::Nothing) };
    let former = first.get_or_insert_with(|| scope.clone());
    if *former == scope {
        return Ok(Compared::Nothing);
    }
    let text = format!(
        "the scope of the new token's user is {scope}, that of the former one was {former}: put the former one back, or, \
         if this is meant, name the ids in the file, or restart the worker"
    );
    Ok(Compared::Unseen(text.into()))
}

/// The console did not answer.
struct NotKnown;

async fn compare(client: &Client, lane: &LaneSpec) -> Result<Compared, NotKnown> {
    let pipeline = &lane.id.pipeline;
    let mut texts = Vec::new();
    for (name, level, ids) in named_scopes(&lane.console) {
        match SeenScope::of(client, name, level, ids).await {
            SeenScope::All(_) => {}
            SeenScope::Lacks(text) => texts.push(text),
            SeenScope::Unknown { reason, may_pass } => {
                debug!(%pipeline, name, reason, "it is not known whether the token sees the scope");
                if may_pass {
                    return Err(NotKnown);
                }
            }
        }
    }
    Ok(match texts.is_empty() {
        true => Compared::Nothing,
        false => Compared::Unseen(texts.join("; ").into()),
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::super::new_token::tests::Rotation;
    use super::*;
    use s1_forwarder_telemetry::LaneWarnings;

    #[tokio::test(start_paused = true)]
    async fn a_scope_is_compared_again_with_another_token_and_every_hour() {
        let mut rotation = Rotation::new();
        rotation.list().await.unwrap();
        let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
        let metrics = shared.telemetry.running_lanes().remove(0);
        let unseen = || {
            shared.warnings.show(&shared.telemetry);
            let LaneWarnings { unseen, .. } = metrics.warnings();
            unseen.is_some()
        };
        let (known, pause) = check(shared.clone(), lanes.clone(), KnownScope::default()).await;
        assert_eq!((unseen(), pause), (false, CHECK_INTERVAL));

        // The console takes the site away from the same token.
        rotation.sites.lock().push(("former", "2"));
        sleep(pause).await;
        let (known, pause) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((unseen(), pause), (true, UNSEEN_INTERVAL));
        rotation.sites.lock().clear();
        sleep(pause).await;
        let (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert!(!unseen());

        // A new token is that of another site.
        rotation.sites.lock().push(("next", "2"));
        rotation.good.lock().push("next");
        rotation.write("next");
        rotation.check_for(120).await;
        assert!(known.token.is_replaced());
        rotation.asked();
        let (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((unseen(), known.token.is_replaced()), (true, false));
        // Another pipeline, or lane, that asks within the hour.
        check(shared.clone(), lanes.clone(), known).await;
        assert_eq!(rotation.asked(), ["sites next"]);
    }

    /// A token of another customer, whose file names nothing.
    #[tokio::test(start_paused = true)]
    async fn a_new_token_of_another_scope_is_warned_of_until_the_former_one_is_back() {
        let mut rotation = Rotation::without_ids();
        rotation.list().await.unwrap();
        let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
        let metrics = shared.telemetry.running_lanes().remove(0);
        let warning = || {
            shared.warnings.show(&shared.telemetry);
            metrics.warnings().unseen.map(|text| text.to_string())
        };
        rotation.good.lock().push("next");
        rotation.sites.lock().push(("next", "2"));
        let (mut known, pause) = check(shared.clone(), lanes.clone(), KnownScope::default()).await;
        assert_eq!((warning(), pause), (None, NEVER));
        for (token, expected) in [("next", true), ("former", false)] {
            rotation.write(token);
            rotation.check_for(120).await;
            assert!(known.token.is_replaced());
            (known, _) = check(shared.clone(), lanes.clone(), known).await;
            let text = warning();
            assert_eq!(text.is_some(), expected, "{text:?}");
            assert!(text.is_none_or(|text| text.contains("is site 2, that of the former one was site 1000")));
        }
        // A console that does not say changes nothing.
        rotation.good.lock().clear();
        (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((warning(), known.of_user.is_some()), (None, true));
    }
}
