//! Encodes a batch as the body of a request.

use std::io::{self, Write};
use std::sync::LazyLock;

use flate2::{Compress, FlushCompress, Status};
use hmac::Mac;
use parking_lot::Mutex;
use s1_forwarder_engine::sink::{Batch, Event, Limits};
use s1_forwarder_record::{Identity, Stream, Timestamp};
use tokio::sync::Semaphore;

use crate::compression::Compression;
use crate::http::auth::signature::Signature;
use crate::http::destination::Destination;

/// Events are framed up to this size before they are compressed. Between two chunks the task yields to others.
const CHUNK: usize = 64 * 1024;
/// The maximum of gzip.
const WINDOW_BITS: u8 = 15;
/// Space for the output of one call of the compressor: a chunk becomes a fifth.
const COMPRESSED: usize = 16 * 1024;

/// Batches that are encoded at the same time: one for each core. Encoding needs half a megabyte in addition to the
/// batch, which no lane reserves, and a thousand lanes may send again at the same moment.
static ENCODE_PERMITS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
/// Buffers and compressors to be reused: each batch would allocate and initialise a quarter of a megabyte.
static SCRATCH_POOL: Mutex<Vec<EncoderScratch>> = Mutex::new(Vec::new());

/// The memory that encoding needs in addition to the batch.
struct EncoderScratch {
    chunk: Vec<u8>,
    gzip: Gzip,
}

struct Gzip {
    stream: Compress,
    /// Buffer for the output of one call. Without it, the free space of the body would be filled with zeros first.
    output: Box<[u8]>,
}

impl Gzip {
    fn compress(&mut self, input: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> io::Result<Status> {
        let before = self.stream.total_out();
        let status = self.stream.compress(input, &mut self.output, flush)?;
        out.extend_from_slice(&self.output[..(self.stream.total_out() - before) as usize]);
        Ok(status)
    }
}

impl EncoderScratch {
    fn take() -> Self {
        SCRATCH_POOL.lock().pop().unwrap_or_else(|| Self {
            chunk: Vec::with_capacity(CHUNK * 2),
            gzip: Gzip {
                stream: Compress::new_gzip(flate2::Compression::fast(), WINDOW_BITS),
                output: vec![0; COMPRESSED].into(),
            },
        })
    }

    fn return_to_pool(mut self) {
        // Frees what an unusually large event needed.
        self.chunk.clear();
        self.chunk.shrink_to(CHUNK * 2);
        self.gzip.stream.reset();
        SCRATCH_POOL.lock().push(self);
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// See [`Attempt::event_bytes`](s1_forwarder_engine::sink::Attempt::event_bytes).
    pub(crate) event_bytes: Option<Box<[u32]>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("cannot compress: {0}")]
    Compress(#[from] io::Error),
    #[error("{what} would have {bytes} bytes, the sink accepts at most {limit}")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
}

/// Frames, signs and compresses in one pass, so that the framed batch is never in memory as a whole. `signature` covers
/// the bytes before compression. Encoding stops as soon as the body exceeds a limit of the destination.
pub(crate) async fn encode(
    destination: &impl Destination,
    batch: &Batch,
    compression: Compression,
    limits: &Limits,
    signature: Option<&mut Signature>,
) -> Result<Body, EncodeError> {
    // Never closed, so this always yields a permit.
    let _permit = ENCODE_PERMITS.acquire().await.ok();
    let mut scratch = EncoderScratch::take();
    let body = encode_with(&mut scratch, destination, batch, compression, limits, signature).await;
    // zlib-rs does not reset completely after an unfinished stream: the next body would be corrupt.
    if body.is_ok() {
        scratch.return_to_pool();
    }
    body
}

async fn encode_with(
    EncoderScratch { chunk, gzip }: &mut EncoderScratch,
    destination: &impl Destination,
    batch: &Batch,
    compression: Compression,
    limits: &Limits,
    mut signature: Option<&mut Signature>,
) -> Result<Body, EncodeError> {
    let max_bytes = if batch.len() > 1 { limits.bytes } else { limits.max_bytes };
    let mut encoder = Encoder::new(compression, batch, gzip)?;
    let mut written = 0;
    let mut drain = |chunk: &mut Vec<u8>, encoder: &mut Encoder<'_>| {
        written += chunk.len();
        check("the request before compression", written, max_bytes)?;
        if let Some(signature) = signature.as_mut() {
            signature.update(chunk);
        }
        encoder.write(chunk)?;
        chunk.clear();
        Ok::<_, EncodeError>(())
    };
    let overhead = destination.event_overhead_bytes();
    let mut event_bytes = overhead.map(|_| Vec::with_capacity(batch.len()));
    destination.open(batch, chunk);
    for (index, event) in batch.events().enumerate() {
        let begin = chunk.len();
        write_event(destination, index, event, chunk);
        if let (Some(event_bytes), Some(overhead)) = (&mut event_bytes, overhead) {
            let separator = if index > 0 { destination.framing().separator.len() } else { 0 };
            let bytes = (chunk.len() - begin).saturating_sub(separator + overhead);
            event_bytes.push(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        check("the event", chunk.len() - begin, limits.event_bytes)?;
        if chunk.len() >= CHUNK {
            drain(chunk, &mut encoder)?;
            tokio::task::yield_now().await;
        }
    }
    chunk.extend_from_slice(destination.framing().close);
    drain(chunk, &mut encoder)?;
    let body = encoder.finish()?;
    check("the request", body.len(), limits.wire_bytes)?;
    Ok(Body { bytes: body, event_bytes: event_bytes.map(Vec::into_boxed_slice) })
}

fn check(what: &'static str, bytes: usize, limit: usize) -> Result<(), EncodeError> {
    if bytes <= limit { Ok(()) } else { Err(EncodeError::TooLarge { what, bytes, limit }) }
}

/// Appends one event, with the separator from the event before it.
pub(crate) fn write_event(destination: &impl Destination, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
    if index > 0 {
        out.extend_from_slice(destination.framing().separator);
    }
    destination.event(event, out);
}

/// Returns the body of a request with these events, without compression.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn body_of(destination: &impl Destination, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    destination.open(batch, &mut out);
    for (index, event) in batch.events().enumerate() {
        write_event(destination, index, event, &mut out);
    }
    out.extend_from_slice(destination.framing().close);
    out
}

/// Returns the bytes that framing adds to an event. Escapes may add more.
pub(crate) fn framing_bytes(destination: &impl Destination) -> usize {
    const EMPTY: &[u8] = b"{}";
    let event = Event {
        body: EMPTY,
        record_id: "",
        identity: Identity::of("", Stream::Activities, "", ""),
        time: Some(Timestamp::now()),
        error: None,
        labels: None,
        unsent: None,
        framed_at: Some(Timestamp::now()),
        snapshot: None,
    };
    let mut out = Vec::new();
    write_event(destination, 1, event, &mut out);
    out.len().saturating_sub(EMPTY.len())
}

enum Encoder<'a> {
    Plain(Vec<u8>),
    Gzip(&'a mut Gzip, Vec<u8>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl<'a> Encoder<'a> {
    fn new(compression: Compression, batch: &Batch, gzip: &'a mut Gzip) -> io::Result<Self> {
        // Records compress to a tenth or better at level 1.
        let out = Vec::with_capacity(batch.body_bytes() / 8 + 256);
        Ok(match compression {
            Compression::None => Self::Plain(Vec::with_capacity(batch.body_bytes() + batch.len() * 16)),
            Compression::Gzip => Self::Gzip(gzip, out),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, 1)?),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(gzip, out) => {
                let start = gzip.stream.total_in();
                loop {
                    let done = (gzip.stream.total_in() - start) as usize;
                    if done == bytes.len() {
                        return Ok(());
                    }
                    gzip.compress(&bytes[done..], FlushCompress::None, out)?;
                }
            }
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip, mut out) => loop {
                if gzip.compress(&[], FlushCompress::Finish, &mut out)? == Status::StreamEnd {
                    return Ok(out);
                }
            },
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

pub(crate) fn content_encoding(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::http::{Endpoint, Framing, ResponseView, SinkClient};
    use s1_forwarder_engine::sink::{Outcome, ProbeResult};

    /// Events as JSON strings in an array: brackets, separators and escapes make the body longer than its events.
    #[derive(Debug)]
    struct Texts;

    impl Destination for Texts {
        fn content_type(&self) -> &'static str {
            "application/json"
        }

        fn framing(&self) -> Framing<'_> {
            Framing::JSON_ARRAY
        }

        fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
            let text = serde_json::json!(String::from_utf8_lossy(event.body));
            let _ = write!(out, "{text}");
        }

        fn judge(&self, response: &ResponseView<'_>) -> Outcome {
            response.by_status()
        }

        fn probe<'a>(&'a self, _: &'a Endpoint, _: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
            async { ProbeResult::Verified(String::new()) }.boxed()
        }
    }

    /// Returns a batch. Each event is a quote and 100 random alphanumeric characters.
    fn batch(events: usize) -> Batch {
        let mut batch = Batch::new(Stream::Activities);
        let mut random = fastrand::Rng::with_seed(7);
        for id in 0..events {
            let id = id.to_string();
            batch.push_with(&id, Identity::of("h", Stream::Activities, &id, ""), None, |out| {
                out.push(b'"');
                out.extend((0..100).map(|_| random.alphanumeric() as u8));
                None
            });
        }
        batch
    }

    async fn outcome(events: usize, compression: Compression, limits: Limits) -> String {
        match encode(&Texts, &batch(events), compression, &limits, None).await {
            Ok(body) => format!("{} bytes", body.bytes.len()),
            Err(error) => error.to_string(),
        }
    }

    /// An event of 101 bytes becomes 104 with quotes and its escape, and 105 with a comma or bracket. The closing
    /// bracket adds one more.
    #[tokio::test]
    async fn limits_apply_to_the_encoded_bytes() {
        let none = Compression::None;
        let bytes = |bytes| Limits { bytes, ..Limits::NONE };
        assert_eq!(outcome(1_000, none, bytes(105_001)).await, "105001 bytes");
        let error = outcome(1_000, none, bytes(105_000)).await;
        assert_eq!(error, "the request before compression would have 105001 bytes, the sink accepts at most 105000");
        assert_eq!(outcome(1, none, bytes(10)).await, "106 bytes", "`bytes` does not limit a single event");
        let error = outcome(1, none, Limits { max_bytes: 105, ..Limits::NONE }).await;
        assert_eq!(error, "the request before compression would have 106 bytes, the sink accepts at most 105");
        let event_bytes = |event_bytes| Limits { event_bytes, ..Limits::NONE };
        assert_eq!(outcome(2, none, event_bytes(105)).await, "211 bytes");
        let error = outcome(2, none, event_bytes(104)).await;
        assert_eq!(error, "the event would have 105 bytes, the sink accepts at most 104", "escapes count");
        for compression in [Compression::Gzip, Compression::Zstd] {
            let size: usize = outcome(1_000, compression, Limits::NONE).await.replace(" bytes", "").parse().unwrap();
            assert!((60_000..105_000).contains(&size), "{size}");
            let wire = |wire_bytes| Limits { wire_bytes, ..Limits::NONE };
            assert_eq!(outcome(1_000, compression, wire(size)).await, format!("{size} bytes"));
            let error = outcome(1_000, compression, wire(size - 1)).await;
            assert!(error.starts_with(&format!("the request would have {size} bytes")), "{error}");
        }
        assert_eq!(framing_bytes(&Texts), 3);
    }

    /// A reused compressor must bear no trace of the previous body, nor of an unfinished one.
    #[tokio::test]
    async fn a_reused_compressor_makes_complete_bodies() {
        for events in [2_000, 1, 3_000, 500, 7, 0, 10_000, 40, 2_000] {
            let error = outcome(2_000, Compression::Gzip, Limits { bytes: 150_000, ..Limits::NONE }).await;
            assert!(error.starts_with("the request before compression"), "{error}");
            let plain = encode(&Texts, &batch(events), Compression::None, &Limits::NONE, None).await.unwrap().bytes;
            for _ in 0..3 {
                let body = encode(&Texts, &batch(events), Compression::Gzip, &Limits::NONE, None).await.unwrap().bytes;
                let mut inflated = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut inflated).unwrap();
                assert!(inflated == plain, "{} bytes of {}", inflated.len(), plain.len());
            }
        }
    }
}
