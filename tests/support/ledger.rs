use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

/// Counts how often each event arrived.
#[derive(Debug, Default)]
pub struct Ledger {
    counts: Mutex<BTreeMap<String, u32>>,
    unanswered: Mutex<BTreeMap<String, u32>>,
    order: Mutex<Vec<String>>,
}

impl Ledger {
    /// Enters the id of one event: its `id`, or `event.id`, or that of the record in an envelope.
    pub fn enter(&self, event: &Value) {
        let id = id(event);
        *self.counts.lock().unwrap().entry(id.clone()).or_default() += 1;
        self.order.lock().unwrap().push(id);
    }

    /// The event was entered, and its sender got no confirmation: it will come again.
    pub fn leave_unanswered(&self, event: &Value) {
        *self.unanswered.lock().unwrap().entry(id(event)).or_default() += 1;
    }

    /// Returns how often each id was entered without a confirmation to its sender.
    pub fn unanswered(&self) -> BTreeMap<String, u32> {
        self.unanswered.lock().unwrap().clone()
    }

    /// Every id with its count.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        self.counts.lock().unwrap().clone()
    }

    /// Ids in the order in which they came.
    pub fn order(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }

    /// Returns how many ids arrived more than once.
    pub fn repeated(&self) -> usize {
        self.counts().values().filter(|count| **count > 1).count()
    }
}

fn id(event: &Value) -> String {
    let id = ["/id", "/event/id", "/record/id"].iter().find_map(|pointer| event.pointer(pointer)?.as_str());
    id.unwrap_or("(without id)").to_owned()
}
