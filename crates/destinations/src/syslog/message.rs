//! One event as one syslog message: RFC 5424 or RFC 3164, framed by octet counting (RFC 6587, RFC 5425) or line feeds.

use std::io::Write;

use s1_forwarder_engine::sink::Event;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{Stream, Timestamp, Value};

use super::notification::{self, Dialect, Notification, Origin};
use super::settings::{Body, Facility, Format, Framing};
use super::{cef, severity, shorten};

/// The private enterprise number that RFC 5612 reserves for documentation: the program has none of its own.
const STRUCTURED_DATA: &str = "s1-forwarder@32473";

/// Writes the messages of one lane.
#[derive(Debug)]
pub(super) struct Encoder {
    pub format: Format,
    /// `None` for UDP, where each datagram is a message.
    pub framing: Option<Framing>,
    pub body: Body,
    pub facility: Facility,
    pub app_name: String,
    /// Longest message in bytes, without its frame.
    pub max_bytes: usize,
    /// The console: the device that reports.
    pub hostname: String,
    pub pipeline: String,
    pub stream: Stream,
    pub schema: Schema,
}

/// An event has no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    /// The message exceeds the allowed length, however much its texts are shortened.
    #[error(
        "the message has {least} bytes after all its texts were shortened, more than `max_bytes: {max_bytes}`; raise \
         it as far as the receiver allows, and send the dead letter again"
    )]
    TooLong { least: usize, max_bytes: usize },
    #[error(
        "the record has no number in `activityType` (an alert: no `id`), by which readers of the console's \
         notifications know it"
    )]
    NoType,
}

impl Encoder {
    /// Appends the message of `event` with its frame, and returns its bytes without frame and header. `version` is the
    /// console's version, for the header of CEF, if it is known.
    ///
    /// # Errors
    /// If the event has no message of the allowed length. Nothing is appended then.
    pub fn write(
        &self,
        event: Event<'_>,
        version: Option<&str>,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<usize, Unsendable> {
        let mut message = Vec::with_capacity(event.body.len() + 256);
        let header = match self.body {
            Body::Notification(dialect) => self.write_notification(event, dialect, version, now, &mut message)?,
            Body::Cef => self.write_cef(event, version.unwrap_or_default(), now, &mut message)?,
            Body::Json => self.write_json(event, now, &mut message),
        };
        if message.len() > self.max_bytes {
            return Err(self.too_long(message.len()));
        }
        match self.framing {
            Some(Framing::OctetCounting) => {
                // Writing into a Vec cannot fail.
                let _ = write!(out, "{} ", message.len());
                out.extend_from_slice(&message);
            }
            Some(Framing::Newline) => {
                out.extend_from_slice(&message);
                out.push(b'\n');
            }
            None => out.extend_from_slice(&message),
        }
        Ok(message.len() - header)
    }

    /// Returns the length of the header, as the functions below.
    fn write_notification(
        &self,
        event: Event<'_>,
        dialect: Dialect,
        build: Option<&str>,
        now: Timestamp,
        message: &mut Vec<u8>,
    ) -> Result<usize, Unsendable> {
        let origin = Origin { dialect, stream: self.stream, console: &self.hostname, build };
        let notification = Notification::of(body_of(event), &origin).ok_or(Unsendable::NoType)?;
        let event = Event { time: notification.time().or(event.time), ..event };
        let header = self.write_header(event, now, message);
        let line = notification.line(self.room(header)).map_err(|least| self.too_long(header + least))?;
        message.extend_from_slice(line.as_bytes());
        Ok(header)
    }

    fn write_cef(
        &self,
        event: Event<'_>,
        version: &str,
        now: Timestamp,
        message: &mut Vec<u8>,
    ) -> Result<usize, Unsendable> {
        let header = self.write_header(event, now, message);
        let device = cef::Device { version, stream: self.stream };
        let cef = cef::write(body_of(event), &device, &event.identity.to_string(), self.room(header));
        let cef = cef.map_err(|least| self.too_long(header + least))?;
        message.extend_from_slice(cef.as_bytes());
        Ok(header)
    }

    fn write_json(&self, event: Event<'_>, now: Timestamp, message: &mut Vec<u8>) -> usize {
        let header = self.write_header(event, now, message);
        let room = self.room(header);
        let is_short = event.body.len() <= room;
        let shortened = if is_short { None } else { shorten::json(event.body, self.schema, room, str::len) };
        message.extend_from_slice(shortened.as_ref().map_or(event.body, String::as_bytes));
        header
    }

    /// Returns the bytes that are left for the payload.
    fn room(&self, header: usize) -> usize {
        self.max_bytes.saturating_sub(header)
    }

    fn too_long(&self, least: usize) -> Unsendable {
        Unsendable::TooLong { least, max_bytes: self.max_bytes }
    }

    /// Writes the text before the payload. Returns the length of that text.
    fn write_header(&self, event: Event<'_>, now: Timestamp, out: &mut Vec<u8>) -> usize {
        let priority = self.facility as u8 * 8 + severity::of_syslog(body_of(event), self.schema);
        let Self { hostname, app_name, .. } = self;
        let _ = match self.format {
            Format::Rfc5424 => {
                let time = event.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
                write!(
                    out,
                    "<{priority}>1 {time} {hostname} {app_name} - {stream} [{STRUCTURED_DATA} pipeline=\"{pipeline}\" \
                     stream=\"{stream}\" identity=\"{identity}\"] ",
                    pipeline = self.pipeline,
                    stream = self.stream.name(),
                    identity = event.identity,
                )
            }
            Format::SentinelOne => {
                let format = |time| notification::format(time, "%Y-%m-%d %H:%M:%S,%3f");
                let time = event.time.and_then(format).or_else(|| format(now)).unwrap_or_default();
                write!(out, "<{priority}>{time} {app_name} - ")
            }
            Format::Rfc3164 => {
                write!(out, "<{priority}>{time} {hostname} {app_name}: ", time = short_time(event.time.unwrap_or(now)))
            }
        };
        out.len()
    }
}

fn body_of(event: Event<'_>) -> Value<'_> {
    Value::new(std::str::from_utf8(event.body).unwrap_or_default())
}

/// Formats a time as `Mar  1 10:20:30`, in UTC.
fn short_time(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_microsecond(time.micros()).unwrap_or_default();
    moment.strftime("%b %e %H:%M:%S").to_string()
}
