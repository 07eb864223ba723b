//! The sizes of events as the destination counts them.

use s1_forwarder_telemetry::DeliveredEvent;

use crate::sink::Batch;

/// The bytes of each event of a batch as the destination counts them; `None` if it counts the bodies.
#[derive(Debug, Default)]
pub(super) struct EventBytes(Option<Vec<u32>>);

impl EventBytes {
    /// Enters the bytes of the events of `request`, in its order.
    pub fn set(&mut self, batch: &Batch, request: &[usize], event_bytes: &[u32]) {
        let all = self.0.get_or_insert_with(|| vec![0; batch.len()]);
        for (index, bytes) in request.iter().zip(event_bytes) {
            if let Some(counted) = all.get_mut(*index) {
                *counted = *bytes;
            }
        }
    }

    /// Returns what the meter counts of a delivered event.
    pub fn delivered_event<'a>(&self, batch: &'a Batch, index: usize) -> Option<DeliveredEvent<'a>> {
        let event = batch.event(index)?;
        let counted = self.0.as_ref().and_then(|event_bytes| event_bytes.get(index));
        let bytes = counted.map_or(event.body.len() as u64, |bytes| u64::from(*bytes));
        Some(DeliveredEvent { bytes, time: event.time, labels: event.labels.map(|labels| &**labels) })
    }
}
