//! Tells address, token, acknowledgement and health apart. Which indexes a token may write to cannot be asked.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::super::{Answer, Endpoint, Requests};
use super::acks::Acks;
use super::judge::{Said, advised};
use crate::sink::Probe;

pub(super) async fn probe(
    collector: &Endpoint,
    endpoint: &Endpoint,
    acks: Option<&Acks>,
    requests: &Requests,
) -> Probe {
    // A request without events is refused as such (5) only when its token is good.
    let found = match ask(requests, Method::POST, endpoint, Bytes::new()).await {
        Ok((Some(5), _)) => None,
        Ok((code, reason)) => Some(format!("{endpoint}: {}", explained(code, reason))),
        Err(probe) => return probe,
    };
    if let Some(reason) = found {
        return Probe::Failed(reason);
    }
    if let Some(acks) = acks {
        match ask(requests, Method::POST, acks.endpoint(), Bytes::from_static(br#"{"acks":[0]}"#)).await {
            Ok((Some(code), reason)) => return Probe::Failed(format!("{endpoint}: {}", advised(code, reason))),
            Ok((None, _)) => {}
            Err(probe) => return probe,
        }
    }
    // Some that speak the protocol have no such page: only what is said there counts.
    match ask(requests, Method::GET, &collector.join("health"), Bytes::new()).await {
        Ok((Some(18..=20 | 23), reason)) => Probe::Failed(format!("{endpoint} takes the token, but not now: {reason}")),
        _ => Probe::Verified(format!("{endpoint} takes the token; whether it may write to the index shows later")),
    }
}

fn explained(code: Option<u16>, reason: String) -> String {
    match code {
        Some(code) => advised(code, reason),
        None => format!("does not answer as a HEC does ({reason}); check `url`"),
    }
}

/// The code and the words of the answer.
async fn ask(
    requests: &Requests,
    method: Method,
    endpoint: &Endpoint,
    body: Bytes,
) -> Result<(Option<u16>, String), Probe> {
    let reply = requests.ask_with(method, endpoint.url(), HeaderMap::new(), body).await;
    let reply = reply.map_err(super::super::request::Failure::into_probe)?;
    let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
    Ok((Said::of(&answer).map(|said| said.code), answer.reason()))
}
