use std::time::Duration;

use super::*;
use crate::record::{Identity, Stream};
use crate::sink::Batch;
use crate::source::{Checkpoint, Known, Mark};
use crate::state::ledger::Ledger;

/// A sink that commits the checkpoint with the events is given what is true once it has taken them.
#[test]
fn a_checkpoint_that_goes_along_knows_what_the_sink_is_about_to_take_and_no_more() {
    let start = Timestamp::from_micros(1_700_000_000_000_000);
    let pull = Pull::of(Stream::Activities);
    let passes = pull.passes();
    let mut position = Position::starting_at(start.minus(Duration::from_secs(3600)));
    position.align(&passes);
    let (host, scope) = ("console.example".to_owned(), String::new());
    let since_resolved = position.bound();
    let checkpoint = Checkpoint { host, scope, since: "1h".to_owned(), since_resolved, position, settled: 5 };
    let before = Standing { checkpoint, ledger: Ledger::begin(since_resolved, String::new(), false) };

    let times = [3, 2, 1].map(|minutes| start.minus(Duration::from_secs(60 * minutes)));
    let mut batch = Batch::new(Stream::Activities);
    let marks = (1..).zip(times).map(|(id, time)| {
        let identity = Identity::of("console.example", Stream::Activities, &id.to_string(), "");
        batch.push_with(&id.to_string(), identity, Some(time), |_| None);
        Mark { id, version: id, content: None, time, created: Some(time) }
    });
    let marks = marks.collect();
    let round = Round { start, ..Round::default() };
    let watermark = Some(times[2]);
    let parcel = Parcel { batch: Arc::new(batch), marks, dropped: Vec::new(), watermark, round, reservation: None };
    let lane = LaneId { pipeline: "acme".to_owned(), stream: Stream::Activities, sink: "siem".to_owned() };
    let clock = Clock::System;
    let journal = JournalChange { appends: Vec::new(), dropped: vec![7] };
    let following = Following { parcel: Arc::new(parcel), lane, before: before.clone(), journal, passes, clock };

    for (settled, until) in [(&[0, 2][..], before.checkpoint.position.watermark()), (&[0, 1, 2], times[2])] {
        let covering = following.covering(settled);
        assert_eq!(covering.journal, following.journal);
        let Checkpoint { position, settled: count, .. } = Standing::decode(&covering.checkpoint).unwrap().checkpoint;
        let pass = &following.passes[0];
        let known = following.parcel.marks.iter().map(|mark| position.knows(pass, round, mark, true) == Known::Taken);
        let known: Vec<usize> = known.enumerate().filter(|(_, known)| *known).map(|(index, _)| index).collect();
        assert_eq!((known.as_slice(), position.watermark(), count), (settled, until, 5 + settled.len() as u64));
    }
    assert_eq!(following.before, before);
}
