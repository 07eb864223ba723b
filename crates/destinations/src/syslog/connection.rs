//! One connection to a receiver. Syslog has no acknowledgements. Written bytes count as delivered when the receiver's
//! kernel has acknowledged them and the connection is still open a second later. A receiver that dies with bytes unread
//! resets the connection.

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fmt, io};

use s1_forwarder_settings::Dialled;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::send_queue::{Ends, Queue, next_reading};

/// How long a connection has to stay open after its send queue was empty.
const GRACE: Duration = Duration::from_secs(1);
/// Longest time for the notice that a connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that messages are written to, in the order of the calls.
pub(super) struct Connection {
    ends: Ends,
    writer: Mutex<Writer>,
    loss: Arc<Loss>,
    _reader: AbortOnDropHandle<()>,
}

struct Writer {
    /// `None` once the connection is closed.
    stream: Option<WriteHalf<Box<dyn Dialled>>>,
    /// Whether a write has begun and has not ended: the receiver may have a part of a message.
    is_incomplete: bool,
}

/// The loss of the connection, with its reason.
#[derive(Debug, Default)]
struct Loss {
    reason: OnceLock<String>,
    token: CancellationToken,
}

impl Loss {
    /// Reports the loss. A reason that was set before stays.
    fn set(&self, reason: String) {
        let _ = self.reason.set(reason);
        self.token.cancel();
    }

    fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_default()
    }
}

/// The connection was lost before the messages counted as delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(String);

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("ends", &self.ends).field("loss", &self.loss).finish_non_exhaustive()
    }
}

impl Connection {
    /// `ends` are the ends of the TCP connection below `stream`.
    pub fn new(stream: Box<dyn Dialled>, ends: Ends) -> Self {
        let (reader, stream) = split(stream);
        let loss = Arc::new(Loss::default());
        let watch = tokio::spawn(watch(reader, loss.clone()));
        let writer = Mutex::new(Writer { stream: Some(stream), is_incomplete: false });
        Self { ends, writer, loss, _reader: AbortOnDropHandle::new(watch) }
    }

    pub fn is_lost(&self) -> bool {
        self.loss.token.is_cancelled()
    }

    /// Writes whole messages, and waits until they count as delivered. A receiver that accepts nothing for `longest`
    /// fails; a slow one is waited for.
    ///
    /// # Errors
    /// If the connection was lost before. The messages may have arrived.
    pub async fn deliver(&self, messages: &[u8], longest: Duration) -> Result<(), Lost> {
        let lost = self.loss.token.cancelled();
        tokio::select! {
            // Biased: a connection that was lost in the last second has delivered nothing.
            biased;
            () = lost => Err(Lost(self.loss.reason())),
            delivered = async {
                self.write(messages, longest).await?;
                self.drain(longest).await
            } => delivered,
        }
    }

    async fn write(&self, messages: &[u8], longest: Duration) -> Result<(), Lost> {
        let mut writer = self.writer.lock().await;
        if writer.is_incomplete {
            return Err(self.lose("an earlier message was written in part only".to_owned()));
        }
        writer.is_incomplete = true;
        let stream = writer.stream.as_mut().ok_or_else(|| self.lose("the connection is closed".to_owned()))?;
        match write_all(stream, messages, longest).await {
            Some(Ok(())) => {
                writer.is_incomplete = false;
                Ok(())
            }
            Some(Err(error)) => Err(self.lose(closed_by(&error))),
            None => Err(self.lose(format!("the receiver accepted nothing for {}", seconds(longest)))),
        }
    }

    async fn drain(&self, longest: Duration) -> Result<(), Lost> {
        let mut last = None;
        let mut taken_at = Instant::now();
        loop {
            match next_reading().await.queue(self.ends) {
                Queue::Bytes(0) | Queue::Unlisted => break,
                queue if last != Some(queue) => {
                    last = Some(queue);
                    taken_at = Instant::now();
                }
                _ if taken_at.elapsed() >= longest => {
                    return Err(self.lose(format!("the receiver accepted nothing more for {}", seconds(longest))));
                }
                _ => {}
            }
        }
        sleep(GRACE).await;
        Ok(())
    }

    fn lose(&self, reason: String) -> Lost {
        self.loss.set(reason);
        Lost(self.loss.reason())
    }
}

impl Drop for Connection {
    /// Receivers log a connection that ends without the notice of TLS.
    fn drop(&mut self) {
        let stream = self.writer.get_mut().stream.take();
        if let (Some(stream), Ok(runtime)) = (stream, Handle::try_current()) {
            runtime.spawn(close(stream));
        }
    }
}

/// Writes all bytes. `None` if nothing could be written for `longest`.
async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    longest: Duration,
) -> Option<io::Result<()>> {
    while !bytes.is_empty() {
        match timeout(longest, stream.write(bytes)).await.ok()? {
            Ok(0) => return Some(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => bytes = &bytes[written..],
            Err(error) => return Some(Err(error)),
        }
    }
    timeout(longest, stream.flush()).await.ok()
}

/// Returns why a receiver closes a new connection within a moment; `None` if it does not.
pub(super) async fn closed_at_once(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    match timeout(GRACE, stream.read(&mut [0; 256])).await.ok()? {
        Ok(0) => Some("the receiver closed the connection at once".to_owned()),
        Ok(_) => None,
        Err(error) => Some(closed_by(&error)),
    }
}

/// Tells the receiver that the connection ends.
pub(super) async fn close(mut stream: impl AsyncWrite + Unpin) {
    // The connection ends even if the receiver does not answer.
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}

/// Reads until the receiver closes the connection. Receivers send nothing else.
async fn watch(mut reader: ReadHalf<Box<dyn Dialled>>, loss: Arc<Loss>) {
    let mut bytes = [0; 256];
    loop {
        match reader.read(&mut bytes).await {
            Ok(0) => return loss.set("the receiver closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => return loss.set(closed_by(&error)),
        }
    }
}

fn closed_by(error: &io::Error) -> String {
    match error.kind() {
        // rustls reports this kind if the receiver ends the connection without notice.
        io::ErrorKind::UnexpectedEof => "the receiver closed the connection".to_owned(),
        _ => format!("the connection broke: {error}"),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
