//! Lines of a lane's log about single events.

use s1_forwarder_record::Timestamp;
use tracing::warn;

use super::LaneMetrics;
use super::notices::{Notice, NoticeKind};

/// The callers run within the lane's span, which names the lane. `list` returns the command that lists dead letters.
impl LaneMetrics {
    /// Logs that `count` events became dead letters, one of them for `reason`.
    pub fn log_dead_letters(
        &self,
        now: Timestamp,
        count: u64,
        reason: &str,
        record_id: &str,
        list: impl FnOnce() -> String,
    ) {
        if let Some(notice) = self.notices.add(NoticeKind::DeadLetters, now, count, reason, record_id) {
            log(NoticeKind::DeadLetters, &notice, list);
        }
    }

    /// Reports one event of another kind. Its `reason` is empty if the kind says it all.
    pub(super) fn tell(&self, kind: NoticeKind, now: Timestamp, reason: &str, record_id: &str) {
        if let Some(notice) = self.notices.add(kind, now, 1, reason, record_id) {
            log(kind, &notice, String::new);
        }
    }

    /// Returns whether [`Self::log_pending`] may have something to tell.
    pub fn has_pending(&self) -> bool {
        self.notices.has_any()
    }

    /// Logs the notices whose minute is over, or all that are left at the end of the lane (`None`).
    pub fn log_pending(&self, now: Option<Timestamp>, list: impl Fn() -> String) {
        for (kind, notice) in self.notices.take(now) {
            log(kind, &notice, &list);
        }
    }
}

fn log(kind: NoticeKind, Notice { count, reason, record_id }: &Notice, list: impl FnOnce() -> String) {
    match kind {
        NoticeKind::DeadLetters => {
            let list = list();
            warn!(count, %reason, %record_id, list, "events were refused: they are stored as dead letters");
        }
        NoticeKind::MapErrors => {
            warn!(count, %reason, %record_id, "records could not be mapped: they are forwarded as error events");
        }
        NoticeKind::Repairs => warn!(
            count,
            %record_id,
            "records are not valid JSON; they were repaired, with U+FFFD in place of invalid characters"
        ),
        NoticeKind::ProgramErrors => warn!(
            count, %reason, %record_id,
            "a program of the pipeline failed on events: transform.on_error says what follows"
        ),
        NoticeKind::Overflows => warn!(
            count,
            %record_id,
            "records have more than 10,000 members in an object or values in a list, or too many levels; the rest is \
             in the text `overflow` of their events"
        ),
        NoticeKind::NotEnriched => {
            warn!(count, %reason, %record_id, "what `include` names could not be fetched for records: they go without it");
        }
        NoticeKind::OtherLabels => warn!(
            count,
            %record_id,
            "the console names more different labels than a lane keeps (1,000 sets, 1 MiB): the labels of further \
             records are `other`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use crate::{Counter, Meter, RareCount, Telemetry};
    use s1_forwarder_record::{Clock, LaneId, Stream};

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
        let meter = Meter::start(&telemetry, &LaneId::new("acme", Stream::Threats, "siem"), "http", Clock::System);
        tracing::subscriber::with_default(writer, || {
            (1..4).for_each(|id| meter.not_mapped("`id` is missing", &id.to_string()));
            (1..9).for_each(|id| meter.program_failed(&format!("remap: {id} is no text"), id == 8, &id.to_string()));
            meter.metrics.log_pending(None, String::new);
        });
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        let counted = [&meter.metrics.map.errors, &meter.metrics.map.program_errors].map(Counter::get);
        assert_eq!((lines.len(), counted, meter.metrics.rare(RareCount::RemapOverruns)), (4, [3, 8], 1), "{log}");
        assert!(lines[0].contains("WARN") && lines[0].contains("count=1 reason=`id` is missing record_id=1"), "{log}");
        assert!(lines[1].contains("count=1 reason=remap: 1 is no text record_id=1"), "{log}");
        assert!(lines[2].contains("count=2 reason=`id` is missing record_id=2"), "{log}");
        assert!(lines[3].contains("count=7 reason=remap: 2 is no text record_id=2"), "{log}");
    }
}
