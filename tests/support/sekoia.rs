use std::collections::BTreeMap;

use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use super::double::{Contract, Received, Reply};

const REQUEST_BYTES: usize = 10 << 20;
const EVENT_BYTES: usize = 250_000;

/// An intake of Sekoia.io.
pub struct Sekoia {
    pub key: String,
    /// Requests that are answered with 429 from now on.
    pub throttled: u32,
    /// An event with this text is not accepted, and the answer has one id less.
    pub swallows: Option<&'static str>,
    /// The events as they were written, with their times.
    pub events: Vec<(String, Option<String>)>,
}

impl Default for Sekoia {
    fn default() -> Self {
        Self { key: "in\"take".to_owned(), throttled: 0, swallows: None, events: Vec::new() }
    }
}

impl Contract for Sekoia {
    fn delivers(&self, asked: &Received) -> bool {
        asked.bytes != b"[]"
    }

    fn answer(&mut self, asked: &Received) -> Reply {
        self.take(asked)
            .unwrap_or_else(|(status, message)| Reply::new(status, json!({ "message": message }).to_string()))
    }
}

impl Sekoia {
    /// How often each event is there.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for (event, _) in &self.events {
            *counts.entry(event.clone()).or_default() += 1;
        }
        counts
    }

    fn take(&mut self, asked: &Received) -> Result<Reply, (u16, &'static str)> {
        if asked.method != "POST" {
            return Err((405, "method"));
        }
        if self.throttled > 0 {
            self.throttled -= 1;
            return Err((429, "slow down"));
        }
        if asked.bytes.len() > REQUEST_BYTES {
            return Err((413, "too large"));
        }
        let body = asked.json().ok_or((400, "no JSON"))?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or((400, "no text"));
        let known = |key: &Value| if *key == self.key { Ok(()) } else { Err((403, "The intake key is invalid")) };
        let events: Vec<(String, Option<String>)> = match asked.path.as_str() {
            "/jsons" => {
                known(&json!(asked.header("x-sekoiaio-intake-key")))?;
                Vec::new()
            }
            "/batch" => {
                known(&body["intake_key"])?;
                let events = body["jsons"].as_array().ok_or((400, "no list"))?;
                events.iter().map(|event| Ok((text(event)?, None))).collect::<Result<_, _>>()?
            }
            "/array" => {
                let events = body.as_array().ok_or((400, "no list"))?;
                let read = |event: &Value| {
                    known(&event["intake_key"])?;
                    let time = text(&event["timestamp"])?;
                    Timestamp::parse(&time).map_err(|_| (400, "no time"))?;
                    Ok((text(&event["json"])?, Some(time)))
                };
                events.iter().map(read).collect::<Result<_, _>>()?
            }
            _ => return Err((404, "no such address")),
        };
        if events.iter().any(|(event, _)| json!(event).to_string().len() > EVENT_BYTES) {
            return Err((400, "an event is too long"));
        }
        let taken = events.into_iter().filter(|(event, _)| self.swallows.is_none_or(|text| !event.contains(text)));
        let before = self.events.len();
        self.events.extend(taken);
        let ids: Vec<String> = (before..self.events.len()).map(|number| format!("uuid-{number}")).collect();
        Ok(Reply::new(200, json!({ "event_ids": ids }).to_string()))
    }
}
