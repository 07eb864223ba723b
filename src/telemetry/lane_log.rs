//! What a lane's log says of single events.

use tracing::warn;

use super::LaneMetrics;
use super::notices::{Notice, Notices};
use crate::record::Timestamp;

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
        let notices = [&self.dead_letter_notices, &self.map_error_notices, &self.repair_notices];
        notices.into_iter().any(Notices::has_any)
            || self.with_program_notices(Notices::has_any) == Some(true)
            || self.with_overflow_notices(Notices::has_any) == Some(true)
            || self.with_enrichment_notices(Notices::has_any) == Some(true)
            || self.with_label_notices(Notices::has_any) == Some(true)
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

    use parking_lot::Mutex;

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
