//! What the state store and the stores of dead letters return: it may be damaged, or another program may have written
//! it.

use super::{Target, outline};
use crate::checkpoint::ledger::Ledger;
use crate::dead_letters::DeadLetter;
use crate::lane::{LaneCheckpoint, copy_of};
use crate::record::{Identity, LaneId, Stream, Timestamp};
use crate::source::SourcePosition;
use crate::state::dead_letters::fuzzed;
use crate::state::envelope;
use crate::usage::{CountedTime, Delta, Usage, hour_of};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn checkpoint(records: u64) -> LaneCheckpoint {
    let mut ledger = Ledger::begin(NOW.minus(std::time::Duration::from_hours(24)), "1d".to_owned(), true);
    for number in 0..records {
        let created = NOW.minus(std::time::Duration::from_secs(number * 100));
        let identity = Identity::of("console.example", Stream::Threats, &number.to_string(), "");
        ledger.count(created, identity);
        ledger.remember(created, number, NOW);
    }
    let position = SourcePosition::starting_at(NOW);
    let words = ["console.example", "siteIds=7", "1d"].map(Box::from);
    let [host, scope, since] = words;
    let mut checkpoint = LaneCheckpoint::begin(host, scope, since, NOW, position, ledger);
    checkpoint.settled = records;
    checkpoint
}

#[test]
fn checkpoints() {
    let mut seeds = Vec::new();
    for records in [0, 1, 50, 700] {
        let bytes = checkpoint(records).encode();
        seeds.push([&[0][..], &bytes].concat());
        seeds.push([&[0][..], &copy_of(&checkpoint(records))].concat());
        seeds.push([&[1][..], &envelope::seal(&bytes)].concat());
    }
    Target { name: "checkpoints", seeds, words: &["S1FWSTAT", "\u{2}", "\u{7f}"], header: 1 }.run(|input| {
        let Some((kind, bytes)) = input.split_first() else { return String::new() };
        let opened = match kind % 2 {
            0 => envelope::open(&envelope::seal(bytes), "a test").unwrap(),
            _ => match envelope::open(bytes, "a test") {
                Ok(opened) => opened,
                Err(error) => return outline(&error.to_string()),
            },
        };
        match LaneCheckpoint::decode(&opened) {
            Ok(checkpoint) => {
                // What was read can be written and read again.
                let again = LaneCheckpoint::decode(&checkpoint.encode()).unwrap();
                assert_eq!(again, checkpoint);
                let mut ledger = checkpoint.ledger.clone();
                ledger.take_appends(NOW);
                ledger.count(NOW, Identity::of("h", Stream::Threats, "1", ""));
                checkpoint.position.key_count().min(9).to_string()
            }
            Err(error) => outline(&error.to_string()),
        }
    });
}

/// What lanes did: as it is stored, and what is compressed in it.
#[test]
fn usages() {
    let mut usage = Usage::default();
    for hour in 0..200_u32 {
        let now = NOW.minus(std::time::Duration::from_hours(1) * (200 - hour));
        let mut delta = Delta::default();
        delta.at(now).events = 7;
        delta.verify(hour_of(now), u64::from(hour % 3), now);
        usage.add(&delta, CountedTime { from: now, until: now, is_over: false, write: (u64::from(hour), 1) });
    }
    let bytes = usage.encode();
    let columns = zstd::bulk::decompress(&bytes[1..], 1 << 20).unwrap();
    let seeds = vec![[&[0][..], &columns].concat(), [&[1][..], &bytes].concat()];
    Target { name: "usages", seeds, words: &["\u{7f}"], header: 1 }.run(|input| {
        let Some((kind, bytes)) = input.split_first() else { return String::new() };
        let bytes = match kind % 2 {
            0 => [&[1], &zstd::bulk::compress(bytes, 1).unwrap()[..]].concat(),
            _ => bytes.to_owned(),
        };
        match Usage::decode(&bytes) {
            Ok(mut usage) => {
                let period = usage.within(NOW.minus(std::time::Duration::from_hours(960)), NOW);
                let recent = usage.events_of_day(NOW, 1);
                usage.merge(&usage.clone());
                Usage::decode(&usage.encode()).unwrap();
                format!("{} {}", period.not_counted.len().min(3), recent > 0)
            }
            Err(error) => outline(&error.to_string()),
        }
    });
}

#[test]
fn dead_letters() {
    let lane = LaneId::new("acme", Stream::Threats, "siem");
    let mut seeds = Vec::new();
    for event in [&b"{\"a\":1}"[..], b"two\nlines", b"\xff\xfe", b""] {
        let mut line = Vec::new();
        let dead_letter = DeadLetter {
            time: NOW,
            lane: &lane,
            identity: Identity::of("host", Stream::Threats, "1", ""),
            record_id: "1",
            status: "400",
            reason: "a field",
            event_time: Some(NOW),
            error: Some("an error"),
            labels: None,
            truncated: false,
            event,
        };
        fuzzed::write_line(&dead_letter, &mut line);
        seeds.push([&[0][..], line.trim_ascii_end()].concat());
        #[cfg(feature = "kubernetes")]
        seeds.push([&[1][..], &fuzzed::compress(&line).unwrap()].concat());
    }
    let words =
        &["event", "event_text", "event_base64", "identity", "labels", "truncated", "v", "time", "\u{1f}\u{8b}"];
    Target { name: "dead_letters", seeds, words, header: 1 }.run(|input| {
        let Some((kind, bytes)) = input.split_first() else { return String::new() };
        #[cfg(feature = "kubernetes")]
        if kind % 2 == 1 {
            return match fuzzed::decompress(bytes) {
                Ok(lines) => {
                    let kept = fuzzed::append(&lines, b"");
                    assert!(kept.len() <= lines.len());
                    format!("{}", fuzzed::lines(&lines).count().min(20))
                }
                Err(error) => outline(&error.to_string()),
            };
        }
        let _ = kind;
        match fuzzed::parse_line(bytes) {
            Ok(stored) => {
                let line = stored.to_json();
                assert!(!line.contains('\n'), "one line each");
                assert_eq!(fuzzed::parse_line(line.as_bytes()).as_ref(), Ok(&stored), "{line}");
                format!("{:?} {} {}", stored.lane.stream, stored.truncated, stored.event.len().min(9))
            }
            Err(error) => outline(&error),
        }
    });
}
