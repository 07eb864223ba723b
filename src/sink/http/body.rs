//! A batch as the body of a request.

use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use flate2::{Compress, FlushCompress, Status};
use hmac::Mac;
use tokio::sync::Semaphore;

use super::Destination;
use super::signature::Signature;
use crate::record::{Identity, Stream, Timestamp};
use crate::sink::settings::Compression;
use crate::sink::{Batch, Event, Limits};

/// What is framed before it goes through the compressor, and how often others get their turn on the thread.
const CHUNK: usize = 64 * 1024;
/// The most that gzip knows.
const WINDOW_BITS: u8 = 15;
/// Least room for what compressing may put out at once.
const GROWTH: usize = 4 * 1024;

/// Batches that are encoded at a time, one for each core: what encoding needs beside the batch, half a megabyte, is reserved
/// by no lane, and a thousand lanes may try again at once.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
/// What the encodings before have left to be used again. Freed each time, blocks of this size would teach glibc to keep
/// freed memory instead of giving it back.
static DESKS: Mutex<Vec<Desk>> = Mutex::new(Vec::new());

/// What encoding needs beside the batch.
struct Desk {
    chunk: Vec<u8>,
    gzip: Compress,
}

impl Desk {
    fn take() -> Self {
        let used = DESKS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        used.unwrap_or_else(|| Self {
            chunk: Vec::with_capacity(CHUNK * 2),
            gzip: Compress::new_gzip(flate2::Compression::fast(), WINDOW_BITS),
        })
    }

    fn leave(mut self) {
        // An event larger than others must not be kept for ever.
        self.chunk.clear();
        self.chunk.shrink_to(CHUNK * 2);
        self.gzip.reset();
        DESKS.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }
}

/// Why a batch has no body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("cannot compress: {0}")]
    Compress(#[from] io::Error),
    #[error("{what} would have {bytes} bytes, the sink takes {limit} at most")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
}

/// Frames, signs (`signature` sees the bytes before compression) and compresses in one pass, so that a batch is not held
/// once more in its framed form. What would be too large for the destination is given up on the way.
pub(crate) async fn encode(
    destination: &impl Destination,
    batch: &Batch,
    compression: Compression,
    limits: &Limits,
    signature: Option<&mut Signature>,
) -> Result<Vec<u8>, EncodeError> {
    // Never closed, so this always yields a permit.
    let _turn = TURNS.acquire().await.ok();
    let mut desk = Desk::take();
    let body = encode_at(&mut desk, destination, batch, compression, limits, signature).await;
    // zlib-rs does not forget all of a stream that was given up in the middle: what comes after it would be corrupt.
    if body.is_ok() {
        desk.leave();
    }
    body
}

async fn encode_at(
    Desk { chunk, gzip }: &mut Desk,
    destination: &impl Destination,
    batch: &Batch,
    compression: Compression,
    limits: &Limits,
    mut signature: Option<&mut Signature>,
) -> Result<Vec<u8>, EncodeError> {
    let most_bytes = if batch.len() > 1 { limits.bytes } else { limits.most_bytes };
    let mut encoder = Encoder::new(compression, batch, gzip)?;
    let mut written = 0;
    let mut drain = |chunk: &mut Vec<u8>, encoder: &mut Encoder<'_>| {
        written += chunk.len();
        check("the request before compression", written, most_bytes)?;
        if let Some(signature) = signature.as_mut() {
            signature.update(chunk);
        }
        encoder.write(chunk)?;
        chunk.clear();
        Ok::<_, EncodeError>(())
    };
    destination.open(batch, chunk);
    for (index, event) in batch.events().enumerate() {
        let begin = chunk.len();
        destination.event(index, event, chunk);
        check("the event", chunk.len() - begin, limits.event_bytes)?;
        if chunk.len() >= CHUNK {
            drain(chunk, &mut encoder)?;
            tokio::task::yield_now().await;
        }
    }
    destination.close(chunk);
    drain(chunk, &mut encoder)?;
    let body = encoder.finish()?;
    check("the request", body.len(), limits.wire_bytes)?;
    Ok(body)
}

fn check(what: &'static str, bytes: usize, limit: usize) -> Result<(), EncodeError> {
    if bytes <= limit { Ok(()) } else { Err(EncodeError::TooLarge { what, bytes, limit }) }
}

/// What framing adds to an event: its own bytes may grow by escapes besides.
pub(crate) fn framing(destination: &impl Destination) -> usize {
    const EMPTY: &[u8] = b"{}";
    let event = Event {
        body: EMPTY,
        record_id: "",
        identity: Identity::of("", Stream::Activities, "", ""),
        time: Some(Timestamp::now()),
        error: None,
        cut: false,
    };
    let mut out = Vec::new();
    destination.event(1, event, &mut out);
    out.len().saturating_sub(EMPTY.len())
}

enum Encoder<'a> {
    Plain(Vec<u8>),
    Gzip(&'a mut Compress, Vec<u8>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl<'a> Encoder<'a> {
    fn new(compression: Compression, batch: &Batch, gzip: &'a mut Compress) -> io::Result<Self> {
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
                let begun = gzip.total_in();
                loop {
                    let done = (gzip.total_in() - begun) as usize;
                    if done == bytes.len() {
                        return Ok(());
                    }
                    out.reserve(GROWTH);
                    gzip.compress_vec(&bytes[done..], out, FlushCompress::None)?;
                }
            }
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip, mut out) => loop {
                out.reserve(GROWTH);
                if gzip.compress_vec(&[], &mut out, FlushCompress::Finish)? == Status::StreamEnd {
                    return Ok(out);
                }
            },
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// The value of `Content-Encoding`.
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
    use crate::sink::http::{Answer, Requests};
    use crate::sink::{Outcome, Probe};

    /// Events as JSON texts in an array: everything that makes a body longer than its events.
    #[derive(Debug)]
    struct Texts;

    impl Destination for Texts {
        fn content_type(&self) -> &'static str {
            "application/json"
        }

        fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
            out.push(b'[');
        }

        fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
            if index > 0 {
                out.push(b',');
            }
            let text = serde_json::json!(String::from_utf8_lossy(event.body));
            let _ = write!(out, "{text}");
        }

        fn close(&self, out: &mut Vec<u8>) {
            out.push(b']');
        }

        fn judge(&self, answer: &Answer<'_>) -> Outcome {
            answer.by_status()
        }

        fn probe<'a>(&'a self, _: &'a Requests) -> BoxFuture<'a, Probe> {
            async { Probe::Verified(String::new()) }.boxed()
        }
    }

    /// `events` times the text `quote` and 100 random letters.
    fn batch(events: usize) -> Batch {
        let (mut batch, mut random) = (Batch::new(Stream::Activities), fastrand::Rng::with_seed(7));
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
            Ok(body) => format!("{} bytes", body.len()),
            Err(error) => error.to_string(),
        }
    }

    /// An event of 101 bytes makes 104 in quotes and with its escape, and a comma or bracket; another bracket ends them.
    #[tokio::test]
    async fn each_limit_is_held_by_the_encoded_bytes() {
        let none = Compression::None;
        let bytes = |bytes| Limits { bytes, ..Limits::NONE };
        assert_eq!(outcome(1_000, none, bytes(105_001)).await, "105001 bytes");
        let said = outcome(1_000, none, bytes(105_000)).await;
        assert_eq!(said, "the request before compression would have 105001 bytes, the sink takes 105000 at most");
        assert_eq!(outcome(1, none, bytes(10)).await, "106 bytes", "one event alone is the destination's business");
        let said = outcome(1, none, Limits { most_bytes: 105, ..Limits::NONE }).await;
        assert_eq!(said, "the request before compression would have 106 bytes, the sink takes 105 at most");
        let event_bytes = |event_bytes| Limits { event_bytes, ..Limits::NONE };
        assert_eq!(outcome(2, none, event_bytes(105)).await, "211 bytes");
        let said = outcome(2, none, event_bytes(104)).await;
        assert_eq!(said, "the event would have 105 bytes, the sink takes 104 at most", "escapes count");
        for compression in [Compression::Gzip, Compression::Zstd] {
            let size: usize = outcome(1_000, compression, Limits::NONE).await.replace(" bytes", "").parse().unwrap();
            assert!((60_000..105_000).contains(&size), "{size}");
            let wire = |wire_bytes| Limits { wire_bytes, ..Limits::NONE };
            assert_eq!(outcome(1_000, compression, wire(size)).await, format!("{size} bytes"));
            let said = outcome(1_000, compression, wire(size - 1)).await;
            assert!(said.starts_with(&format!("the request would have {size} bytes")), "{said}");
        }
        assert_eq!(framing(&Texts), 3);
    }

    /// What is used again must bear no trace of the encoding before, nor of one that was given up in the middle.
    #[tokio::test]
    async fn each_body_is_whole_whatever_was_encoded_before_it() {
        for events in [2_000, 1, 3_000, 500, 7, 0, 10_000, 40, 2_000] {
            let said = outcome(2_000, Compression::Gzip, Limits { bytes: 150_000, ..Limits::NONE }).await;
            assert!(said.starts_with("the request before compression"), "{said}");
            let plain = encode(&Texts, &batch(events), Compression::None, &Limits::NONE, None).await.unwrap();
            for _ in 0..3 {
                let body = encode(&Texts, &batch(events), Compression::Gzip, &Limits::NONE, None).await.unwrap();
                let mut inflated = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut inflated).unwrap();
                assert!(inflated == plain, "{} bytes of {}", inflated.len(), plain.len());
            }
        }
    }
}
