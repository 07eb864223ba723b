//! What happens when the file or the Secret of a token changes: the console is asked about the new token once, and
//! requests use it if the console accepts it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::{info, warn};

use super::context::WorkerContext;
use super::spec::LaneSpec;
use crate::console::TokenVerdict;
use crate::telemetry::TokenStatus;

/// How often the sources of tokens are read.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// The same while a new token has not stood for [`SETTLES_AFTER`].
const UNSETTLED_INTERVAL: Duration = Duration::from_secs(15);
/// A token that is still being written is not tried.
const SETTLES_AFTER: Duration = Duration::from_secs(60);
/// Wait after the console gave no answer that says whether it accepts the token.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// A token that its source has, and that requests do not use.
#[derive(Debug, Default)]
pub struct NewToken {
    seen: Option<(SecretString, Instant)>,
    /// The log says so.
    is_refused: bool,
}

impl NewToken {
    /// Since when the source has this token.
    fn since(&mut self, token: &SecretString) -> Instant {
        match &self.seen {
            Some((seen, since)) if seen.expose_secret() == token.expose_secret() => *since,
            _ => {
                let now = Instant::now();
                *self = Self { seen: Some((token.clone(), now)), is_refused: false };
                now
            }
        }
    }
}

/// Looks for a new token of the lanes' pipeline. Returns the wait before the next time too.
pub async fn check(
    context: Arc<WorkerContext>,
    lanes: Vec<Arc<LaneSpec>>,
    mut known: NewToken,
) -> (NewToken, Duration) {
    let lane = lanes.first().map(|lane| (&*lane.id.pipeline, &lane.console));
    let Some((pipeline, client)) = lane.and_then(|(name, console)| Some((name, context.client(name, console).ok()?)))
    else {
        return (known, CHECK_INTERVAL);
    };
    let telemetry = &context.telemetry;
    let token = match client.changed_token() {
        Ok(Some(token)) => token,
        Ok(None) => {
            telemetry.set_new_token_refused(pipeline, false);
            return (NewToken::default(), CHECK_INTERVAL);
        }
        // It may be half written, or missing for a moment.
        Err(_) => return (known, UNSETTLED_INTERVAL),
    };
    if known.since(&token).elapsed() < SETTLES_AFTER {
        return (known, UNSETTLED_INTERVAL);
    }
    match client.try_token(&token).await {
        TokenVerdict::Accepted => {
            info!(pipeline, "the new token is accepted, and in use");
            telemetry.set_new_token_refused(pipeline, false);
            (NewToken::default(), CHECK_INTERVAL)
        }
        TokenVerdict::Refused => {
            if !known.is_refused {
                warn!(pipeline, "{}", TokenStatus::NEW_IS_REFUSED);
            }
            known.is_refused = true;
            telemetry.set_new_token_refused(pipeline, true);
            (known, CHECK_INTERVAL)
        }
        TokenVerdict::Unknown => (known, RETRY_INTERVAL),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;
    use crate::console::scripted::{ScriptedTransport, dated};
    use crate::console::{Client, ConsoleError, Response, ScopeFilter};
    use crate::pipeline::{self, FileOptions};
    use crate::record::{Clock, Timestamp};
    use crate::state::MemoryStore;
    use crate::telemetry::Telemetry;
    use crate::worker::Options;

    /// A pipeline whose token is in a file, and a console that takes some tokens.
    struct Rotation {
        directory: tempfile::TempDir,
        context: Arc<WorkerContext>,
        lanes: Vec<Arc<LaneSpec>>,
        /// That of the lanes.
        client: Arc<Client>,
        good: Arc<Mutex<Vec<&'static str>>>,
        /// The token of each request, after `list` or `details`.
        asked: Arc<Mutex<Vec<String>>>,
        known: NewToken,
    }

    impl Rotation {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("acme.yaml");
            let text = "console: { url: 'https://acme.example', token: { file: token } }\n\
                        streams: { activities: {} }\nsinks: [{ type: stdout }]\n";
            std::fs::write(&file, text).unwrap();
            std::fs::write(directory.path().join("token"), "former\n").unwrap();
            let loaded = pipeline::load(&[file], &FileOptions::default());
            let [pipeline] = &loaded.pipelines[..] else { panic!("{:?}", loaded.problems) };
            let good = Arc::new(Mutex::new(vec!["former"]));
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let (takes, log) = (good.clone(), asked.clone());
            let transport = ScriptedTransport::new(move |request| {
                let token = request.token.expose_secret().to_owned();
                let what = if request.url.path().ends_with("api-token-details") { "details" } else { "list" };
                log.lock().push(format!("{what} {token}"));
                let is_good = takes.lock().contains(&&*token);
                let status = if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                let body =
                    if is_good { r#"{"data":{}}"# } else { r#"{"errors":[{"code":4010010,"title":"Unauthorized"}]}"# };
                let headers = dated(Timestamp::default());
                async move { Ok(Response { status, headers, body: Bytes::from_static(body.as_bytes()) }) }
            });
            let clock = Clock::simulated(Timestamp::from_micros(1_790_000_000_000_000));
            let options = Options { clock, transport: Some(Arc::new(transport)), ..Options::default() };
            let telemetry = Arc::new(Telemetry::new());
            let context = WorkerContext::with_store(Arc::<MemoryStore>::default(), options, telemetry);
            let lanes = LaneSpec::of(pipeline);
            // A pipeline without lanes has no status.
            context.meter(&lanes[0]);
            let client = context.client("acme", &lanes[0].console).unwrap();
            Self { directory, context, lanes, client, good, asked, known: NewToken::default() }
        }

        fn write(&self, token: &str) {
            std::fs::write(self.directory.path().join("token"), token).unwrap();
        }

        /// Checks for this many seconds.
        async fn check_for(&mut self, seconds: u64) {
            let end = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < end {
                let known = std::mem::take(&mut self.known);
                let (known, wait) = check(self.context.clone(), self.lanes.clone(), known).await;
                self.known = known;
                sleep(wait.min(end - Instant::now())).await;
            }
        }

        async fn list(&self) -> Result<Bytes, ConsoleError> {
            self.client.list(self.client.permit().await, "activities", &[], ScopeFilter::None, 1_000, None).await
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock())
        }

        fn shows_refused(&self) -> bool {
            self.context.telemetry.token("acme").new_is_refused
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_tried_once_when_it_has_stood_and_is_used_if_the_console_accepts_it() {
        let mut rotation = Rotation::new();
        rotation.list().await.unwrap();
        rotation.check_for(300).await;
        assert_eq!(rotation.asked(), ["list former"], "it has not changed");

        rotation.write("wro");
        rotation.check_for(45).await;
        rotation.write("wrong");
        rotation.check_for(45).await;
        assert_eq!((rotation.asked(), rotation.shows_refused()), (Vec::new(), false), "it is being written");
        rotation.check_for(1_800).await;
        assert_eq!((rotation.asked(), rotation.shows_refused()), (vec!["details wrong".to_owned()], true));
        rotation.list().await.unwrap();
        rotation.check_for(3_600).await;
        assert_eq!(rotation.asked(), ["list former", "details wrong"], "again after an hour");

        rotation.write("next");
        rotation.good.lock().push("next");
        rotation.check_for(120).await;
        rotation.list().await.unwrap();
        assert_eq!(
            (rotation.asked(), rotation.shows_refused()),
            (vec!["details next".into(), "list next".into()], false)
        );
        assert_eq!(rotation.client.token_changes(), 1);

        // What was refused is gone.
        rotation.write("wrong");
        rotation.check_for(3_700).await;
        assert!(rotation.shows_refused());
        rotation.write("next");
        rotation.check_for(60).await;
        assert!(!rotation.shows_refused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_whose_token_is_refused_asks_about_a_new_one_before_its_list_uses_it() {
        let rotation = Rotation::new();
        rotation.list().await.unwrap();
        rotation.good.lock().clear();
        rotation.write("wrong");
        rotation.asked();
        assert!(matches!(rotation.list().await, Err(ConsoleError::Unauthorized(_))));
        assert!(matches!(rotation.list().await, Err(ConsoleError::Unauthorized(_))));
        assert_eq!(rotation.asked(), ["list former", "details wrong", "list former"]);
        // The console takes it a little later.
        rotation.good.lock().push("wrong");
        sleep(Duration::from_secs(30)).await;
        rotation.list().await.unwrap();
        assert_eq!(rotation.asked(), ["list former", "details wrong", "list wrong"]);
    }
}
