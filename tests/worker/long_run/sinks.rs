//! The sinks of a long run. They count events by pipeline and identity, and keep nothing else of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::double::{Contract, Memory, Received, Refusal, Reply};
use crate::support::elasticsearch::Elastic;
use crate::support::receiver::Rules;

/// What the ledger of a double enters for an event.
fn entry(pipeline: &str, identity: &str) -> Value {
    json!({ "id": key(pipeline, identity) })
}

/// The name of an event in a ledger: several pipelines deliver the records of one console to one sink.
pub fn key(pipeline: &str, identity: &str) -> String {
    format!("{pipeline}/{identity}")
}

/// A receiver of envelopes.
pub struct Envelopes(pub Rules);

impl Contract for Envelopes {
    fn answer(&mut self, request: &Received) -> Reply {
        let mut reply = self.0.answer(request);
        for event in &mut reply.accepted {
            *event = entry(event["pipeline"].as_str().unwrap(), event["id"].as_str().unwrap());
        }
        reply
    }

    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        self.0.admit(request)
    }

    fn undecodable(&self, refusal: Refusal) -> Reply {
        self.0.undecodable(refusal)
    }

    fn encodings(&self) -> &'static [&'static str] {
        self.0.encodings()
    }

    fn memory(&self) -> Memory {
        Memory::Nothing
    }
}

/// An Elasticsearch that refuses some documents of a request when they come for the first time.
pub struct Documents(pub Elastic);

impl Documents {
    pub fn new() -> Self {
        Self(Elastic { busy: 1, busy_ends: &['0', '7', 'c'], ..Elastic::new() })
    }
}

impl Contract for Documents {
    fn answer(&mut self, request: &Received) -> Reply {
        let actions: Vec<Value> = request.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ids = actions.iter().filter_map(|action| action["create"]["_id"].as_str());
        let new: BTreeSet<&str> = ids.filter(|id| !self.0.documents.contains_key(*id)).collect();
        let reply = self.0.answer(request);
        let stored = new.into_iter().filter(|id| self.0.documents.contains_key(*id));
        let events = stored.map(|id| entry(request.header("x-s1-forwarder-pipeline"), id)).collect();
        reply.accepting(events)
    }

    fn delivers(&self, request: &Received) -> bool {
        self.0.delivers(request)
    }

    fn memory(&self) -> Memory {
        Memory::Nothing
    }
}
