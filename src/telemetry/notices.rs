//! What a lane's log says of single events: one line a minute for each kind, with their number and an example.

use std::time::Duration;

use parking_lot::Mutex;
use tracing::warn;

use super::LaneMetrics;
use crate::record::Timestamp;

/// Between two lines of one kind.
const PERIOD: Duration = Duration::from_secs(60);

/// Events of one kind that the log has not reported yet. A lane without such events allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Option<Box<Pending>>>);

#[derive(Debug)]
struct Pending {
    told_at: Timestamp,
    untold: Option<Notice>,
}

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
struct Notice {
    count: u64,
    /// The reason and the record of one of the events.
    reason: Box<str>,
    record_id: Box<str>,
}

impl Notices {
    /// The first event is reported at once, and those of the following minute together.
    fn add(&self, now: Timestamp, count: u64, reason: &str, record_id: &str) -> Option<Notice> {
        let mut pending = self.0.lock();
        let notice = || Notice { count, reason: reason.into(), record_id: record_id.into() };
        match pending.as_deref_mut() {
            None => {
                *pending = Some(Box::new(Pending { told_at: now, untold: None }));
                Some(notice())
            }
            Some(pending) => {
                match &mut pending.untold {
                    Some(untold) => untold.count = untold.count.saturating_add(count),
                    None => pending.untold = Some(notice()),
                }
                pending.take_due(now)
            }
        }
    }

    /// What is to be reported at `now`; at the end of the lane (`None`) whatever is left.
    fn take(&self, now: Option<Timestamp>) -> Option<Notice> {
        let mut pending = self.0.lock();
        let pending = pending.as_deref_mut()?;
        match now {
            Some(now) => pending.take_due(now),
            None => pending.untold.take(),
        }
    }
}

impl Pending {
    fn take_due(&mut self, now: Timestamp) -> Option<Notice> {
        if now.since(self.told_at) < PERIOD {
            return None;
        }
        let untold = self.untold.take()?;
        self.told_at = now;
        Some(untold)
    }
}

/// The callers run within the lane's span, which names the lane. `list` returns the command that lists dead letters.
impl LaneMetrics {
    /// `count` events became dead letters, one of them for `reason`.
    pub fn tell_dead_letters(
        &self,
        now: Timestamp,
        count: u64,
        reason: &str,
        record_id: &str,
        list: impl FnOnce() -> String,
    ) {
        if let Some(notice) = self.dead_letter_notices.add(now, count, reason, record_id) {
            warn_dead_letters(&notice, &list());
        }
    }

    /// A record could not be mapped, for `reason`.
    pub fn tell_map_error(&self, now: Timestamp, reason: &str, record_id: &str) {
        if let Some(notice) = self.map_error_notices.add(now, 1, reason, record_id) {
            warn_map_errors(&notice);
        }
    }

    /// A program of the user failed on the event of a record, for `reason`, and was counted.
    pub fn tell_program_error(&self, now: Timestamp, reason: &str, record_id: &str) {
        let notice = self.with_program_notices(|notices| notices.add(now, 1, reason, record_id));
        if let Some(notice) = notice.flatten() {
            warn_program_errors(&notice);
        }
    }

    /// A record was no valid JSON and was repaired.
    pub fn tell_repair(&self, now: Timestamp, record_id: &str) {
        if let Some(notice) = self.repair_notices.add(now, 1, "", record_id) {
            warn_repairs(&notice);
        }
    }

    /// A record exceeds a bound, and was counted.
    pub fn tell_overflow(&self, now: Timestamp, record_id: &str) {
        let notice = self.with_overflow_notices(|notices| notices.add(now, 1, "", record_id));
        if let Some(notice) = notice.flatten() {
            warn_overflows(&notice);
        }
    }

    /// What `include` names could not be fetched for a record, which was counted.
    pub fn tell_not_enriched(&self, now: Timestamp, reason: &str, record_id: &str) {
        let notice = self.with_enrichment_notices(|notices| notices.add(now, 1, reason, record_id));
        if let Some(notice) = notice.flatten() {
            warn_not_enriched(&notice);
        }
    }

    /// The labels of a record have the value `other`, and it was counted.
    pub fn tell_labelled_other(&self, now: Timestamp, record_id: &str) {
        let notice = self.with_label_notices(|notices| notices.add(now, 1, "", record_id));
        if let Some(notice) = notice.flatten() {
            warn_other_labels(&notice);
        }
    }

    /// True if [`Self::tell_pending`] may have something to tell.
    pub fn has_pending(&self) -> bool {
        let has_any = |notices: &Notices| notices.0.lock().is_some();
        let notices = [&self.dead_letter_notices, &self.map_error_notices, &self.repair_notices];
        notices.into_iter().any(has_any)
            || self.with_program_notices(has_any) == Some(true)
            || self.with_overflow_notices(has_any) == Some(true)
            || self.with_enrichment_notices(has_any) == Some(true)
            || self.with_label_notices(has_any) == Some(true)
    }

    /// Tells what waits for its minute to be over; at the end of the lane (`None`) whatever is left.
    pub fn tell_pending(&self, now: Option<Timestamp>, list: impl FnOnce() -> String) {
        if let Some(notice) = self.dead_letter_notices.take(now) {
            warn_dead_letters(&notice, &list());
        }
        if let Some(notice) = self.map_error_notices.take(now) {
            warn_map_errors(&notice);
        }
        if let Some(notice) = self.repair_notices.take(now) {
            warn_repairs(&notice);
        }
        if let Some(notice) = self.with_program_notices(|notices| notices.take(now)).flatten() {
            warn_program_errors(&notice);
        }
        if let Some(notice) = self.with_overflow_notices(|notices| notices.take(now)).flatten() {
            warn_overflows(&notice);
        }
        if let Some(notice) = self.with_enrichment_notices(|notices| notices.take(now)).flatten() {
            warn_not_enriched(&notice);
        }
        if let Some(notice) = self.with_label_notices(|notices| notices.take(now)).flatten() {
            warn_other_labels(&notice);
        }
    }
}

fn warn_dead_letters(notice: &Notice, list: &str) {
    let Notice { count, reason, record_id } = notice;
    warn!(count, %reason, %record_id, list, "events were refused: they are stored as dead letters");
}

fn warn_map_errors(notice: &Notice) {
    let Notice { count, reason, record_id } = notice;
    warn!(count, %reason, %record_id, "records could not be mapped: they are forwarded as error events");
}

fn warn_program_errors(notice: &Notice) {
    let Notice { count, reason, record_id } = notice;
    warn!(count, %reason, %record_id, "a program of the pipeline failed on events: transform.on_error says what follows");
}

fn warn_repairs(Notice { count, record_id, .. }: &Notice) {
    warn!(
        count,
        %record_id,
        "records are not valid JSON; they were repaired, with U+FFFD in place of what is no character"
    );
}

fn warn_overflows(Notice { count, record_id, .. }: &Notice) {
    warn!(
        count,
        %record_id,
        "records have more than 10,000 members in an object or values in a list, or too many levels; what is beyond is in \
         the text `overflow` of their events"
    );
}

fn warn_not_enriched(notice: &Notice) {
    let Notice { count, reason, record_id } = notice;
    warn!(count, %reason, %record_id, "what `include` names could not be fetched for records: they go without it");
}

fn warn_other_labels(Notice { count, record_id, .. }: &Notice) {
    warn!(
        count,
        %record_id,
        "the console names more different labels than a lane keeps (1,000 sets, 1 MiB): those of more records are `other`"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::record::{Clock, Stream};
    use crate::telemetry::{Meter, Telemetry};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_event_is_told_at_once_and_the_others_together_after_a_minute() {
        let begin = Timestamp::from_micros(1_790_000_000_000_000);
        let at = |second| begin.plus(Duration::from_secs(second));
        let reported = |count, id: &str| Some(Notice { count, reason: "no field".into(), record_id: id.into() });
        let notices = Notices::default();
        assert_eq!(notices.take(None), None);
        assert_eq!(notices.add(at(0), 3, "no field", "1"), reported(3, "1"));
        assert_eq!(notices.add(at(1), 2, "no field", "4"), None);
        assert_eq!(notices.add(at(59), 5, "another", "6"), None);
        assert_eq!(notices.take(Some(at(59))), None);
        // Also without a further event.
        assert_eq!(notices.take(Some(at(60))), reported(7, "4"));
        assert_eq!(notices.take(Some(at(500))), None);
        assert_eq!(notices.add(at(119), 1, "no field", "8"), None, "a minute after the last line");
        assert_eq!(notices.add(at(120), 1, "no field", "9"), reported(2, "8"));
        assert_eq!(notices.add(at(121), 1, "no field", "10"), None);
        assert_eq!(notices.take(None), reported(1, "10"), "at the lane's end");
        assert_eq!(notices.take(None), None);
    }

    #[test]
    fn failures_of_the_mapping_and_of_programs_are_counted_and_logged_once_a_minute() {
        let log = Buffer::default();
        let lines = log.clone();
        let writer = tracing_subscriber::fmt().with_writer(move || lines.clone()).with_ansi(false).finish();
        let telemetry = Arc::new(Telemetry::new());
        let meter = Meter::start(&telemetry, "acme", Stream::Threats, "siem", "http", Clock::System);
        tracing::subscriber::with_default(writer, || {
            (1..4).for_each(|id| meter.not_mapped("`id` is missing", &id.to_string()));
            (1..9).for_each(|id| meter.program_failed(&format!("remap: {id} is no text"), id == 8, &id.to_string()));
            meter.lane.tell_pending(None, String::new);
        });
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        let counted = [&meter.lane.map_errors, &meter.lane.remap_errors].map(|count| count.load(Ordering::Relaxed));
        assert_eq!((lines.len(), counted, meter.lane.remap_overruns()), (4, [3, 8], 1), "{log}");
        assert!(lines[0].contains("WARN") && lines[0].contains("count=1 reason=`id` is missing record_id=1"), "{log}");
        assert!(lines[1].contains("count=1 reason=remap: 1 is no text record_id=1"), "{log}");
        assert!(lines[2].contains("count=2 reason=`id` is missing record_id=2"), "{log}");
        assert!(lines[3].contains("count=7 reason=remap: 2 is no text record_id=2"), "{log}");
    }
}
