//! `syslog`: one message for each event over TLS, TCP or UDP, as JSON, CEF, or a notification of the console.
//!
//! Syslog has no acknowledgements. Over TLS and TCP, a batch counts as delivered on two conditions: the receiver's
//! kernel has accepted it, and the connection is still open a second later (see `connection.rs`). UDP sends once.

mod address;
mod cef;
mod cef_fields;
mod connection;
mod datagrams;
mod message;
mod notification;
mod send_queue;
mod settings;
mod severity;
mod shorten;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use s1_forwarder_engine::console::Client;
use s1_forwarder_engine::sink::{Attempt, Batch, Limits, Outcome, ProbeResult, RefusedEvent, Sink, TOO_LARGE};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::{Failure, LastFailure};
use s1_forwarder_record::{Stream, Timestamp};
use s1_forwarder_settings::{DialError, Dialer, Tls};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::address::{Carrier, SyslogAddress};
use self::connection::Connection;
use self::datagrams::Datagrams;
use self::message::{Encoder, Unsendable};
use self::settings::{Body, DEFAULTS, Format, Payload};
use super::common_keys::Common;
use super::failover::Failover;
use super::integration::{Content, Integration, SYSLOG, SYSLOG_CEF2};
use super::sink_type::{SinkDefaults, SinkProperties, SinkType};
use super::{BuildError, DestinationHash, SinkContext};

pub use self::settings::SyslogSettings;

/// The release of a console that does not say it.
const UNKNOWN: &str = "unknown";

impl SinkProperties for SyslogSettings {
    fn implied_schema(&self) -> Option<Schema> {
        match (self.content, self.payload) {
            (Content::Integration, _) => Some(Schema::Raw),
            (Content::Forwarder, Some(Payload::Cef)) => Some(Schema::Ecs),
            (Content::Forwarder, _) => None,
        }
    }

    fn defaults(&self) -> SinkDefaults {
        DEFAULTS
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(if self.payload == Some(Payload::Cef2) { &SYSLOG_CEF2 } else { &SYSLOG })
    }

    fn check_streams(&self, streams: &[Stream]) -> Result<(), BuildError> {
        match (self.content, self.payload) {
            (Content::Integration, Some(Payload::Cef2)) => SYSLOG_CEF2.check(streams, ""),
            (Content::Integration, _) => SYSLOG.check(streams, "; `payload: cef2` has lines for unified_alerts, too"),
            (Content::Forwarder, _) => Ok(()),
        }
    }

    fn sends_console_notifications(&self) -> bool {
        self.content == Content::Integration
    }

    /// No label is part of a name here.
    fn separates_labels(&self) -> bool {
        false
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    /// Structured data and CEF name the identity.
    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        let is_json = self.payload.is_none_or(|payload| payload == Payload::Json);
        let has_structure = self.format.is_none_or(|format| format == Format::Rfc5424);
        let is_bare = self.content == Content::Integration || (is_json && !has_structure && schema == Schema::Raw);
        is_bare.then_some("`format: rfc5424` has it in the structured data")
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.addresses("addresses", self.receivers()?.iter().map(ToString::to_string));
        Ok(())
    }
}

impl SinkType for SyslogSettings {
    fn build(&self, common: &Common, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let receivers = self.receivers()?;
        let carrier = receivers.first().map_or(Carrier::Tls, |receiver| receiver.carrier);
        self.check(carrier)?;
        if common.proxy.is_some() {
            return Err(BuildError::value("proxy", "syslog needs no proxy: messages go straight to the receiver"));
        }
        if carrier != Carrier::Tls && common.tls != Tls::default() {
            return Err(BuildError::value("tls", "is for receivers whose address begins with tls://"));
        }
        let body = self.body()?;
        if body == Body::Cef && common.schema.is_some_and(|schema| schema != Schema::Ecs) {
            return Err(BuildError::value("schema", "`payload: cef` is made from ECS events: leave the key out"));
        }
        if carrier == Carrier::Tls {
            // Names a file that cannot be used before the first connection.
            common.tls.check()?;
        }
        let dialers = receivers.iter().map(|receiver| Receiver {
            address: receiver.clone(),
            dialer: Dialer {
                host: receiver.host.clone(),
                port: receiver.port,
                tls: (carrier == Carrier::Tls).then(|| common.tls.clone()),
                address_policy: common.address_policy.clone(),
                timeout: common.timeout().0,
                plain: "tcp",
            },
            has_lost: AtomicBool::new(false),
            datagrams: Datagrams::default(),
        });
        let lane = (&context.lane.pipeline, context.lane.stream.name(), &context.lane.sink);
        Ok(Arc::new(Syslog {
            receivers: Failover::new(dialers.collect(), &lane),
            encoder: Encoder {
                format: self.format(),
                framing: self.framing(carrier)?,
                body,
                facility: self.facility(),
                app_name: self.app_name().to_owned(),
                max_bytes: usize::try_from(self.max_bytes.0).unwrap_or(usize::MAX),
                hostname: context.hostname().to_owned(),
                pipeline: context.lane.pipeline.clone(),
                stream: context.lane.stream,
                schema: self.implied_schema().unwrap_or(context.schema),
            },
            carrier,
            limits: common.limits(&DEFAULTS),
            timeout: common.timeout().0,
            connection: Mutex::default(),
            console: context.console.clone(),
        }))
    }
}

#[derive(Debug)]
struct Receiver {
    address: SyslogAddress,
    dialer: Dialer,
    /// Whether the last connection with a batch was lost. Some receivers close their side of each connection at once
    /// and go on reading. So the next connection has to stay open for a moment before it gets the batch again.
    has_lost: AtomicBool,
    /// The sockets for UDP.
    datagrams: Datagrams,
}

impl Receiver {
    async fn connect(&self) -> Result<Connection, DialError> {
        let (mut stream, ends) = self.dialer.dial().await?;
        if self.has_lost.load(Ordering::Relaxed)
            && let Some(reason) = connection::closed_at_once(&mut stream).await
        {
            let address = &self.address;
            let reason = format!("{address}: {reason}; events wait until it keeps a connection open for a second");
            return Err(DialError::Unreachable(reason));
        }
        Ok(Connection::new(stream, ends))
    }
}

#[derive(Debug)]
struct Syslog {
    receivers: Failover<Receiver>,
    encoder: Encoder,
    carrier: Carrier,
    limits: Limits,
    timeout: Duration,
    connection: Mutex<Current>,
    console: Option<Arc<Client>>,
}

/// The open connection with the index of its receiver, or why there is none.
#[derive(Debug, Default)]
struct Current {
    open: Option<(usize, Arc<Connection>)>,
    failure: LastFailure<Attempt>,
}

/// A batch as messages.
struct Encoded {
    bytes: Vec<u8>,
    /// Ends of the messages in `bytes`, each with the index of its event.
    ends: Vec<(usize, usize)>,
    refused: Vec<RefusedEvent>,
    /// Bytes of each event's message without its header.
    event_bytes: Vec<u32>,
}

impl Sink for Syslog {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        async move {
            let encoded = self.encode(batch).await;
            match self.carrier {
                Carrier::Tls | Carrier::Tcp => self.send_stream(encoded).await,
                Carrier::Udp => self.send_datagrams(encoded).await,
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        async move {
            let mut probes = Vec::new();
            for receiver in self.receivers.all() {
                probes.push(self.probe_one(receiver).await);
            }
            probes
                .into_iter()
                .reduce(ProbeResult::and)
                .unwrap_or_else(|| ProbeResult::Failed("there is no receiver".to_owned()))
        }
        .boxed()
    }
}

impl Syslog {
    async fn encode(&self, batch: &Batch) -> Encoded {
        let version = match (self.encoder.body, &self.console) {
            (Body::Cef, Some(console)) => console.system().await.release,
            (Body::Notification(_), Some(console)) => {
                let system = console.system().await;
                system.build.or(system.release)
            }
            (Body::Json, _) | (_, None) => None,
        };
        // A parser of CEF may refuse an empty one.
        let unknown = matches!(self.encoder.body, Body::Cef).then(|| UNKNOWN.to_owned());
        let version = version.or(unknown);
        let now = Timestamp::now();
        let mut encoded = Encoded {
            bytes: Vec::with_capacity(batch.body_bytes()),
            ends: Vec::new(),
            refused: Vec::new(),
            event_bytes: Vec::new(),
        };
        for (index, event) in batch.events().enumerate() {
            match self.encoder.write(event, version.as_deref(), now, &mut encoded.bytes) {
                Ok(bytes) => {
                    encoded.ends.push((encoded.bytes.len(), index));
                    encoded.event_bytes.push(u32::try_from(bytes).unwrap_or(u32::MAX));
                }
                Err(error) => {
                    encoded.refused.push(refusal(index, &error));
                    encoded.event_bytes.push(0);
                }
            }
        }
        encoded
    }

    async fn send_stream(&self, encoded: Encoded) -> Attempt {
        let sent = encoded.bytes.len() as u64;
        if encoded.ends.is_empty() {
            return attempt_of(encoded, Vec::new(), 0);
        }
        let (index, connection) = match self.connection().await {
            Ok(connection) => connection,
            Err(attempt) => return attempt,
        };
        let Receiver { address, has_lost, .. } = &self.receivers.all()[index];
        let delivered = connection.deliver(&encoded.bytes, self.timeout).await;
        has_lost.store(delivered.is_err(), Ordering::Relaxed);
        match delivered {
            Ok(()) => attempt_of(encoded, Vec::new(), sent),
            Err(lost) => {
                self.receivers.leave(index);
                let reason = format!("{address}: {lost}; everything that was not confirmed is sent again");
                Attempt::unsent(Outcome::retry_later(reason), "lost")
            }
        }
    }

    /// Returns the open connection, or a new one to a receiver that answers.
    async fn connection(&self) -> Result<(usize, Arc<Connection>), Attempt> {
        let called_at = Instant::now();
        let mut current = self.connection.lock().await;
        if let Some((index, connection)) = current.open.as_ref().filter(|(_, connection)| !connection.is_lost()) {
            return Ok((*index, connection.clone()));
        }
        if let Some(failure) = current.failure.after(called_at) {
            return Err(failure);
        }
        current.open = None;
        let opened = self.connect().await.map_err(|error| failed(&error));
        current.failure.ended(&opened);
        current.open = opened.as_ref().ok().cloned();
        opened
    }

    async fn connect(&self) -> Result<(usize, Arc<Connection>), DialError> {
        let mut failure = None;
        for _ in self.receivers.all() {
            let (index, receiver) = self.receivers.current();
            match receiver.connect().await {
                Ok(connection) => return Ok((index, Arc::new(connection))),
                Err(error) => {
                    self.receivers.leave(index);
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| DialError::Unreachable("there is no receiver".to_owned())))
    }

    /// Sends each message once. The sink cannot know whether a datagram arrived.
    async fn send_datagrams(&self, mut encoded: Encoded) -> Attempt {
        let (receiver, Receiver { address, dialer, datagrams, .. }) = self.receivers.current();
        let peer = match datagrams.peer(async || dialer.addresses().await).await {
            Ok(peer) => peer,
            Err(error) => {
                self.receivers.leave(receiver);
                return failed(&error);
            }
        };
        let mut start = 0;
        let mut sent = 0;
        for (place, &(end, index)) in encoded.ends.iter().enumerate() {
            match peer.socket.send(&encoded.bytes[start..end]).await {
                Ok(bytes) => sent += bytes as u64,
                Err(error) if is_too_long(&error) => {
                    let reason = format!("the datagram is too long for the network: {error}; set a smaller max_bytes");
                    encoded.refused.push(RefusedEvent { index, status: TOO_LARGE.to_owned(), reason });
                }
                Err(error) => {
                    // The system reports the error of an earlier datagram. This one was not sent.
                    datagrams.leave(&peer).await;
                    self.receivers.leave(receiver);
                    if place == 0 {
                        return failed(&DialError::Unreachable(format!("{address}: {error}")));
                    }
                    let left = encoded.ends[place..].iter().map(|(_, index)| *index).collect();
                    return attempt_of(encoded, left, sent);
                }
            }
            start = end;
        }
        attempt_of(encoded, Vec::new(), sent)
    }

    async fn probe_one(&self, receiver: &Receiver) -> ProbeResult {
        let Receiver { address, dialer, .. } = receiver;
        if self.carrier == Carrier::Udp {
            return match dialer.addresses().await {
                Ok(_) => ProbeResult::Reached(format!(
                    "{address}: the name is known; UDP sends each event once and has no acknowledgement: use \
                     tls:// where nothing may be lost"
                )),
                Err(error) => ProbeResult::Failed(error.to_string()),
            };
        }
        let known = if send_queue::is_known() {
            "events count as delivered a second after the receiver's kernel has acknowledged them"
        } else {
            "this system does not say what a receiver has acknowledged: events count as delivered a second after they \
             were written"
        };
        match dialer.dial().await {
            Ok((mut stream, _)) => {
                // A client hears only after its own handshake that its certificate was refused.
                if let Some(reason) = connection::closed_at_once(&mut stream).await {
                    return ProbeResult::Failed(format!("{address}: {reason}"));
                }
                connection::close(stream).await;
                ProbeResult::Reached(format!("{address}: syslog has no acknowledgements, {known}"))
            }
            Err(error) => ProbeResult::Failed(error.to_string()),
        }
    }
}

fn refusal(index: usize, error: &Unsendable) -> RefusedEvent {
    let status = match error {
        Unsendable::TooLong { .. } => TOO_LARGE,
        Unsendable::NoType => "no_type",
    };
    RefusedEvent { index, status: status.to_owned(), reason: error.to_string() }
}

/// Returns whether the datagram is too long to send. Such an error says nothing of datagrams that were sent earlier.
fn is_too_long(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

fn attempt_of(encoded: Encoded, retry: Vec<usize>, bytes: u64) -> Attempt {
    let Encoded { refused, event_bytes, .. } = encoded;
    let outcome = if refused.is_empty() && retry.is_empty() {
        Outcome::Delivered
    } else {
        Outcome::Partial { refused, retry, retry_after: None, warnings: Vec::new() }
    };
    Attempt { outcome, bytes, event_bytes: Some(event_bytes.into()), status: "ok".into() }
}

fn failed(error: &DialError) -> Attempt {
    let (outcome, status) = match error {
        DialError::Unreachable(reason) => (Outcome::retry_later(reason), "connect"),
        DialError::Tls(_) => (Outcome::Failed(Failure::secret_unreadable(error.to_string())), "tls"),
        DialError::NotReachable(_) => (Outcome::misconfigured(error.to_string()), "address"),
    };
    Attempt::unsent(outcome, status)
}
