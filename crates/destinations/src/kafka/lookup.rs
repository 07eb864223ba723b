//! Reads a topic back, once, and answers from the identities that were in it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memchr::memmem;
use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::ledger::Accounting;
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Inconclusive, Lookup, Retention, SortedIdentities};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Transient;
use s1_forwarder_kafka::{ClientSettings, SentEvent, Topic, TopicRetention};
use s1_forwarder_record::{Identity, Timestamp, facts};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::options::Options;
use super::settings::MessageTime;
use crate::SinkContext;

/// Identities that are looked up at a time.
const MAX_IDENTITIES: usize = 100_000;
/// The digits of an identity.
const DIGITS: usize = 32;
/// Names of the members in which events in ECS and in OCSF have their identity.
const MEMBERS: [&[u8]; 2] = [b"\"identity", b"\"uid"];
/// Keys of times in the console's records. A record that another system has reduced may lack the second one, its
/// version.
const TIMES: [&[u8]; 2] = [b"createdAt", b"updatedAt"];
/// A longer text without a blank may be an encoded event. A digest of 256 bits is shorter.
const MAX_WORD: usize = 64;
/// The clock of the brokers may differ from ours by this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_hours(1);

pub(super) struct TopicLookup {
    pub(super) options: Options,
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) lane: SinkContext,
    pub(super) timestamp: MessageTime,
    pub(super) copy: Mutex<Option<Copy>>,
}

/// The identities that were in the topic.
pub(super) struct Copy {
    at: Timestamp,
    sorted: SortedIdentities,
    /// Identities in messages that may be copies of the lane's messages, changed by another system.
    doubted: SortedIdentities,
    /// Messages that do not say which events they are.
    without: u64,
    retention: TopicRetention,
}

impl fmt::Debug for TopicLookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TopicLookup").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicLookup {
    async fn read(&self, patience: Duration) -> Result<Copy, Inconclusive> {
        let at = Timestamp::now();
        let config = self.options.resolve().map_err(|error| Inconclusive::NoProof(error.to_string()))?;
        let topic = Topic::of_events(ClientSettings::new(config, None), &self.topic);
        let found = Arc::new(Mutex::new((IdentitySorter::default(), IdentitySorter::default(), 0)));
        let of_reader = found.clone();
        let lane = self.lane.clone();
        let read = topic.read_back(patience, move |message| {
            let (sorter, doubts, without) = &mut *of_reader.lock();
            let Named { own, doubted, is_unnamed } = Named::of(&message, &lane);
            *without += u64::from(is_unnamed);
            own.into_iter().try_for_each(|identity| sorter.add(identity))?;
            doubted.into_iter().try_for_each(|identity| doubts.add(identity))
        });
        let retention = read.await.map_err(|failure| match failure {
            Failure { kind: Transient, reason, retry_after } => Inconclusive::Later { reason, retry_after },
            failure => Inconclusive::NoProof(failure.to_string()),
        })?;
        let no_topic = || Inconclusive::NoProof(format!("there is no topic `{}`", self.topic));
        let retention = retention.ok_or_else(no_topic)?;
        let (sorter, doubts, without) = std::mem::take(&mut *found.lock());
        let sorted = sorter.finish().map_err(unreadable)?;
        let doubted = doubts.finish().map_err(unreadable)?;
        Ok(Copy { at, sorted, doubted, without, retention })
    }
}

/// The identities of a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    /// Identities of the lane's event in the message.
    own: BTreeSet<Identity>,
    /// The message may be one of these events, changed by another system.
    doubted: BTreeSet<Identity>,
    /// Whether the message may be any event of the lane.
    is_unnamed: bool,
}

impl Named {
    fn of(message: &SentEvent<'_>, context: &SinkContext) -> Self {
        let SentEvent { ids, pipelines, streams, payload, .. } = message;
        let parsed = |id: &&[u8]| std::str::from_utf8(id).ok()?.parse().ok();
        let of_headers: BTreeSet<Identity> = ids.iter().filter_map(parsed).collect();
        let record_id = record_id(message.key, context);
        let of_event = of_event(payload, record_id, context);
        let is_own = |values: &[&[u8]], own: &str| values.is_empty() || values.contains(&own.as_bytes());
        let is_of_lane = is_own(pipelines, &context.lane.pipeline) && is_own(streams, context.lane.stream.name());
        let own = match is_of_lane {
            false => BTreeSet::new(),
            // One header is ours alone. Of several, or of none, the event itself says which one it is.
            true if ids.len() == 1 && !of_headers.is_empty() => of_headers.clone(),
            true => &of_headers | &of_event,
        };
        // Records of which the ledger has sums do not change, so that their ids say which events they are.
        let is_constant = Accounting::of(context.lane.stream) == Accounting::Records;
        let by_key = record_id
            .filter(|_| is_constant)
            .map(|id| Identity::of(&context.console_host, context.lane.stream, id, ""));
        let mut doubted: BTreeSet<Identity> = of_headers.iter().chain(&of_event).copied().chain(by_key).collect();
        let may_be_own = is_of_lane || record_id.is_some();
        let mut is_unnamed = may_be_own && is_many(payload, context.schema == Schema::Raw && of_event.is_empty());
        if of_event.is_empty() && by_key.is_none() {
            // A program may have removed the identity from the event. An intact record as it came says which event it
            // is. An identity in a header is ours only next to the other headers of the forwarder.
            let may_lack_it = context.schema != Schema::Raw || record_id.is_none();
            let has_headers = !of_headers.is_empty() && !pipelines.is_empty() && !streams.is_empty();
            match identities_in(payload).filter(|_| has_headers && may_lack_it) {
                Some(others) => doubted.extend(others),
                None => is_unnamed = true,
            }
        }
        doubted.retain(|identity| !own.contains(identity));
        Self { own, doubted, is_unnamed }
    }
}

/// Returns the id of the record, if the key is one of the lane's records.
fn record_id<'m>(key: &'m [u8], context: &SinkContext) -> Option<&'m str> {
    let key = std::str::from_utf8(key).ok()?.strip_prefix(context.console_host.as_str())?;
    key.strip_prefix('/')?.strip_prefix(context.lane.stream.name())?.strip_prefix('/')
}

/// Returns the identities that the payload names: the identity of the event, and perhaps ids of other things. An
/// unchanged record has id and version.
fn of_event(payload: &[u8], record_id: Option<&str>, context: &SinkContext) -> BTreeSet<Identity> {
    let mut identities: BTreeSet<Identity> = MEMBERS.iter().flat_map(|name| identities_at(payload, name)).collect();
    let times = if Accounting::of(context.lane.stream) == Accounting::Ids { &TIMES[..] } else { &TIMES[..1] };
    let is_whole = times.iter().all(|time| memmem::find(payload, time).is_some());
    if context.schema == Schema::Raw && is_whole {
        let facts = facts(context.lane.stream, payload);
        if !facts.id.is_empty() && record_id.is_none_or(|id| id == facts.id) {
            identities.insert(facts.identity(&context.console_host, payload));
        }
    }
    identities
}

/// Returns whether the payload may have several events: it is no object, or one that may have several records as they
/// came.
fn is_many(payload: &[u8], may_have_records: bool) -> bool {
    let is_object = payload.first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(payload).is_ok();
    let has_records = || memmem::find_iter(payload, TIMES[0]).nth(1).is_some();
    !payload.is_empty() && (!is_object || (may_have_records && has_records()))
}

/// Returns the identities in JSON, whatever their names. `None` if the payload may have others: it is no JSON, or has a
/// text that may be encoded.
fn identities_in(payload: &[u8]) -> Option<BTreeSet<Identity>> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let mut identities = BTreeSet::new();
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) if is_encoded(text) => return None,
            Value::String(text) => identities.extend(text.replace('-', "").parse::<Identity>().ok()),
            Value::Array(items) if items.len() > MAX_WORD && items.iter().all(Value::is_number) => return None,
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    Some(identities)
}

/// Returns whether a text may be base64 or hex of something, or the text of JSON with escapes.
fn is_encoded(text: &str) -> bool {
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c));
    text.contains("\\u00") || text.split(is_separator).any(|word| word.len() > MAX_WORD)
}

/// Returns the values of members of this name that may be identities, in JSON that may be a text of other JSON.
fn identities_at<'a>(bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Identity> + 'a {
    memmem::find_iter(bytes, name).filter_map(move |at| {
        let rest = bytes.get(at + name.len()..)?;
        let start = rest.iter().position(|byte| !b"\\\": ".contains(byte))?;
        std::str::from_utf8(rest.get(start..start + DIGITS)?).ok()?.parse().ok()
    })
}

fn not_read() -> Inconclusive {
    Inconclusive::NoProof("the topic was not read".to_owned())
}

fn unreadable(error: io::Error) -> Inconclusive {
    Inconclusive::NoProof(format!("a temporary file: {error}"))
}

/// Returns since when the topic has all messages that were sent.
fn retention_of(topic: &TopicRetention, timestamp: MessageTime, now: Timestamp) -> Result<Retention, Inconclusive> {
    let TopicRetention { is_trimmed, first, policy, millis, bytes } = topic;
    let Some(policy) = policy else {
        let reason = "the credentials may not read whether the topic is compacted (`DescribeConfigs`)";
        return Err(Inconclusive::NoProof(reason.to_owned()));
    };
    if policy.contains("compact") {
        let reason = "the topic is compacted: it keeps the newest message of each record alone";
        return Err(Inconclusive::NoProof(reason.to_owned()));
    }
    if !is_trimmed {
        return Ok(Retention::Everything);
    }
    if timestamp == MessageTime::Event {
        let reason = "the beginning of the topic was removed, and with `timestamp: event` it is not known up to when";
        return Err(Inconclusive::NoProof(reason.to_owned()));
    }
    let first = first.unwrap_or(now);
    let removed = "the topic has nothing that was sent earlier";
    // The brokers remove by age messages that were sent before. They remove no event that was created later.
    let by_age = match (millis, bytes) {
        (Some(millis), Some(bytes)) if *bytes < 0 && *millis < 0 => return Ok(Retention::Everything),
        (Some(millis), Some(bytes)) if *bytes < 0 => {
            let retention = Duration::from_millis(u64::try_from(*millis).unwrap_or_default());
            Some(now.minus(retention.saturating_sub(MAX_CLOCK_DIFFERENCE)))
        }
        _ => None,
    };
    Ok(match by_age {
        Some(by_age) if by_age < first => Retention::From(by_age, format!("{removed} (`retention.ms`)")),
        _ => Retention::From(first, removed.to_owned()),
    })
}

#[async_trait]
impl Lookup for TopicLookup {
    fn target_text(&self) -> String {
        let Self { topic, brokers, .. } = self;
        let without = self.copy.lock().as_ref().map_or(0, |copy| copy.without);
        let more = if without > 0 { format!("; {without} messages have no identity") } else { String::new() };
        format!("topic `{topic}` at {brokers}, by the header `id` or the event's own identity{more}")
    }

    fn max_identities_per_query(&self) -> usize {
        MAX_IDENTITIES
    }

    /// An acknowledged message is visible at once.
    fn visible_after(&self) -> Duration {
        Duration::ZERO
    }

    fn as_of(&self) -> Option<Timestamp> {
        self.copy.lock().as_ref().map(|copy| copy.at)
    }

    async fn retention(&self, patience: Duration) -> Result<Retention, Inconclusive> {
        let copy = self.read(patience).await?;
        let retention = retention_of(&copy.retention, self.timestamp, copy.at)?;
        *self.copy.lock() = Some(copy);
        Ok(retention)
    }

    async fn refresh(&self, patience: Duration) -> Result<(), Inconclusive> {
        let copy = self.read(patience).await?;
        *self.copy.lock() = Some(copy);
        Ok(())
    }

    async fn occurrences(&self, identities: &[Identity]) -> Result<Vec<u32>, Inconclusive> {
        let mut copy = self.copy.lock();
        let copy = copy.as_mut().ok_or_else(not_read)?;
        copy.sorted.occurrences(identities).map_err(unreadable)
    }

    async fn find_outside_target(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Inconclusive> {
        let without = self.copy.lock().as_ref().map_or(0, |copy| copy.without);
        if without > 0 {
            return Err(Inconclusive::NoProof(format!(
                "{}: each may be an event that is not found",
                self.target_text()
            )));
        }
        let mut copy = self.copy.lock();
        let copy = copy.as_mut().ok_or_else(not_read)?;
        let doubted = copy.doubted.occurrences(identities).map_err(unreadable)?;
        let place = format!("`{}`, in messages with other headers", self.topic);
        Ok(doubted.into_iter().map(|copies| (copies > 0).then(|| place.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use s1_forwarder_record::{LaneId, Stream};

    use super::*;

    const ONE: &str = "9d5edec136b76dda4e8607e86dfbcbbc";
    const OTHER: &str = "0d5edec136b76dda4e8607e86dfbcbbc";
    const HOST: &str = "usea1-acme.sentinelone.net";

    fn lane(stream: Stream, schema: Schema) -> SinkContext {
        SinkContext { lane: LaneId::new("acme", stream, "siem"), schema, ..SinkContext::sample() }
    }

    #[test]
    fn a_payload_names_its_event_or_has_identities_with_other_names_or_may_hide_some() {
        let long = "QQ/+".repeat(20);
        let others = |identities: &[&str]| Some(identities.iter().map(|identity| identity.parse().unwrap()).collect());
        let bytes: Vec<u32> = (0..100).collect();
        for text in [
            format!(r#"{{"a":1,"sentinel_one":{{"identity":"{ONE}","x":{{}}}}}}"#),
            format!(r#"{{"metadata": {{"uid": "{ONE}"}}}}"#),
            // In the envelope of a connector, and as a text in another event.
            format!(r#"{{"schema":null,"payload":{{"sentinel_one":{{"identity":"{ONE}"}}}}}}"#),
            format!(r#"{{"event":"{{\"identity\":\"{ONE}\"}}"}}"#),
        ] {
            let named = of_event(text.as_bytes(), None, &lane(Stream::Threats, Schema::Ecs));
            assert_eq!(named, [ONE.parse().unwrap()].into(), "{text}");
        }
        for (text, expected) in [
            // Encoded, wrapped or truncated.
            ("CEF:0|SentinelOne|sentinel one agent|1".to_owned(), None),
            ("eyJAdGltZXN0YW1wIjoiMjAyNi0wMS0wMVQwMDowMDowMFoifQ==".to_owned(), None),
            (format!(r#"{{"schema":{{"type":"bytes"}},"payload":"{long}"}}"#), None),
            (format!(r#"{{"kid":"k1","alg":"AES","data":"{}"}}"#, "0f".repeat(40)), None),
            (format!("\"{long}\""), None),
            (format!(r#"{{"payload":{bytes:?}}}"#), None),
            (r#"{"event":"{\"\\u0069dentity\":1}"}"#.to_owned(), None),
            (r#"{"agentId":"3","id":"2","message":"a user has"#.to_owned(), None),
            ("foreign".to_owned(), None),
            (String::new(), None),
            // The identity has another name.
            (format!(r#"{{"uuid":"{ONE}","message":"x"}}"#), others(&[ONE])),
            (format!(r#"{{"@timestamp":"2026-11-29T13:15:19Z","event":{{"hash":"{OTHER}"}}}}"#), others(&[OTHER])),
            (r#"{"id":"9d5edec1-36b7-6dda-4e86-07e86dfbcbbc","user":"x"}"#.to_owned(), others(&[ONE])),
            (format!(r#"{{"sha256":"{}","message":"some words"}}"#, "0f".repeat(32)), others(&[])),
            (r#"[{"orders":[1,2,3]},"a rather long line of words in another text"]"#.to_owned(), others(&[])),
        ] {
            assert_eq!(of_event(text.as_bytes(), None, &lane(Stream::Threats, Schema::Ecs)), BTreeSet::new(), "{text}");
            assert_eq!(identities_in(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(identities_in(&[0x1f, 0x8b, 0x08, 0xff]), None, "compressed");
    }

    /// An event that was changed beyond recognition cannot be distinguished from a message of another program.
    #[test]
    fn a_message_that_names_no_event_may_be_any() {
        let [key, renamed]: [&[u8]; 2] = [br#"{"payload":"HOST/activities/7"}"#, br#"{"doc":"acme:7"}"#];
        let orders: &[u8] = br#"{"order":"a text of a few words, which is another program's"}"#;
        for (payload, ids) in
            [(orders, vec![]), (orders, vec![&b"42"[..]]), (renamed, vec![]), (&b"{\"id\":\"2\"}"[..], vec![renamed])]
        {
            for schema in [Schema::Ecs, Schema::Raw] {
                let message = SentEvent { key, payload, ids: ids.clone(), ..SentEvent::default() };
                let named = Named::of(&message, &lane(Stream::Threats, schema));
                assert!(named.is_unnamed && named.own.is_empty(), "{named:?}");
            }
        }
    }

    /// A program that makes one message of many keeps headers and key of the first at best.
    #[test]
    fn a_message_that_may_have_several_events_may_have_any() {
        let record = r#"{"id":"7","activityType":27,"createdAt":"2026-01-01T00:00:00Z"}"#;
        let event = format!(r#"{{"sentinel_one":{{"identity":"{ONE}"}}}}"#);
        let key = format!("{HOST}/activities/7");
        for (schema, payload, is_unnamed) in [
            (Schema::Raw, record.to_owned(), false),
            (Schema::Raw, format!("{record}\n{record}"), true),
            (Schema::Raw, format!("[{record},{record}]"), true),
            (Schema::Raw, format!(r#"{{"records":[{record},{record}]}}"#), true),
            // A program of the lane's own has removed the time.
            (Schema::Raw, r#"{"id":"7","activityType":27}"#.to_owned(), false),
            (Schema::Ecs, event.clone(), false),
            (Schema::Ecs, format!("[{event}]"), true),
            (Schema::Ecs, "\u{1f}\u{8b}".to_owned(), true),
            (Schema::Ecs, String::new(), false),
        ] {
            for (key, ids, values) in [
                (key.as_bytes(), vec![ONE.as_bytes()], vec![&b"acme"[..]]),
                (key.as_bytes(), vec![], vec![]),
                (b"", vec![ONE.as_bytes()], vec![&b"acme"[..]]),
            ] {
                let streams = if values.is_empty() { vec![] } else { vec![&b"activities"[..]] };
                let message = SentEvent { key, payload: payload.as_bytes(), ids, pipelines: values, streams };
                let named = Named::of(&message, &lane(Stream::Activities, schema));
                // Nothing but the key says of an empty message which one it was.
                let may_be_any = is_unnamed || (key.is_empty() && payload.is_empty());
                assert_eq!(named.is_unnamed, may_be_any, "{payload} {message:?} {named:?}");
            }
        }
        // The header of another program has the same name.
        let payload: &[u8] = br#"{"ts":1,"message":"a few words"}"#;
        for (pipelines, streams, is_unnamed) in [
            (vec![], vec![], true),
            (vec![&b"acme"[..]], vec![], true),
            (vec![&b"acme"[..]], vec![&b"threats"[..]], false),
        ] {
            let message =
                SentEvent { payload, ids: vec![OTHER.as_bytes()], pipelines, streams, ..SentEvent::default() };
            assert_eq!(Named::of(&message, &lane(Stream::Threats, Schema::Ecs)).is_unnamed, is_unnamed, "{message:?}");
        }
    }

    #[test]
    fn a_message_with_changed_headers_is_a_doubt() {
        let event = format!(r#"{{"sentinel_one":{{"identity":"{ONE}"}}}}"#);
        for (ids, pipelines, own, doubted) in [
            (&[ONE][..], &["acme"][..], &[ONE][..], &[][..]),
            (&[ONE], &[], &[ONE], &[]),
            (&[], &["acme"], &[ONE], &[]),
            (&[OTHER], &["acme"], &[OTHER], &[ONE]),
            (&[ONE, OTHER], &["acme"], &[ONE, OTHER], &[]),
            (&["x"], &["acme"], &[ONE], &[]),
            (&[ONE], &["ACME"], &[], &[ONE]),
            (&[OTHER], &[""], &[], &[ONE, OTHER]),
        ] {
            let bytes = |texts: &[&'static str]| texts.iter().map(|text| text.as_bytes()).collect();
            let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
            let message = SentEvent {
                key: b"k",
                payload: event.as_bytes(),
                ids: bytes(ids),
                pipelines: bytes(pipelines),
                streams: bytes(&["threats"]),
            };
            let expected = Named { own: parsed(own), doubted: parsed(doubted), is_unnamed: false };
            assert_eq!(Named::of(&message, &lane(Stream::Threats, Schema::Ecs)), expected, "{ids:?} {pipelines:?}");
        }
    }

    /// Headers and payload may have any content. A message with the key of a record makes its event a doubt. If the key
    /// does not say which version it is, the message may be any event.
    #[test]
    fn a_message_with_the_key_of_a_record_is_never_foreign() {
        let activity = br#"{"id":"7","activityType":27,"createdAt":"2026-01-01T00:00:00Z"}"#;
        let threat = br#"{"id":"7","threatInfo":{"createdAt":"x","updatedAt":"2026-01-01T00:00:00Z","threatId":"7"}}"#;
        let wrapped: &[u8] = br#"{"schema":{},"payload":"acme"}"#;
        let [acme, random]: [&[u8]; 2] = [b"acme", OTHER.as_bytes()];
        for (stream, raw) in [(Stream::Activities, &activity[..]), (Stream::Threats, &threat[..])] {
            let own = facts(stream, raw).identity(HOST, raw);
            let key = format!("{HOST}/{}/7", stream.name());
            let name = stream.name().as_bytes();
            let id = own.to_string();
            let ecs = format!(r#"{{"sentinel_one":{{"identity":"{id}"}}}}"#);
            let reduced = br#"{"user":"x","action":"a text of a few words"}"#;
            for (schema, intact) in [(Schema::Ecs, ecs.as_bytes()), (Schema::Raw, raw), (Schema::Ecs, &reduced[..])] {
                let of = |payload, ids, pipelines, streams| {
                    let message = SentEvent { key: key.as_bytes(), payload, ids, pipelines, streams };
                    Named::of(&message, &lane(stream, schema))
                };
                let message = of(intact, vec![id.as_bytes()], vec![acme], vec![name]);
                assert_eq!(message, Named { own: [own].into(), ..Named::default() }, "{stream} {schema:?}");
                let encoded: [&[u8]; 4] =
                    [&[0x1f, 0x8b, 0x08, 0xff], b"", wrapped, b"eyJAdGltZXN0YW1wIjoiMjAyNi0wMS0wMVQ"];
                for (payload, ids, pipelines) in [intact].into_iter().chain(encoded).flat_map(|payload| {
                    [
                        (payload, vec![], vec![]),
                        (payload, vec![&b""[..]], vec![&b""[..]]),
                        (payload, vec![wrapped], vec![wrapped]),
                        (payload, vec![random], vec![acme]),
                        (payload, vec![random], vec![wrapped]),
                        (payload, vec![], vec![acme]),
                    ]
                }) {
                    // Nothing but the header says which version a reduced event is of.
                    let is_readable = payload == intact || payload == wrapped || payload.is_empty();
                    if is_readable && stream == Stream::Threats && schema == Schema::Ecs && ids.contains(&random) {
                        continue;
                    }
                    let streams = if pipelines == [acme] { vec![name] } else { pipelines.clone() };
                    let named = of(payload, ids.clone(), pipelines.clone(), streams);
                    let is_doubt = named.own.contains(&own) || named.doubted.contains(&own) || named.is_unnamed;
                    assert!(is_doubt, "{stream} {schema:?} {payload:x?} {ids:x?} {pipelines:x?} {named:?}");
                    assert!(!named.own.contains(&own) || payload == intact, "{payload:x?} {named:?}");
                }
            }
        }
    }

    #[test]
    fn what_the_brokers_may_have_removed_is_not_judged() {
        let hour = |hour: i64| Timestamp::from_micros(hour * 3_600_000_000);
        let now = hour(1_000);
        let found = |is_trimmed, policy: &str, millis: Option<i64>, bytes: Option<i64>, timestamp| {
            let policy = Some(policy.to_owned()).filter(|policy| !policy.is_empty());
            let retention = TopicRetention { is_trimmed, first: Some(hour(900)), policy, millis, bytes };
            match retention_of(&retention, timestamp, now) {
                Ok(Retention::Everything) => "everything".to_owned(),
                Ok(Retention::From(time, _)) => format!("from {}", time.micros() / 3_600_000_000),
                other => format!("{other:?}").chars().take(3).collect(),
            }
        };
        let week = Some(7 * 24 * 3_600_000);
        for (found, expected) in [
            (found(false, "delete", week, Some(-1), MessageTime::Now), "everything"),
            (found(false, "delete", None, None, MessageTime::Event), "everything"),
            (found(true, "delete", Some(-1), Some(-1), MessageTime::Now), "everything"),
            // Younger than a week: not by age.
            (found(true, "delete", week, Some(-1), MessageTime::Now), "from 833"),
            (found(true, "delete", Some(24 * 3_600_000), Some(-1), MessageTime::Now), "from 900"),
            (found(true, "delete", week, Some(1), MessageTime::Now), "from 900"),
            (found(true, "delete", None, None, MessageTime::Now), "from 900"),
            (found(true, "delete", week, Some(-1), MessageTime::Event), "Err"),
            (found(true, "compact,delete", week, Some(-1), MessageTime::Now), "Err"),
            (found(false, "compact", week, Some(-1), MessageTime::Now), "Err"),
            // The cleanup policy is not known.
            (found(false, "", None, None, MessageTime::Now), "Err"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
