//! Handles a change of a token's file or Secret. The console is asked about the new token, and requests use the token
//! if the console accepts it. The console is asked about a refused token again after an hour.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::console::{OtherScope, TokenVerdict};
use s1_forwarder_telemetry::NewTokenProblem;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;

/// How often the sources of tokens are read. With the other times here and [`super::INTERVAL`], a new token is
/// tried within two minutes.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// Interval between two reads of the sources of tokens while a new token is younger than [`SETTLES_AFTER`].
const UNSETTLED_INTERVAL: Duration = Duration::from_secs(10);
/// A token that is still being written is not tried.
const SETTLES_AFTER: Duration = Duration::from_mins(1);
/// Wait after the console gave no answer that says whether it accepts the token.
const RETRY_INTERVAL: Duration = Duration::from_mins(1);

/// The token that a file or Secret has now, and requests do not use.
#[derive(Debug, Default)]
pub struct NewToken {
    /// The new token, or why there is none, and since when the source has this.
    seen: Option<(Result<SecretString, Arc<str>>, Instant)>,
    /// The logged verdict on the token. `None` if the log has none.
    logged: Option<TokenVerdict>,
}

impl NewToken {
    /// Returns since when the source has `found`, and remembers a new value.
    fn since(&mut self, found: &Result<SecretString, Arc<str>>) -> Instant {
        let is_same = |seen: &Result<SecretString, Arc<str>>| match (seen, found) {
            (Ok(seen), Ok(found)) => seen.expose_secret() == found.expose_secret(),
            (Err(seen), Err(found)) => seen == found,
            _ => false,
        };
        match &self.seen {
            Some((seen, since)) if is_same(seen) => *since,
            _ => {
                let now = Instant::now();
                *self = Self { seen: Some((found.clone(), now)), logged: None };
                now
            }
        }
    }
}

/// Looks for a new token of the lanes' pipeline. Returns the wait before the next time too.
pub async fn check(shared: Arc<Shared>, lanes: Vec<Arc<LaneSpec>>, mut known: NewToken) -> (NewToken, Duration) {
    let lane = lanes.first().map(|lane| (&*lane.id.pipeline, &lane.console));
    let Some((pipeline, client)) =
        lane.and_then(|(name, console)| Some((name, shared.lane_builder.client(name, console).ok()?)))
    else {
        return (known, CHECK_INTERVAL);
    };
    let telemetry = &shared.telemetry;
    let found = match client.changed_token() {
        Ok(Some(token)) => Ok(token),
        Ok(None) => {
            if known.logged.is_some() {
                info!(pipeline, "the token's file or Secret has the token in use again");
            }
            telemetry.set_new_token_problem(pipeline, None);
            return (NewToken::default(), CHECK_INTERVAL);
        }
        Err(error) => Err(error.to_string().into()),
    };
    // The token may be half written, or missing for a moment.
    if known.since(&found).elapsed() < SETTLES_AFTER {
        return (known, UNSETTLED_INTERVAL);
    }
    let verdict = match &found {
        Ok(token) => client.try_token(token).await,
        Err(_) => TokenVerdict::Refused,
    };
    match verdict {
        TokenVerdict::Accepted => {
            info!(pipeline, "the new token is accepted, and in use");
            telemetry.set_new_token_problem(pipeline, None);
            (NewToken::default(), CHECK_INTERVAL)
        }
        TokenVerdict::Refused => {
            let problem = found.map_or_else(NewTokenProblem::Unusable, |_| NewTokenProblem::Refused);
            // Lanes whose former token does not work either say so themselves.
            let former_works = shared.running(&lanes).all(|lane| lane.token_problem().is_none());
            if former_works && known.logged.as_ref() != Some(&verdict) {
                warn!(pipeline, "{problem}");
                known.logged = Some(verdict);
            }
            telemetry.set_new_token_problem(pipeline, Some(problem));
            (known, CHECK_INTERVAL)
        }
        TokenVerdict::OtherScope(OtherScope { ref new, ref former }) => {
            let problem = NewTokenProblem::OtherScope { new: new.clone(), former: former.clone() };
            if known.logged.as_ref() != Some(&verdict) {
                warn!(pipeline, "{problem}");
                known.logged = Some(verdict);
            }
            telemetry.set_new_token_problem(pipeline, Some(problem));
            (known, RETRY_INTERVAL)
        }
        TokenVerdict::Unknown => {
            if known.logged.as_ref() != Some(&verdict) {
                info!(
                    pipeline,
                    "the console does not say whether it accepts the new token: the former one is in use until the \
                     console refuses it"
                );
                known.logged = Some(verdict);
            }
            (known, RETRY_INTERVAL)
        }
    }
}

#[cfg(test)]
pub mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use parking_lot::Mutex;
    use tokio::time::sleep;

    use super::*;
    use crate::options::Options;
    use crate::pipeline::{self, FileOptions};
    use s1_forwarder_engine::checkpoint::MemoryStore;
    use s1_forwarder_engine::console::scripted::{ScriptedTransport, dated};
    use s1_forwarder_engine::console::{Client, ConsoleError, Response, ScopeFilter};
    use s1_forwarder_record::{Clock, Timestamp};
    use s1_forwarder_telemetry::Telemetry;

    const UNAUTHORIZED: &str = r#"{"errors":[{"code":4010010,"title":"Unauthorized"}]}"#;
    const FORBIDDEN: &str = r#"{"errors":[{"code":4030010,"title":"Forbidden"}]}"#;

    /// A pipeline whose token is in a file, and a console that takes some tokens.
    pub struct Rotation {
        directory: tempfile::TempDir,
        pub shared: Arc<Shared>,
        pub lanes: Vec<Arc<LaneSpec>>,
        /// The client of the lanes.
        client: Arc<Client>,
        pub good: Arc<Mutex<Vec<&'static str>>>,
        /// The console's answer about a token. `None` if the token's role may not ask.
        pub details: Arc<Mutex<Option<&'static str>>>,
        /// Pairs of a token and the site that it sees, which is its user's. Without a site, the console refuses to show
        /// the user, and with `502` it fails.
        pub sites: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
        /// The token of each request, after `list` or `details`.
        asked: Arc<Mutex<Vec<String>>>,
        known: NewToken,
    }

    impl Rotation {
        pub fn new() -> Self {
            Self::with("{ file: token }, sites: ['100000000000000001']")
        }

        /// Creates a pipeline whose file names no scope.
        pub fn without_ids() -> Self {
            Self::with("{ file: token }")
        }

        /// Creates a pipeline whose file names no scope, and a second token.
        pub fn with_second(token: &str) -> Self {
            Self::with(&format!("[{{ file: token }}, '{token}']"))
        }

        fn with(token_and_ids: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("acme.yaml");
            let text = format!(
                "console: {{ url: 'https://acme.example', token: {token_and_ids} }}\n\
                 streams: {{ activities: {{}} }}\nsinks: [{{ type: stdout }}]\n"
            );
            std::fs::write(&file, text).unwrap();
            std::fs::write(directory.path().join("token"), "former\n").unwrap();
            let loaded = pipeline::load(&[file], &FileOptions::default());
            let [pipeline] = &loaded.pipelines[..] else { panic!("{:?}", loaded.problems) };
            let good = Arc::new(Mutex::new(vec!["former"]));
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let details = Arc::new(Mutex::new(Some("{\"data\":{}}")));
            let sites = Arc::<Mutex<Vec<_>>>::default();
            let (takes, log, says, sees) = (good.clone(), asked.clone(), details.clone(), sites.clone());
            let transport = ScriptedTransport::new(move |request| {
                let token = request.token.expose_secret().to_owned();
                let what = match request.url.path().rsplit('/').next() {
                    Some("api-token-details") => "details",
                    Some("sites") => "sites",
                    Some("user") => "user",
                    _ => "list",
                };
                log.lock().push(format!("{what} {token}"));
                let site = sees
                    .lock()
                    .iter()
                    .find(|(owner, _)| *owner == token)
                    .map_or("100000000000000001", |(_, site)| *site);
                let listed = format!(r#"{{"data":{{"sites":[{{"id":"{site}"}}]}},"pagination":{{"totalItems":1}}}}"#);
                let (status, body) = match (takes.lock().contains(&&*token), what, *says.lock()) {
                    (false, ..) => (StatusCode::UNAUTHORIZED, UNAUTHORIZED.to_owned()),
                    (true, "details", None) => (StatusCode::FORBIDDEN, FORBIDDEN.to_owned()),
                    (true, "details", Some(details)) => (StatusCode::OK, details.to_owned()),
                    (true, "sites", _) => (StatusCode::OK, listed),
                    (true, "user", _) if site == "502" => (StatusCode::BAD_GATEWAY, String::new()),
                    (true, "user", _) if site.is_empty() => (StatusCode::FORBIDDEN, FORBIDDEN.to_owned()),
                    (true, "user", _) => {
                        let user = format!(
                            r#"{{"data":{{"scope":"site","scopeRoles":[{{"id":"{site}","name":"Site {site}"}}]}}}}"#
                        );
                        (StatusCode::OK, user)
                    }
                    _ => (StatusCode::OK, r#"{"data":{}}"#.to_owned()),
                };
                let headers = dated(Timestamp::default());
                async move { Ok(Response { status, headers, body: Bytes::from(body) }) }
            });
            let clock = Clock::simulated(Timestamp::from_micros(1_790_000_000_000_000));
            let options = Options { clock, transport: Some(Arc::new(transport)), ..Options::default() };
            let telemetry = Arc::new(Telemetry::new());
            let shared = Shared::with_store(Arc::<MemoryStore>::default(), options, telemetry);
            let lanes = LaneSpec::of(pipeline);
            // A pipeline without lanes has no status.
            shared.lane_builder.meter(&lanes[0]);
            let client = shared.lane_builder.client("acme", &lanes[0].console).unwrap();
            Self { directory, shared, lanes, client, good, details, sites, asked, known: NewToken::default() }
        }

        pub fn write(&self, token: &str) {
            std::fs::write(self.directory.path().join("token"), token).unwrap();
        }

        /// Checks for this many seconds.
        pub async fn check_for(&mut self, seconds: u64) {
            let end = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < end {
                let known = std::mem::take(&mut self.known);
                let (known, wait) = check(self.shared.clone(), self.lanes.clone(), known).await;
                self.known = known;
                sleep(wait.min(end - Instant::now())).await;
            }
        }

        pub async fn list(&self) -> Result<Bytes, ConsoleError> {
            self.client.list(self.client.permit().await, "activities", &[], ScopeFilter::None, 1_000, None).await
        }

        pub fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock())
        }

        fn shows_refused(&self) -> bool {
            self.shared.telemetry.token("acme").new_token == Some(NewTokenProblem::Refused)
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

        // The token in use replaces a refused one.
        rotation.write("wrong");
        rotation.check_for(3_700).await;
        assert!(rotation.shows_refused());
        rotation.write("next");
        rotation.check_for(60).await;
        assert!(!rotation.shows_refused());
    }

    /// The console knows it, and refuses each list.
    #[tokio::test(start_paused = true)]
    async fn a_new_token_that_has_expired_is_refused() {
        let mut rotation = Rotation::new();
        rotation.list().await.unwrap();
        rotation.good.lock().push("expired");
        *rotation.details.lock() = Some(r#"{"data":{"expiresAt":"2026-01-01T00:00:00Z"}}"#);
        rotation.write("expired");
        rotation.check_for(120).await;
        assert!(rotation.shows_refused());
        rotation.list().await.unwrap();
        assert_eq!(rotation.asked(), ["list former", "details expired", "list former"]);
    }

    /// A worker that goes on with what it has read would not start again.
    #[tokio::test(start_paused = true)]
    async fn what_is_no_token_is_shown_when_it_has_stood() {
        let mut rotation = Rotation::new();
        rotation.check_for(120).await;
        std::fs::remove_file(rotation.directory.path().join("token")).unwrap();
        rotation.check_for(120).await;
        assert_eq!(rotation.shared.telemetry.token("acme").new_token, None, "no token is in use");
        rotation.write("former");
        rotation.list().await.unwrap();
        for (contents, reason) in [
            (Some(""), "is empty"),
            (None, "cannot read the secret file"),
            (Some("'former'"), "is in quotes"),
            (Some("ApiToken former"), "begins with"),
            (Some("former\nformer"), "line break"),
        ] {
            match contents {
                Some(contents) => rotation.write(contents),
                None => std::fs::remove_file(rotation.directory.path().join("token")).unwrap(),
            }
            rotation.check_for(45).await;
            rotation.check_for(60).await;
            let text = rotation.shared.telemetry.token("acme").new_token.map(|problem| problem.to_string());
            let text = text.unwrap_or_else(|| panic!("{contents:?}"));
            assert!(text.contains(reason) && text.ends_with("still in use: a restart would fail"), "{text}");
            assert!(!text.contains("former\n") && !text.contains("former'"), "{text}");
            rotation.write("former");
            rotation.check_for(60).await;
            assert_eq!(rotation.shared.telemetry.token("acme").new_token, None);
        }
        assert_eq!(rotation.asked(), ["list former"]);
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
