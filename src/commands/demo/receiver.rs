//! The SIEM of the demo: receives NDJSON over HTTP, counts events, and keeps the first one of each stream.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Far larger than a batch.
const MAX_BYTES: usize = 64 << 20;

/// A local HTTP endpoint at `http://ADDRESS/PIPELINE`.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Received {
    events: u64,
    /// Hashes of events. Versions of one record differ in their bytes; an event that is sent twice does not.
    distinct: HashSet<u64>,
    /// Pipelines and streams that sent an event.
    kinds: BTreeSet<(String, String)>,
    /// The first events of these pipelines and streams, until they are printed.
    first: Vec<FirstEvent>,
}

/// The first event of a pipeline's stream.
#[derive(Debug)]
pub(super) struct FirstEvent {
    pub(super) pipeline: String,
    pub(super) stream: String,
    pub(super) event: String,
}

impl Received {
    fn add(&mut self, pipeline: &str, stream: &str, event: &str) {
        let mut hash = DefaultHasher::new();
        (pipeline, stream, event).hash(&mut hash);
        self.events += 1;
        self.distinct.insert(hash.finish());
        if self.kinds.insert((pipeline.to_owned(), stream.to_owned())) {
            let pipeline = pipeline.to_owned();
            let stream = stream.to_owned();
            let event = event.to_owned();
            self.first.push(FirstEvent { pipeline, stream, event });
        }
    }
}

impl Receiver {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Mutex::new(Received::default()));
        let router = Router::new()
            .route("/{pipeline}", post(receive))
            .layer(DefaultBodyLimit::max(MAX_BYTES))
            .with_state(received.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's HTTP sink ended");
            }
        });
        Ok(Self { address, received, serving })
    }

    /// Returns the first events that were not returned before, sorted by pipeline and stream.
    pub(super) fn first_events(&self) -> Vec<FirstEvent> {
        let mut first = std::mem::take(&mut self.received.lock().first);
        first.sort_by(|one, other| (&one.pipeline, &one.stream).cmp(&(&other.pipeline, &other.stream)));
        first
    }

    /// Returns the number of received events, and of distinct events.
    pub(super) fn counts(&self) -> (u64, u64) {
        let received = self.received.lock();
        (received.events, received.distinct.len() as u64)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State(received): State<Arc<Mutex<Received>>>,
    Path(pipeline): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, &'static str)> {
    let text = decompress(&headers, &body).map_err(|_| (StatusCode::BAD_REQUEST, "the body cannot be read"))?;
    let stream = headers.get("x-s1-forwarder-stream").and_then(|stream| stream.to_str().ok()).unwrap_or_default();
    let mut received = received.lock();
    text.lines().filter(|line| !line.is_empty()).for_each(|line| received.add(&pipeline, stream, line));
    Ok(StatusCode::NO_CONTENT)
}

fn decompress(headers: &HeaderMap, body: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") {
        GzDecoder::new(body).take(MAX_BYTES as u64).read_to_string(&mut text)?;
    } else {
        (&mut &*body).read_to_string(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[tokio::test]
    async fn events_are_counted_with_and_without_repetitions() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = Receiver::start().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let post = async |pipeline: &str, body: Vec<u8>, encoding: &str| {
            let url = format!("http://{}/{pipeline}", receiver.address);
            let request =
                client.post(url).header("content-encoding", encoding).header("x-s1-forwarder-stream", "threats");
            request.body(body).send().await.unwrap().status().as_u16()
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"{\"a\":1}\n{\"a\":2}\n").unwrap();
        assert_eq!(post("acme", packed.finish().unwrap(), "gzip").await, 204);
        assert_eq!(post("acme", b"{\"a\":2}\n{\"a\":3}".to_vec(), "identity").await, 204);
        assert_eq!(post("other", b"{\"a\":3}\n".to_vec(), "identity").await, 204);
        assert_eq!(post("other", b"no gzip".to_vec(), "gzip").await, 400);
        assert_eq!(receiver.counts(), (5, 4));
        let first = receiver.first_events();
        let first: Vec<_> = first.iter().map(|first| (first.pipeline.as_str(), first.event.as_str())).collect();
        assert_eq!(first, [("acme", "{\"a\":1}"), ("other", "{\"a\":3}")]);
        assert!(receiver.first_events().is_empty());
    }
}
