//! A batch as the body of a request.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use hmac::Mac;

use super::Destination;
use super::signature::Signature;
use crate::sink::Batch;
use crate::sink::settings::Compression;

/// What is framed before it goes through the compressor, and how often others get their turn on the thread.
const CHUNK: usize = 64 * 1024;

/// Frames, signs (`signature` sees the bytes before compression) and compresses in one pass, so that a batch is not held
/// once more in its framed form.
pub(crate) async fn encode(
    destination: &impl Destination,
    batch: &Batch,
    compression: Compression,
    mut signature: Option<&mut Signature>,
) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(compression, batch)?;
    let mut chunk = Vec::with_capacity(CHUNK * 2);
    let mut drain = |chunk: &mut Vec<u8>, encoder: &mut Encoder| {
        if let Some(signature) = signature.as_mut() {
            signature.update(chunk);
        }
        encoder.write(chunk)?;
        chunk.clear();
        io::Result::Ok(())
    };
    destination.open(&mut chunk);
    for (index, event) in batch.events().enumerate() {
        destination.event(index, event, &mut chunk);
        if chunk.len() >= CHUNK {
            drain(&mut chunk, &mut encoder)?;
            tokio::task::yield_now().await;
        }
    }
    destination.close(&mut chunk);
    drain(&mut chunk, &mut encoder)?;
    encoder.finish()
}

enum Encoder {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(compression: Compression, batch: &Batch) -> io::Result<Self> {
        // Records compress to a tenth or better at level 1.
        let out = Vec::with_capacity(batch.body_bytes() / 8 + 256);
        Ok(match compression {
            Compression::None => Self::Plain(Vec::with_capacity(batch.body_bytes() + batch.len() * 16)),
            Compression::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::fast())),
            Compression::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, 1)?),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
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
