//! Sets up the log of the process: its format, its filter, and the fields of each line.

use std::borrow::Cow;
use std::fmt;
use std::io::{IsTerminal, stderr};

use s1_forwarder_record::LaneId;
use s1_forwarder_record::visible::visible;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Span, Subscriber, error_span};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The values of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `--log-level` is not a filter.
    #[error(
        "`{0}` is not a log level: write error, warn, info, debug or trace, or parts such as info,s1_forwarder=debug"
    )]
    Level(String),
    /// Another subscriber of the process receives the logs.
    #[error("logging is set up already")]
    Twice,
}

/// kube logs every failed request to the API server and the end of every watch. The verifier of TLS logs every
/// certificate that it refuses, and VRL's compiler its own guesses. The callers report these errors once, with their
/// context.
const WITHOUT_REPORTED: &str = "kube_client::client=off,rustls_platform_verifier=off,vrl=off";

/// Fields of a dependency's own log lines: where its source was when this program was built.
const SOURCE_PLACES: [&str; 3] = ["log.file", "log.line", "log.module_path"];

/// Sends the process's logs to standard error, times in UTC. The default `format` is text on a terminal, else JSON.
///
/// # Errors
/// If `level` is not a filter, or logging is set up already.
pub fn init_logs(format: Option<LogFormat>, level: &str) -> Result<(), LogError> {
    let filter = filter(level).ok_or_else(|| LogError::Level(level.to_owned()))?;
    let terminal = stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    // The subscriber would report a closed standard error on standard error, and panic.
    let builder = builder.log_internal_errors(false);
    let set = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => {
            builder.fmt_fields(TextFields).with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
        }
        LogFormat::Json => builder.fmt_fields(JsonMembers).event_format(JsonLine).try_init(),
    };
    set.map_err(|_| LogError::Twice)
}

/// Parses a level. `None` if `level` is not a filter. `EnvFilter` takes a word that is no level, such as `verbose`, for
/// the name of a crate, and would then log nothing of this program.
fn filter(level: &str) -> Option<EnvFilter> {
    let is_level = |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    let filter = EnvFilter::builder().parse(format!("{WITHOUT_REPORTED},{level}")).ok();
    if level.split(',').all(is_level) { filter } else { None }
}

/// Adds `pipeline`, `stream` and `sink` to every log line of the futures that it instruments.
///
/// Its level is `error`, so that no `--log-level` disables the span while it still lets lines through.
pub fn lane_span(lane: &LaneId) -> Span {
    let LaneId { pipeline, stream, sink } = lane;
    error_span!("lane", pipeline, stream = stream.name(), sink)
}

/// Formats an event as one flat JSON object: the fields of the enclosing spans are members of it, like the event's own.
/// The JSON format of `tracing_subscriber` nests the fields of spans.
struct JsonLine;

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonMembers> for JsonLine {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonMembers>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        let mut own = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        context.format_fields(Writer::new(&mut own), event)?;
        let mut fields = parse_fields(&own)?;
        // From the innermost span outwards: a field of the same name is written once, with the innermost value.
        for span in context.event_scope().into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonMembers>>() {
                for (name, value) in parse_fields(&of_span.fields)? {
                    fields.entry(name).or_insert(value);
                }
            }
        }
        write!(writer, r#"{{"timestamp":"{time}","level":"{}""#, event.metadata().level())?;
        let message = fields.remove_entry("message");
        for (name, value) in message.into_iter().chain(fields) {
            write!(writer, ",{}:{}", Value::from(name), visible(&value.to_string()))?;
        }
        writeln!(writer, "}}")
    }
}

/// Formats fields as the members of a JSON object, each with a comma before it. `JsonFields` of `tracing_subscriber`
/// collects them in a map and a list first, which is most of what the span of a poll costs.
struct JsonMembers;

impl<'w> FormatFields<'w> for JsonMembers {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = MemberWriter { writer, written: Ok(()) };
        fields.record(&mut members);
        members.written
    }
}

struct MemberWriter<'w> {
    writer: Writer<'w>,
    written: fmt::Result,
}

impl MemberWriter<'_> {
    fn add(&mut self, field: &Field, value: &impl Serialize) {
        if SOURCE_PLACES.contains(&field.name()) {
            return;
        }
        let written = serde_json::to_string(value).map_err(|_| fmt::Error);
        let written = written.and_then(|value| write!(self.writer, ",\"{}\":{value}", field.name()));
        self.written = self.written.and(written);
    }
}

impl Visit for MemberWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &beginning(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, &beginning(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }
}

/// Bytes of a field that are logged.
const MAX_FIELD: usize = 16 * 1024;

/// Returns the beginning of a text that is too long for a log.
fn beginning(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_FIELD {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(MAX_FIELD)]))
}

/// Formats fields as `tracing_subscriber` does, but so that a text is always one line and controls no terminal.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut fields_writer = TextWriter { writer, is_first: true, written: Ok(()) };
        fields.record(&mut fields_writer);
        fields_writer.written
    }
}

struct TextWriter<'w> {
    writer: Writer<'w>,
    is_first: bool,
    written: fmt::Result,
}

impl Visit for TextWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // These are fields of the crate `log`. `tracing_subscriber` leaves them out, too.
        if field.name().starts_with("log.") {
            return;
        }
        let text = format!("{value:?}");
        let text = visible(&beginning(&text)).into_owned();
        let gap = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let written = match field.name() {
            "message" => write!(self.writer, "{gap}{text}"),
            // The name is italic, and the sign is dim.
            name if self.writer.has_ansi_escapes() => {
                write!(self.writer, "{gap}\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}")
            }
            name => write!(self.writer, "{gap}{name}={text}"),
        };
        self.written = self.written.and(written);
    }
}

/// Returns the fields of `members`, which [`JsonMembers`] wrote.
fn parse_fields(members: &str) -> Result<Map<String, Value>, fmt::Error> {
    serde_json::from_str(&format!("{{{}}}", members.trim_start_matches(','))).map_err(|_| fmt::Error)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use s1_forwarder_record::Stream;
    use tracing::{Instrument, info, subscriber, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that are logged meanwhile, in the JSON format.
    pub fn json_lines<T>(log: impl FnOnce() -> T) -> Vec<Map<String, Value>> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let builder = tracing_subscriber::fmt().fmt_fields(JsonMembers).event_format(JsonLine);
        subscriber::with_default(builder.with_writer(move || writer.clone()).finish(), log);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of the crate `log` have them: paths of the machine that built the program.
    #[test]
    fn the_place_in_the_source_of_a_dependency_is_not_logged() {
        let lines = json_lines(|| {
            warn!("log.file" = "/build/dependency.rs", "log.line" = 7, "log.target" = "dependency", "its message");
        });
        assert_eq!(lines[0].keys().collect::<Vec<_>>(), ["level", "log.target", "message", "timestamp"]);
    }

    /// `warn` is stricter than the level of most spans.
    #[test]
    fn the_fields_of_a_lane_are_members_of_each_of_its_json_lines_once() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("warn"));
        let builder = builder.fmt_fields(JsonMembers).event_format(JsonLine);
        let logs = builder.with_writer(move || writer.clone()).finish();
        subscriber::with_default(logs, || {
            let lane = async {
                info!("below the level");
                warn!(count = 3_u64, share = 0.5, on = true, error = %"a \"quote\"\n", "lane is failing");
                warn!(stream = "threats", "another stream");
            };
            let span = lane_span(&LaneId::new("acme", Stream::Activities, "siem \"1\""));
            futures_util::FutureExt::now_or_never(lane.instrument(span)).unwrap();
            warn!("outside");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Map<String, Value>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        let expected = [("pipeline", "acme"), ("stream", "activities"), ("sink", "siem \"1\""), ("level", "WARN")];
        assert!(expected.iter().all(|(name, value)| lines[0][*name] == *value), "{text}");
        assert_eq!((&lines[0]["count"], &lines[0]["error"]), (&3.into(), &"a \"quote\"\n".into()));
        assert_eq!((&lines[0]["share"], &lines[0]["on"]), (&0.5.into(), &true.into()));
        assert!(
            text.starts_with(r#"{"timestamp":"2"#) && text.contains(r#""level":"WARN","message":"lane is"#),
            "{text}"
        );
        assert_eq!(lines[1]["stream"], "threats");
        assert_eq!(text.lines().nth(1).unwrap().matches(r#""stream":"#).count(), 1, "{text}");
        assert_eq!(lines[2].keys().collect::<Vec<_>>(), ["level", "message", "timestamp"]);
    }

    /// Words of others may hold line breaks, escapes and characters that hide what follows.
    #[test]
    fn a_text_log_has_one_line_for_each_event() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let builder = tracing_subscriber::fmt().fmt_fields(TextFields).with_ansi(false);
        let hostile = "a\r\n2026 ERROR forged \u{1b}[2J\u{9b}\u{202e}\u{2028}b";
        let long = "k".repeat(900_000);
        subscriber::with_default(builder.with_writer(move || writer.clone()).finish(), || {
            let span = lane_span(&LaneId::new(hostile, Stream::Activities, "siem"));
            span.in_scope(|| warn!(count = 3, error = %hostile, text = hostile, "message {hostile}"));
            warn!(error = %long, "{long}");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.len() < 2 * MAX_FIELD + 200), "{} bytes", text.len());
        let line = text.lines().next().unwrap();
        assert_eq!(line, visible(line));
        let escaped = "a\\u000d\\u000a2026 ERROR forged \\u001b[2J\\u009b\\u202e\\u2028b";
        assert!(line.contains(&format!("message {escaped} count=3 error={escaped} text=\"a\\r\\n2026")), "{line}");
        assert!(line.contains("stream=\"activities\" sink=\"siem\"}: "), "{line}");
        let lines = json_lines(|| warn!(error = %hostile, long, "{hostile}"));
        assert_eq!((&lines[0]["error"], &lines[0]["message"]), (&hostile.into(), &hostile.into()));
        assert!(lines[0]["long"].as_str().unwrap().len() < MAX_FIELD + 10);
    }

    #[test]
    fn a_wrong_level_is_named() {
        let error = init_logs(None, "info,s1_forwarder=loud").unwrap_err();
        assert!(error.to_string().contains("s1_forwarder=loud"), "{error}");
    }
}
