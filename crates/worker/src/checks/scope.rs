//! Compares the scope that the token of a pipeline can see with the scope that its file names, and warns.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::console::Client;
use s1_forwarder_engine::source::{SeenScope, VisibleScopes, named_scopes};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::LaneMetrics;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::expiry::KnownToken;
use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;

/// Wait before the comparison: the first requests of the lanes go first.
pub const FIRST_CHECK: Duration = Duration::from_secs(1);
/// Wait before the next attempt while the console does not answer.
const RETRY_INTERVAL: Duration = Duration::from_mins(10);
/// The console may show another scope than before to the same token.
const CHECK_INTERVAL: Duration = Duration::from_hours(1);
/// The interval while part of the scope is not seen, since an operator may be correcting this, or records have
/// vanished.
const DOUBT_INTERVAL: Duration = Duration::from_secs(30);
/// Wait if there is nothing to compare: longer than a process runs.
const NEVER: Duration = Duration::from_hours(87_600);

/// The result of the last check of a pipeline.
#[derive(Debug)]
pub struct KnownScope {
    pub token: KnownToken,
    /// Time of the last check that found nothing wrong, or at which the first check was planned.
    well_at: Instant,
    /// Time up to which the lanes had read everything then. `None` before the first comparison.
    read_until: Option<Timestamp>,
    /// See [`PullCounts::vanished`](s1_forwarder_telemetry::PullCounts), of all lanes.
    vanished: u64,
    /// Whether part of the scope was not seen, or records have vanished. The console may then show another scope than
    /// it said before.
    in_doubt: bool,
}

impl KnownScope {
    /// Returns whether requests use another token than at the last check, or records have vanished since, as where
    /// access is taken away from the token.
    pub fn is_outdated(&self, shared: &Shared, lanes: &[Arc<LaneSpec>]) -> bool {
        self.token.is_replaced() || self.vanished != vanished(shared, lanes)
    }
}

impl Default for KnownScope {
    fn default() -> Self {
        Self { token: KnownToken::default(), well_at: Instant::now(), read_until: None, vanished: 0, in_doubt: false }
    }
}

/// Compares the scope of the lanes' pipeline with what its token sees. It does so once an hour, when requests use
/// another token than `known`, and when records have vanished. Returns the wait before the next comparison too.
pub async fn check(shared: Arc<Shared>, lanes: Vec<Arc<LaneSpec>>, mut known: KnownScope) -> (KnownScope, Duration) {
    let Some(lane) = lanes.first() else { return (known, NEVER) };
    let pipeline = &lane.id.pipeline;
    let Ok(client) = shared.lane_builder.client(pipeline, &lane.console) else { return (known, RETRY_INTERVAL) };
    // An answer of the console from just before records vanished proves nothing: the console is asked once more after a
    // while.
    let vanished = vanished(&shared, &lanes);
    let has_vanished = known.vanished != vanished;
    known.vanished = vanished;
    let max_age = if known.token.is_replaced() {
        Duration::ZERO
    } else if has_vanished || known.in_doubt {
        DOUBT_INTERVAL
    } else {
        CHECK_INTERVAL
    };
    known.token.follow(&client);
    let is_named = named_scopes(&lane.console).next().is_some();
    let compared = if is_named {
        compare(&shared, &client, lane, max_age).await
    } else {
        compare_with_former(pipeline, &client, max_age).await
    };
    let now = shared.options.clock.now();
    let is_unseen = matches!(compared, Ok(Compared::Unseen(_) | Compared::Wider(_)));
    known.in_doubt = has_vanished || is_unseen;
    let pause = match compared {
        Ok(Compared::Unseen(text)) => {
            let well_at = now.minus(known.well_at.elapsed());
            let read_until = known.read_until.or_else(|| earliest(&shared, &lanes, LaneMetrics::opened_from));
            let since = read_until.map_or(well_at, |until| until.min(well_at));
            shared.warnings.set_unseen(pipeline, &lane.console, text, Some(since));
            DOUBT_INTERVAL
        }
        Ok(Compared::Wider(text)) => {
            shared.warnings.set_unseen(pipeline, &lane.console, text, None);
            CHECK_INTERVAL
        }
        Ok(Compared::Nothing) => {
            let state_flags = shared.lane_builder.state_flags(lane);
            for (stream, repair) in shared.warnings.clear_unseen(pipeline, &lane.console, &lanes, &state_flags, now) {
                // `verify` compares all streams. The new scope's ledger does not have what was there before.
                let compared_until = stream.is_none().then_some(now);
                let is_of = |lane: &Arc<LaneMetrics>| stream.is_none_or(|stream| lane.id.stream == stream);
                shared.running(&lanes).filter(is_of).for_each(|lane| lane.add_repair(repair.clone(), compared_until));
            }
            known.well_at = Instant::now();
            known.read_until = earliest(&shared, &lanes, LaneMetrics::complete_until);
            if known.in_doubt { DOUBT_INTERVAL } else { CHECK_INTERVAL }
        }
        Err(NotKnown) => RETRY_INTERVAL,
    };
    (known, pause)
}

/// Returns how often records of these lanes have vanished.
fn vanished(shared: &Shared, lanes: &[Arc<LaneSpec>]) -> u64 {
    shared.running(lanes).map(|lane| lane.pull.vanished.get()).sum()
}

/// Returns the earliest such time of these lanes: records that one of them has not read are not settled.
fn earliest(
    shared: &Shared,
    lanes: &[Arc<LaneSpec>],
    time: impl Fn(&LaneMetrics) -> Option<Timestamp>,
) -> Option<Timestamp> {
    shared.running(lanes).filter_map(|lane| time(&lane)).min()
}

/// Compares the scope of the token's user with the scope of the first token, or with the one that lanes have read.
/// Without ids in the file, the token of another customer of the console would be no less good.
async fn compare_with_former(pipeline: &str, client: &Client, max_age: Duration) -> Result<Compared, NotKnown> {
    let Some(scope) = client.user_scope(max_age).await.map_err(|_| NotKnown)? else {
        if client.kept_scope().is_none() {
            warn!(
                pipeline,
                "the console does not say whose records the token reads, so another customer's token would not be \
                 noticed: name ids in the file, or let the token's role view its own user"
            );
        }
        return Ok(Compared::Nothing);
    };
    let Some(former) = client.kept_scope() else {
        client.keep_scope(scope);
        return Ok(Compared::Nothing);
    };
    if scope.ids == former.ids {
        return Ok(Compared::Nothing);
    }
    if scope.shares(&former.ids) {
        let text = format!(
            "the scope of the token's user is {}, and was {} before: all that it sees is delivered; name the ids that are \
             meant in the file",
            scope.text, former.text
        );
        let is_wider = scope.has_all(&former.ids);
        return Ok(if is_wider { Compared::Wider(text.into()) } else { Compared::Unseen(text.into()) });
    }
    let text = format!(
        "the scope of the token's user is {}, and was {} before: put the former token back, or, if this is meant, name the \
         ids in the file",
        scope.text, former.text
    );
    Ok(Compared::Unseen(text.into()))
}

/// The result of a comparison of a scope with what the token sees.
#[derive(Debug)]
enum Compared {
    /// Nothing is wrong: the token sees all of the scope, or its role may not ask.
    Nothing,
    Unseen(Arc<str>),
    /// The token's user sees more than before.
    Wider(Arc<str>),
}

/// The console did not answer.
struct NotKnown;

async fn compare(shared: &Shared, client: &Client, lane: &LaneSpec, max_age: Duration) -> Result<Compared, NotKnown> {
    let pipeline = &lane.id.pipeline;
    let mut texts = Vec::new();
    for (name, level, ids) in named_scopes(&lane.console) {
        let ask = async || match VisibleScopes::of(client, name, level).await {
            VisibleScopes::Unknown { reason, may_pass: true } => {
                debug!(%pipeline, name, reason, "it is not known whether the token sees the scope");
                Err(NotKnown)
            }
            visible => Ok(visible),
        };
        let listing = shared.warnings.listing(&lane.console, name, max_age);
        if let SeenScope::Lacks(text) = SeenScope::of(name, ids, listing.get_or_try_init(ask).await?) {
            texts.push(text);
        }
    }
    Ok(if texts.is_empty() { Compared::Nothing } else { Compared::Unseen(texts.join("; ").into()) })
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::super::new_token::tests::Rotation;
    use super::*;
    use s1_forwarder_engine::console::ConsoleError;
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
        assert_eq!((unseen(), pause), (true, DOUBT_INTERVAL));
        rotation.sites.lock().clear();
        sleep(pause).await;
        let (known, _) = check(shared.clone(), lanes.clone(), known).await;
        assert!(!unseen());

        // A new token has the scope of another site.
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

    /// As where the console takes a site away from the token's user.
    #[tokio::test(start_paused = true)]
    async fn a_scope_is_compared_when_records_vanish() {
        let rotation = Rotation::new();
        rotation.list().await.unwrap();
        let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
        let metrics = shared.telemetry.running_lanes().remove(0);
        let unseen = || {
            shared.warnings.show(&shared.telemetry);
            metrics.warnings().unseen.is_some()
        };
        let vanish = || metrics.pull.vanished.add(1);
        let (known, pause) = check(shared.clone(), lanes.clone(), KnownScope::default()).await;
        assert!(!known.is_outdated(&shared, &lanes));
        sleep(pause / 2).await;
        rotation.sites.lock().push(("former", "2"));
        vanish();
        assert!(known.is_outdated(&shared, &lanes));
        let (known, pause) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((unseen(), pause, known.is_outdated(&shared, &lanes)), (true, DOUBT_INTERVAL, false));
        rotation.sites.lock().clear();
        sleep(pause).await;
        let (known, pause) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((unseen(), pause), (false, CHECK_INTERVAL));

        // The console was asked a moment before.
        rotation.sites.lock().push(("former", "2"));
        vanish();
        let (known, pause) = check(shared.clone(), lanes.clone(), known).await;
        assert_eq!((unseen(), pause), (false, DOUBT_INTERVAL));
        sleep(pause).await;
        check(shared.clone(), lanes.clone(), known).await;
        assert!(unseen());
    }

    /// A token of another customer, whose file names nothing.
    #[tokio::test(start_paused = true)]
    async fn a_new_token_of_another_scope_is_not_used() {
        let sees_2 =
            "is site 2 (Site 2); the former token's user had site 100000000000000001 (Site 100000000000000001)";
        let refused = "is not known (the console answered 403";
        for (former_works, site, scopes) in
            [(true, "2", sees_2), (false, "2", sees_2), (true, "", refused), (false, "", refused)]
        {
            let mut rotation = Rotation::without_ids();
            rotation.list().await.unwrap();
            let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
            let (known, pause) = check(shared.clone(), lanes, KnownScope::default()).await;
            assert_eq!(pause, CHECK_INTERVAL);
            rotation.good.lock().push("next");
            rotation.sites.lock().push(("next", site));
            if !former_works {
                rotation.good.lock().retain(|token| *token != "former");
            }
            rotation.write("next");
            for _ in 0..2 {
                assert_eq!(rotation.list().await.is_ok(), former_works);
                rotation.check_for(120).await;
            }
            assert!(!known.token.is_replaced());
            assert!(!rotation.asked().contains(&"list next".to_owned()), "another customer's records");
            let problem = || shared.telemetry.token("acme").new_token.map(|problem| problem.to_string());
            let text = problem().unwrap_or_default();
            assert!(text.contains(scopes) && text.contains("the new token is not used"), "{text}");

            rotation.good.lock().push("former");
            rotation.write("former");
            rotation.check_for(60).await;
            assert_eq!(problem(), None);
        }
    }

    /// The console refuses the first of two tokens in the middle of a poll.
    #[tokio::test(start_paused = true)]
    async fn a_second_token_of_another_scope_is_not_used() {
        let rotation = Rotation::with_second("second");
        rotation.good.lock().push("second");
        rotation.list().await.unwrap();
        check(rotation.shared.clone(), rotation.lanes.clone(), KnownScope::default()).await;
        rotation.good.lock().retain(|token| *token != "former");
        for (site, text) in [
            ("2", "is site 2 (Site 2); the former token's user had site 1000"),
            ("", "is not known (the console answered 403"),
        ] {
            *rotation.sites.lock() = vec![("second", site)];
            let error = rotation.list().await.unwrap_err().to_string();
            assert!(error.contains("the other token is not used") && error.contains(text), "{error}");
            rotation.asked();
        }
        *rotation.sites.lock() = vec![("second", "502")];
        assert!(matches!(rotation.list().await, Err(ConsoleError::Transient { .. })), "this says nothing of the token");
        rotation.asked();
        rotation.sites.lock().clear();
        rotation.list().await.unwrap();
        assert_eq!(rotation.asked(), ["list former", "list second", "user second"]);
    }

    /// The console sends nothing of what a user does not see any more.
    #[tokio::test(start_paused = true)]
    async fn a_user_who_sees_less_is_warned_of_and_what_was_not_seen_is_named() {
        let rotation = Rotation::without_ids();
        let both = vec![("former", "100000000000000001, 2")];
        *rotation.sites.lock() = both.clone();
        rotation.list().await.unwrap();
        let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
        let metrics = shared.telemetry.running_lanes().remove(0);
        let (mut known, _) = check(shared.clone(), lanes.clone(), KnownScope::default()).await;
        for (sites, is_unseen, repairs) in [(Vec::new(), true, 0), (both, false, 1)] {
            *rotation.sites.lock() = sites;
            sleep(CHECK_INTERVAL).await;
            (known, _) = check(shared.clone(), lanes.clone(), known).await;
            shared.warnings.show(&shared.telemetry);
            assert_eq!((metrics.warnings().unseen.is_some(), metrics.repairs().len()), (is_unseen, repairs));
        }
    }

    /// The user of the token in use after a change at the console.
    #[tokio::test(start_paused = true)]
    async fn a_token_in_use_of_another_scope_is_warned_of_until_the_former_scope_is_back() {
        let rotation = Rotation::without_ids();
        rotation.list().await.unwrap();
        let (shared, lanes) = (rotation.shared.clone(), rotation.lanes.clone());
        let metrics = shared.telemetry.running_lanes().remove(0);
        let (mut known, _) = check(shared.clone(), lanes.clone(), KnownScope::default()).await;
        let mut pause = CHECK_INTERVAL;
        let both = "100000000000000001, 2";
        for (sites, expected, next) in [
            (vec![("former", "2")], Some("is site 2 (Site 2), and was site 1000"), DOUBT_INTERVAL),
            (vec![("former", both)], Some("before: all that it sees is delivered"), CHECK_INTERVAL),
            (vec![("former", "100000000000000001")], None, CHECK_INTERVAL),
        ] {
            *rotation.sites.lock() = sites;
            sleep(pause).await;
            (known, pause) = check(shared.clone(), lanes.clone(), known).await;
            assert_eq!(pause, next);
            shared.warnings.show(&shared.telemetry);
            let text = metrics.warnings().unseen.map(|text| text.to_string());
            assert_eq!(text.is_some(), expected.is_some(), "{text:?}");
            assert!(text.is_none_or(|text| text.contains(expected.unwrap_or_default())), "{expected:?}");
        }
        // A console that does not say changes nothing.
        rotation.good.lock().clear();
        sleep(CHECK_INTERVAL).await;
        check(shared.clone(), lanes.clone(), known).await;
        shared.warnings.show(&shared.telemetry);
        assert_eq!(metrics.warnings().unseen, None);
    }
}
