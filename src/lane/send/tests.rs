use std::time::Duration;

use super::*;
use crate::checkpoint::ledger::Ledger;
use crate::record::{Clock, Identity, Stream};
use crate::sink::Batch;
use crate::source::{Known, Pull, RecordKey};

/// A sink that commits the checkpoint with the events is given what is true once it has taken them.
#[test]
fn a_checkpoint_that_goes_along_knows_what_the_sink_is_about_to_take_and_no_more() {
    let start = Timestamp::from_micros(1_700_000_000_000_000);
    let pull = Pull::of(Stream::Activities);
    let passes = pull.passes();
    let mut position = SourcePosition::starting_at(start.minus(Duration::from_secs(3600)));
    position.align(&passes);
    let (host, scope) = ("console.example".into(), "".into());
    let since_resolved = position.bound();
    let ledger = Ledger::begin(since_resolved, String::new(), false);
    let since = "1h".into();
    let mut before = LaneCheckpoint::begin(host, scope, since, since_resolved, position, ledger);
    before.settled = 5;
    before.ledger.release([7]);

    let times = [3, 2, 1].map(|minutes| start.minus(Duration::from_secs(60 * minutes)));
    let mut batch = Batch::new(Stream::Activities);
    let record_keys = (1..).zip(times).map(|(id, time)| {
        let identity = Identity::of("console.example", Stream::Activities, &id.to_string(), "");
        batch.push_with(&id.to_string(), identity, Some(time), |_| None);
        RecordKey { id, version: id, content: None, time, created: Some(time) }
    });
    let record_keys = record_keys.collect();
    let context = PollContext { start, ..PollContext::default() };
    let newest = Some(times[2]);
    let pending = PendingBatch { record_keys, newest, context, batch, ..PendingBatch::new(Stream::Activities) };

    let journal = JournalChange { appends: Vec::new(), dropped: vec![7] };
    let unchanged = before.clone();
    for (settled, until) in [(&[0, 2][..], before.position.of_pass(0).unwrap().watermark), (&[0, 1, 2], times[2])] {
        let (_, covering) = covering(&before, &journal, &passes, &pending, settled, Clock::System.now());
        assert_eq!(covering.journal, journal);
        let LaneCheckpoint { position, settled: count, .. } = LaneCheckpoint::decode(&covering.checkpoint).unwrap();
        let is_known = |record_key| position.knows(&passes[0], context, record_key, true) == Known::Taken;
        let known = pending.record_keys.iter().map(is_known);
        let known: Vec<usize> = known.enumerate().filter(|(_, known)| *known).map(|(index, _)| index).collect();
        assert_eq!(
            (known.as_slice(), position.of_pass(0).unwrap().watermark, count),
            (settled, until, 5 + settled.len() as u64)
        );
    }
    assert_eq!(before, unchanged);
}
