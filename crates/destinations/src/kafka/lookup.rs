//! Reads a topic back, once, and answers from the identities that were in it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memchr::memmem;
use parking_lot::Mutex;
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Kept, Lookup, SortedIdentities, Unproven};
use s1_forwarder_failure::Failure;
use s1_forwarder_kafka::{Connect, Retention, SentEvent, Topic};
use s1_forwarder_record::{Identity, Timestamp};

use super::options::Options;
use super::settings::MessageTime;

/// Identities that are looked up at a time.
const MOST: usize = 100_000;
/// The digits of an identity.
const DIGITS: usize = 32;
/// Where events of each schema have their identity.
const MEMBERS: [&[u8]; 2] = [b"\"identity", b"\"uid"];
/// Words of events and of the console's records.
const WORDS: [&[u8]; 3] = [b"sentinel", b"Sentinel", b"createdAt"];
/// The clock of the brokers may differ from ours by this.
const CLOCKS: Duration = Duration::from_secs(3_600);

pub(super) struct TopicLookup {
    pub(super) options: Options,
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) pipeline: String,
    pub(super) stream: &'static str,
    pub(super) timestamp: MessageTime,
    pub(super) copy: Mutex<Option<Copy>>,
}

/// What was in the topic.
pub(super) struct Copy {
    at: Timestamp,
    sorted: SortedIdentities,
    /// Identities in messages that may be copies of the lane's, whose headers somebody has changed.
    doubted: SortedIdentities,
    /// Messages of the lane, or of a lane that they do not name, that have no identity.
    without: u64,
    retention: Retention,
}

impl fmt::Debug for TopicLookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TopicLookup").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicLookup {
    async fn read(&self, patience: Duration) -> Result<Copy, Unproven> {
        let at = Timestamp::now();
        let config = self.options.resolve().map_err(|error| Unproven::NoProof(error.to_string()))?;
        let topic = Topic::of_events(Connect::new(config, None), &self.topic);
        let found = Arc::new(Mutex::new((IdentitySorter::default(), IdentitySorter::default(), 0)));
        let of_reader = found.clone();
        let pipeline = self.pipeline.clone();
        let stream = self.stream;
        let read = topic.read_back(patience, move |message| {
            let (sorter, doubts, without) = &mut *of_reader.lock();
            let Named { own, doubted, is_unnamed } = Named::of(&message, &pipeline, stream);
            *without += u64::from(is_unnamed);
            own.into_iter().try_for_each(|identity| sorter.add(identity))?;
            doubted.into_iter().try_for_each(|identity| doubts.add(identity))
        });
        let retention = read.await.map_err(|failure| match failure {
            Failure::Transient { reason, after } => Unproven::Later { reason, after },
            failure => Unproven::NoProof(failure.to_string()),
        })?;
        let no_topic = || Unproven::NoProof(format!("there is no topic `{}`", self.topic));
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
    /// The event of the lane has these.
    own: BTreeSet<Identity>,
    /// The event may be known by these if somebody has changed its headers.
    doubted: BTreeSet<Identity>,
    /// It may be an event of the lane, and has none.
    is_unnamed: bool,
}

impl Named {
    fn of(message: &SentEvent<'_>, pipeline: &str, stream: &str) -> Self {
        let parsed = |id: &&[u8]| std::str::from_utf8(id).ok()?.parse().ok();
        let of_headers: BTreeSet<Identity> = message.ids.iter().filter_map(parsed).collect();
        let payload = payload(message.payload);
        let is_unnamed = payload == Payload::Unnamed && of_headers.is_empty();
        let mut of_event = match payload {
            Payload::Event(named) => named,
            Payload::Unnamed | Payload::Foreign => BTreeSet::new(),
        };
        let is_own = |values: &[&[u8]], own: &str| values.is_empty() || values.contains(&own.as_bytes());
        if !is_own(&message.pipelines, pipeline) || !is_own(&message.streams, stream) {
            of_event.extend(of_headers);
            // Each message of a lane of ours has an identity in its headers, unless somebody has changed them.
            return Self { is_unnamed: of_event.is_empty(), doubted: of_event, own: BTreeSet::new() };
        }
        // One header is ours alone. Of several, or of none, the event itself says which one it is.
        if message.ids.len() == 1 && !of_headers.is_empty() {
            return Self { doubted: &of_event - &of_headers, own: of_headers, is_unnamed };
        }
        of_event.extend(of_headers);
        Self { own: of_event, is_unnamed, ..Self::default() }
    }
}

/// What a message without an identity in its headers has, as after a copy that left the headers out.
#[derive(Debug, PartialEq, Eq)]
enum Payload {
    /// The identities that it names: that of the event, and perhaps ids of other things.
    Event(BTreeSet<Identity>),
    /// It may be an event of the lane.
    Unnamed,
    Foreign,
}

fn payload(bytes: &[u8]) -> Payload {
    let identities: BTreeSet<Identity> = MEMBERS.iter().flat_map(|name| identities_at(bytes, name)).collect();
    if !identities.is_empty() {
        return Payload::Event(identities);
    }
    // An event that is compressed or encoded says nothing.
    let is_json = bytes.trim_ascii_start().starts_with(b"{") && memmem::find(bytes, b"\\u00").is_none();
    let is_short_text = bytes.len() < DIGITS && std::str::from_utf8(bytes).is_ok();
    if (is_json || is_short_text) && WORDS.iter().all(|word| memmem::find(bytes, word).is_none()) {
        return Payload::Foreign;
    }
    Payload::Unnamed
}

/// The values of members of this name that may be identities, in JSON that may be a text of other JSON.
fn identities_at<'a>(bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Identity> + 'a {
    memmem::find_iter(bytes, name).filter_map(move |at| {
        let rest = bytes.get(at + name.len()..)?;
        let start = rest.iter().position(|byte| !b"\\\": ".contains(byte))?;
        std::str::from_utf8(rest.get(start..start + DIGITS)?).ok()?.parse().ok()
    })
}

fn not_read() -> Unproven {
    Unproven::NoProof("the topic was not read".to_owned())
}

fn unreadable(error: io::Error) -> Unproven {
    Unproven::NoProof(format!("a temporary file: {error}"))
}

/// Since when all messages are there that were sent.
fn kept(retention: &Retention, timestamp: MessageTime, now: Timestamp) -> Result<Kept, Unproven> {
    let Retention { is_trimmed, first, policy, millis, bytes } = retention;
    let Some(policy) = policy else {
        let reason = "the credentials may not read whether the topic is compacted (`DescribeConfigs`)";
        return Err(Unproven::NoProof(reason.to_owned()));
    };
    if policy.contains("compact") {
        let reason = "the topic is compacted: it keeps the newest message of each record alone";
        return Err(Unproven::NoProof(reason.to_owned()));
    }
    if !is_trimmed {
        return Ok(Kept::Everything);
    }
    if timestamp == MessageTime::Event {
        let reason = "the beginning of the topic was removed, and with `timestamp: event` nobody knows up to when";
        return Err(Unproven::NoProof(reason.to_owned()));
    }
    let first = first.unwrap_or(now);
    let removed = "the topic has nothing that was sent earlier";
    // The brokers remove by age what was sent before, and so nothing that was created later.
    let by_age = match (millis, bytes) {
        (Some(millis), Some(bytes)) if *bytes < 0 && *millis < 0 => return Ok(Kept::Everything),
        (Some(millis), Some(bytes)) if *bytes < 0 => {
            let kept = Duration::from_millis(u64::try_from(*millis).unwrap_or_default());
            Some(now.minus(kept.saturating_sub(CLOCKS)))
        }
        _ => None,
    };
    Ok(match by_age {
        Some(by_age) if by_age < first => Kept::From(by_age, format!("{removed} (`retention.ms`)")),
        _ => Kept::From(first, removed.to_owned()),
    })
}

#[async_trait]
impl Lookup for TopicLookup {
    fn asked(&self) -> String {
        let Self { topic, brokers, .. } = self;
        let without = self.copy.lock().as_ref().map_or(0, |copy| copy.without);
        let more = if without > 0 { format!("; {without} messages have no identity") } else { String::new() };
        format!("topic `{topic}` at {brokers}, by the header `id` or the event's own identity{more}")
    }

    fn most(&self) -> usize {
        MOST
    }

    /// An acknowledged message is there.
    fn visible_after(&self) -> Duration {
        Duration::ZERO
    }

    fn copied_at(&self) -> Option<Timestamp> {
        self.copy.lock().as_ref().map(|copy| copy.at)
    }

    async fn kept(&self, patience: Duration) -> Result<Kept, Unproven> {
        let copy = self.read(patience).await?;
        let kept = kept(&copy.retention, self.timestamp, copy.at)?;
        *self.copy.lock() = Some(copy);
        Ok(kept)
    }

    async fn refresh(&self, patience: Duration) -> Result<(), Unproven> {
        let copy = self.read(patience).await?;
        *self.copy.lock() = Some(copy);
        Ok(())
    }

    async fn copies(&self, identities: &[Identity]) -> Result<Vec<u32>, Unproven> {
        let mut copy = self.copy.lock();
        let copy = copy.as_mut().ok_or_else(not_read)?;
        copy.sorted.copies(identities).map_err(unreadable)
    }

    async fn elsewhere(&self, identities: &[Identity]) -> Result<Vec<Option<String>>, Unproven> {
        let without = self.copy.lock().as_ref().map_or(0, |copy| copy.without);
        if without > 0 {
            return Err(Unproven::NoProof(format!("{}: each may be an event that is not found", self.asked())));
        }
        let mut copy = self.copy.lock();
        let copy = copy.as_mut().ok_or_else(not_read)?;
        let doubted = copy.doubted.copies(identities).map_err(unreadable)?;
        let place = format!("`{}`, in messages with other headers", self.topic);
        Ok(doubted.into_iter().map(|copies| (copies > 0).then(|| place.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_headers_is_known_by_its_event() {
        let one = "9d5edec136b76dda4e8607e86dfbcbbc";
        let event = || Payload::Event([one.parse().unwrap()].into());
        for (text, expected) in [
            (format!(r#"{{"a":1,"sentinel_one":{{"identity":"{one}","x":{{}}}}}}"#), event()),
            (format!(r#"{{"metadata": {{"uid": "{one}"}}}}"#), event()),
            // In the envelope of a connector, and as a text in another event.
            (format!(r#"{{"schema":null,"payload":{{"sentinel_one":{{"identity":"{one}"}}}}}}"#), event()),
            (format!(r#"{{"event":"{{\"identity\":\"{one}\"}}"}}"#), event()),
            (r#"{"sentinel_one":{"activity":{}}}"#.to_owned(), Payload::Unnamed),
            // Raw records of the console.
            (r#"{"agentId":"3","id":"2","createdAt":"2026-01-01"}"#.to_owned(), Payload::Unnamed),
            (format!(r#"{{"threatInfo":{{"md5":"{one}","createdAt":"x"}},"id":"2"}}"#), Payload::Unnamed),
            ("CEF:0|SentinelOne|".to_owned(), Payload::Unnamed),
            ("eyJAdGltZXN0YW1wIjoiMjAyNi0wMS0wMVQwMDowMDowMFoifQ==".to_owned(), Payload::Unnamed),
            (r#"{"\u0069dentity":"\u0039\u0064\u0035\u0065"}"#.to_owned(), Payload::Unnamed),
            (r#"{"id":"2"}"#.to_owned(), Payload::Foreign),
            ("foreign".to_owned(), Payload::Foreign),
            (String::new(), Payload::Foreign),
        ] {
            assert_eq!(payload(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(payload(&[0x1f, 0x8b, 0x08, 0xff]), Payload::Unnamed, "compressed");
    }

    #[test]
    fn a_message_with_changed_headers_is_a_doubt() {
        let [one, other] = ["9d5edec136b76dda4e8607e86dfbcbbc", "0d5edec136b76dda4e8607e86dfbcbbc"];
        let event = format!(r#"{{"sentinel_one":{{"identity":"{one}"}}}}"#);
        for (ids, pipelines, own, doubted) in [
            (&[one][..], &["acme"][..], &[one][..], &[][..]),
            (&[one], &[], &[one], &[]),
            (&[], &["acme"], &[one], &[]),
            (&[other], &["acme"], &[other], &[one]),
            (&[one, other], &["acme"], &[one, other], &[]),
            (&["x"], &["acme"], &[one], &[]),
            (&[one], &["ACME"], &[], &[one]),
            (&[other], &[""], &[], &[one, other]),
        ] {
            let bytes = |texts: &[&'static str]| texts.iter().map(|text| text.as_bytes()).collect();
            let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
            let message = SentEvent {
                payload: event.as_bytes(),
                ids: bytes(ids),
                pipelines: bytes(pipelines),
                streams: bytes(&["threats"]),
            };
            let expected = Named { own: parsed(own), doubted: parsed(doubted), is_unnamed: false };
            assert_eq!(Named::of(&message, "acme", "threats"), expected, "{ids:?} {pipelines:?}");
        }
        // A record as it came has no identity, and a connector has wrapped the headers.
        let wrapped: &[u8] = br#"{"schema":{},"payload":"acme"}"#;
        let message = SentEvent {
            payload: br#"{"id":"2"}"#,
            ids: vec![wrapped],
            pipelines: vec![wrapped],
            streams: vec![wrapped],
        };
        assert_eq!(Named::of(&message, "acme", "threats"), Named { is_unnamed: true, ..Named::default() });
    }

    #[test]
    fn what_the_brokers_may_have_removed_is_not_judged() {
        let hour = |hour: i64| Timestamp::from_micros(hour * 3_600_000_000);
        let now = hour(1_000);
        let found = |is_trimmed, policy: &str, millis: Option<i64>, bytes: Option<i64>, timestamp| {
            let policy = Some(policy.to_owned()).filter(|policy| !policy.is_empty());
            let retention = Retention { is_trimmed, first: Some(hour(900)), policy, millis, bytes };
            match kept(&retention, timestamp, now) {
                Ok(Kept::Everything) => "everything".to_owned(),
                Ok(Kept::From(time, _)) => format!("from {}", time.micros() / 3_600_000_000),
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
            // Nobody may say.
            (found(false, "", None, None, MessageTime::Now), "Err"),
        ] {
            assert_eq!(found, expected);
        }
    }
}
