//! Sends the questions of `verify --destination`.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use s1_forwarder_engine::sink::Outcome;
use s1_forwarder_engine::sink::lookup::Inconclusive;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Transient;
use s1_forwarder_record::Identity;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::SinkClient;
use super::transport::endpoint::Endpoint;
use super::transport::exchange::{RequestError, Response};
use super::transport::response::ResponseView;

/// Pause between two requests.
const WAIT_BETWEEN_REQUESTS: Duration = Duration::from_millis(500);

/// Asks one question after the other, at most two a second.
#[derive(Debug)]
pub(crate) struct LookupClient {
    client: SinkClient,
    last: Mutex<Option<Instant>>,
}

impl LookupClient {
    pub(crate) fn new(client: SinkClient) -> Self {
        Self { client, last: Mutex::default() }
    }

    pub(crate) async fn get(&self, url: &Endpoint) -> Result<Response, Inconclusive> {
        self.wait().await;
        self.client.send_empty(Method::GET, url.url()).await.map_err(RequestError::into)
    }

    pub(crate) async fn post(
        &self,
        url: &Endpoint,
        content_type: &'static str,
        question: String,
    ) -> Result<Response, Inconclusive> {
        self.wait().await;
        self.client.post(url.url(), content_type, Bytes::from(question)).await.map_err(RequestError::into)
    }

    async fn wait(&self) {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + WAIT_BETWEEN_REQUESTS).await;
        }
        *last = Some(Instant::now());
    }
}

impl From<RequestError> for Inconclusive {
    fn from(error: RequestError) -> Self {
        of_outcome(error.outcome)
    }
}

/// Returns the spellings of identities, each a list for one question: a transformation may have changed the spelling of
/// an event's identity. The destination does not distinguish case.
pub(crate) fn spellings(identities: &[Identity]) -> [Vec<String>; 2] {
    let hyphenated = |identity: &Identity| {
        let mut text = identity.to_string();
        [20, 16, 12, 8].into_iter().for_each(|place| text.insert(place, '-'));
        text
    };
    [identities.iter().map(Identity::to_string).collect(), identities.iter().map(hyphenated).collect()]
}

/// Matches the texts that [`spellings`] finds, in any case.
pub(crate) const AN_IDENTITY: &str = "(?i)^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$";

/// Fails if events of the lane have no identity that a question finds: each may be any event.
pub(crate) fn refuse_unnamed(number: u64, place: &str, field: &str) -> Result<(), Inconclusive> {
    if number == 0 {
        return Ok(());
    }
    Err(Inconclusive::NoProof(format!(
        "{place}: {number} events of this lane have no identity in `{field}`: each may be an event that is not found"
    )))
}

/// Returns the identity that an answer has in one of its spellings.
pub(crate) fn of_spelling(text: &str) -> Option<Identity> {
    text.replace('-', "").parse().ok()
}

/// Returns the meaning of an unsuccessful response to a question.
pub(crate) fn by_status(response: &ResponseView<'_>) -> Inconclusive {
    of_outcome(response.by_status_anywhere())
}

fn of_outcome(outcome: Outcome) -> Inconclusive {
    match outcome {
        Outcome::Failed(Failure { kind: Transient, reason, retry_after }) => {
            Inconclusive::Later { reason, retry_after }
        }
        Outcome::TooLarge(reason) => Inconclusive::TooLarge(reason),
        other => Inconclusive::NoProof(other.reason().unwrap_or_default().to_owned()),
    }
}
