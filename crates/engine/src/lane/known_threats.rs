//! The unchanging parts of the threats that activities are about.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use s1_forwarder_record::repair;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::remembered::LaneMemory;
use crate::console::{ConsoleError, SecretRedactor};
use crate::source::read_list;

/// Maximum number of threats that a lane remembers.
const MAX_THREATS: usize = 10_000;
/// How long a lane remembers a threat.
const AGE: Duration = Duration::from_hours(1);
/// Bytes of a remembered threat in memory, in addition to its text.
const OVERHEAD: usize = 192;

/// Maximum bytes of a threat's text.
pub const MAX_THREAT_BYTES: usize = 2 * 1024;
/// Maximum number of indicator ids of a threat.
const INDICATORS: usize = 100;

/// The keys that keep their values while the threat is worked on, the most important first. The present state of the
/// threat says nothing about the time of an earlier activity.
const CONSTANT: [(&str, &[&str]); 3] = [
    (
        "threatInfo",
        &["sha256", "sha1", "md5", "storyline", "detectionType", "identifiedAt", "detectionEngines", "processUser"],
    ),
    (
        "agentDetectionInfo",
        &[
            "agentUuid",
            "agentVersion",
            "agentOsName",
            "agentOsRevision",
            "agentRegisteredAt",
            "externalIp",
            "agentDomain",
            "agentLastLoggedInUserName",
            "agentIpV4",
            "agentIpV6",
        ],
    ),
    ("agentRealtimeInfo", &["agentId", "agentOsType"]),
];

/// The threats that the lane remembers, as enrichments of records.
#[derive(Debug, Default)]
pub struct KnownThreats {
    threats: HashMap<CompactString, Bytes>,
    /// The ids of the threats, in the order in which they were fetched, with the time.
    ages: VecDeque<(Instant, CompactString)>,
}

impl KnownThreats {
    pub fn get(&self, id: &str) -> Option<&Bytes> {
        self.threats.get(id)
    }

    pub fn forget_old(&mut self, now: Instant, memory: &LaneMemory) {
        while self.ages.front().is_some_and(|(fetched, _)| now.duration_since(*fetched) >= AGE) {
            self.forget_oldest(memory);
        }
    }

    /// Remembers a threat, in place of older ones if there are too many. Does nothing if other lanes have all the
    /// memory.
    pub fn remember(&mut self, id: &CompactString, threat: &Bytes, now: Instant, memory: &LaneMemory) {
        if self.threats.contains_key(id) {
            return;
        }
        if self.threats.len() >= MAX_THREATS {
            self.forget_oldest(memory);
        }
        while !memory.keep(OVERHEAD + threat.len()) {
            if !self.forget_oldest(memory) {
                return;
            }
        }
        self.threats.insert(id.clone(), threat.clone());
        self.ages.push_back((now, id.clone()));
    }

    /// Forgets the oldest threat. Returns false if there is none.
    fn forget_oldest(&mut self, memory: &LaneMemory) -> bool {
        let Some((_, id)) = self.ages.pop_front() else { return false };
        if let Some(threat) = self.threats.remove(&id) {
            memory.release(OVERHEAD + threat.len());
        }
        true
    }
}

/// Reads a page of threats. Returns the id of each threat, and the enrichment that records get from it.
///
/// # Errors
/// If the body is not a page.
pub fn read(body: &[u8], redactor: &SecretRedactor) -> Result<Vec<(CompactString, Bytes)>, ConsoleError> {
    let page = read_list(body, redactor)?;
    let threats = page.records.iter().filter_map(|record| {
        let threat = read_item(record)?;
        let id = threat.get("id").and_then(Value::as_str)?;
        Some((id.into(), Bytes::from(json!({ "threat": constant(&threat) }).to_string())))
    });
    Ok(threats.collect())
}

/// Returns the part of a threat that does not change, in at most [`MAX_THREAT_BYTES`] bytes.
fn constant(threat: &Value) -> Value {
    let indicators = threat.get("indicators").and_then(Value::as_array).into_iter().flatten();
    let ids = indicators.filter_map(|indicator| indicator.get("ids")?.as_array()).flatten();
    let ids: Vec<u64> = ids.filter_map(Value::as_u64).take(INDICATORS).collect();
    let mut kept = Map::new();
    let mut room = MAX_THREAT_BYTES;
    let mut add = |kept: &mut Map<String, Value>, key: &str, value: Value| {
        let size = key.len() + value.to_string().len() + 8;
        if size <= room {
            room -= size;
            kept.insert(key.to_owned(), value);
        }
    };
    for (block, keys) in CONSTANT {
        let mut values = Map::new();
        for key in keys {
            if let Some(value) = threat.get(block).and_then(|block| block.get(key)) {
                add(&mut values, key, value.clone());
            }
        }
        kept.insert(block.to_owned(), Value::Object(values));
    }
    add(&mut kept, "indicators", json!([{ "ids": ids }]));
    Value::Object(kept)
}

/// Parses a record, or an item of a list. Notes are texts that people paste, so an item that is not JSON is repaired
/// like a record. Returns `None` if it cannot be repaired.
pub fn read_item(item: &[u8]) -> Option<Value> {
    serde_json::from_slice(item).ok().or_else(|| serde_json::from_str(&repair(item)?).ok())
}
