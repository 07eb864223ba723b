//! The end of a poll: it enters the checkpoint, and says whether the console is silent.

use s1_forwarder_telemetry::Silence;
use tracing::{info, warn};

use super::Lane;
use super::checkpoint_writer::CheckpointWriter;
use super::lane_checkpoint::LaneCheckpoint;
use super::pull::Polled;
use super::send::report;
use super::verdict::NotStored;
use crate::checkpoint::ledger::repair_between;
use crate::source::{ObservedRecords, Pass, PollContext, PollEnd, Rhythm};

/// Stores how the poll has ended. All records of the poll must be settled.
///
/// # Errors
/// If the checkpoint could not be written, and another attempt would not help.
pub async fn finish(
    lane: &Lane,
    passes: &[Pass],
    checkpoint: &mut LaneCheckpoint,
    writer: &mut CheckpointWriter,
    polled: &Polled,
) -> Result<(), NotStored> {
    let Polled { context, end, observed } = polled;
    let context = *context;
    if let (PollEnd::Complete, Some(observed)) = (end, observed) {
        observe(lane, &mut checkpoint.rhythm, context, observed);
    }
    let position = &mut checkpoint.position;
    match end {
        PollEnd::Complete => position.finish(passes, context, lane.pull.has_marker()),
        PollEnd::Unavailable => {
            // No lane of findings says whether the console is silent.
            lane.metrics().set_silence(Silence::NotJudged);
            position.pass_over(passes, context);
        }
        PollEnd::NotDue | PollEnd::Scopes(_) => {}
    }
    if matches!(end, PollEnd::Complete | PollEnd::Unavailable) {
        // A complete snapshot is stored at once: after a kill its event would be sent again.
        match context.snapshot {
            Some(_) => writer.events_settled(false),
            None => writer.moved_on(),
        }
        report(lane.metrics(), &checkpoint.position);
    }
    while !writer.is_idle() {
        writer.write_due(checkpoint).await?;
    }
    Ok(())
}

/// Adds the observations of a complete poll to the lane's rhythm, and reports whether the console is silent.
fn observe(lane: &Lane, rhythm: &mut Rhythm, context: PollContext, observed: &ObservedRecords) {
    let pull = &lane.pull;
    if pull.window.is_some() {
        return;
    }
    let metrics = lane.metrics();
    let was_silent = metrics.silence().is_silent();
    let is_main = context.pass == 0 && pull.stream.description().has_own_time() && !pull.is_snapshot();
    let missed = rhythm.missed(observed, pull.overlap, was_silent).filter(|_| was_silent || is_main);
    rhythm.complete(observed, context.start, context.pass == 0);
    lane.meter().measure_latency_from(rhythm.latency_from(pull));
    metrics.set_newest_record(rhythm.newest());
    let silence = rhythm.silence(pull);
    metrics.set_silence(silence);
    if let Some((from, to)) = missed {
        let repair = repair_between(from, to, pull.settles_after(), &lane.file, &lane.state_flags);
        let text = format!("the console has shown no records from {from:.0} to {to:.0} although it had some; {repair}");
        warn!("{text}");
        metrics.add_repair(text, Some(to));
    }
    let is_silent = silence.is_silent();
    if is_silent != was_silent {
        let newest_record = rhythm.newest().map(|newest| newest.to_string());
        let after = rhythm.threshold(pull).map(|threshold| threshold.as_secs());
        if is_silent {
            warn!(
                newest_record,
                after_seconds = after,
                "the console is silent: it has shown nothing new for longer than usual"
            );
        } else {
            info!(newest_record, "the console is not silent any more");
        }
    }
}
