//! Probes URL, token, acknowledgement and health. A collector does not report which indexes a token may write to.

use bytes::Bytes;
use http::{HeaderMap, Method};
use s1_forwarder_engine::sink::ProbeResult;

use super::acks::Acks;
use super::judge::{HEC, ResponseBody, advised};
use crate::http::transport::exchange::RequestError;
use crate::http::transport::response::not_from;
use crate::http::{Endpoint, SinkClient};

pub(super) async fn probe(
    collector: &Endpoint,
    endpoint: &Endpoint,
    acks: Option<&Acks>,
    blank: Option<&str>,
    client: &SinkClient,
) -> ProbeResult {
    // An empty request is refused as such (code 5) only if the token is valid.
    let found = match ask(client, Method::POST, endpoint, Bytes::new()).await {
        Ok((Some(5), _)) => None,
        Ok((code, reason)) => Some(format!("{endpoint}: {}", explained(code, reason))),
        Err(probe) => return probe,
    };
    if let Some(reason) = found {
        return ProbeResult::Failed(reason);
    }
    if let Some(acks) = acks {
        match ask(client, Method::POST, acks.endpoint(), Bytes::from_static(br#"{"acks":[0]}"#)).await {
            Ok((Some(code), reason)) => return ProbeResult::Failed(format!("{endpoint}: {}", advised(code, reason))),
            Ok((None, _)) => {}
            Err(probe) => return probe,
        }
    }
    if let Some(blank) = blank {
        match ask(client, Method::POST, endpoint, Bytes::from(blank.to_owned())).await {
            Ok((code @ Some(6 | 7), reason)) => {
                return ProbeResult::Failed(format!("{endpoint}: {}", explained(code, reason)));
            }
            // A collector that refuses the blank event (codes 12 and 13) may not have looked at its index.
            Ok(_) => {}
            Err(probe) => return probe,
        }
    }
    // Other implementations of HEC have no health endpoint: only an unhealthy response counts.
    match ask(client, Method::GET, &collector.join("health"), Bytes::new()).await {
        Ok((Some(18..=20 | 23), reason)) => {
            ProbeResult::Failed(format!("{endpoint} accepts the token but is unavailable: {reason}"))
        }
        _ => ProbeResult::Verified(format!(
            "{endpoint} accepts the token; only an event can show whether it may write to the index"
        )),
    }
}

fn explained(code: Option<u16>, reason: String) -> String {
    match code {
        Some(code) => advised(code, reason),
        None => not_from(HEC, &reason),
    }
}

/// Sends a request. Returns the code of the response, and its reason.
async fn ask(
    client: &SinkClient,
    method: Method,
    endpoint: &Endpoint,
    body: Bytes,
) -> Result<(Option<u16>, String), ProbeResult> {
    let response = client.send(method, endpoint.url(), HeaderMap::new(), body).await;
    let response = response.map_err(RequestError::into_probe)?;
    let view = response.view(0);
    Ok((ResponseBody::of(&view).map(|body| body.code), view.reason()))
}
