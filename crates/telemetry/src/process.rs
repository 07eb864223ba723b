//! The metrics of the process: histograms, and gauges of its resources.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
#[cfg(target_os = "linux")]
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use s1_forwarder_record::{Stream, Timestamp};
use tokio::runtime::Handle;

use super::metrics::{self, Metric};

/// The commit that the program was built from, if the build set it.
const REVISION: Option<&str> = option_env!("S1_FORWARDER_REVISION");

const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const HANDOVER_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0];

/// Fine around five minutes, the default of `overlap`, which is tuned by this histogram.
const ARRIVAL_SECONDS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 450.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0];

/// Bounds of latency from a second to a day, in seconds. Contracts about delays can be checked at these bounds.
pub(super) const LATENCY_SECONDS: &[f64] =
    &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 21600.0, 86400.0];

/// The result of a write of a lane's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageWrite {
    Ok,
    /// The write failed, and will be tried again.
    Failed,
    /// The lane has ended, and its last counts are not stored.
    Lost,
}

impl UsageWrite {
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Lost];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// Metrics of the process as a whole. Their labels have few values.
#[derive(Debug)]
pub struct ProcessMetrics {
    registry: Registry,
    in_flight_bytes: IntGauge,
    memory_budget: IntGauge,
    tasks: IntGauge,
    kafka_clients: IntGauge,
    duplicate_lanes: IntGauge,
    unseen_scope_lanes: IntGauge,
    unused_tokens: IntGauge,
    orphaned_checkpoints: IntGauge,
    dead_letter_bytes: IntGaugeVec,
    dead_letter_max: IntGaugeVec,
    /// The values of the label `pipeline` that the gauges of dead letters have.
    dead_letter_pipelines: Mutex<BTreeSet<String>>,
    reload_successful: IntGauge,
    reload_success_time: IntGauge,
    checkpoint_conflicts: IntCounter,
    shards_held: IntGauge,
    shards: IntGauge,
    lease_renewals: IntCounterVec,
    lease_losses: IntCounter,
    shard_handover: HistogramVec,
    usage_writes: IntCounterVec,
    arrival_delay: HistogramVec,
    console_requests: HistogramVec,
    sink_requests: HistogramVec,
    event_latency: HistogramVec,
}

impl Default for ProcessMetrics {
    #[expect(clippy::expect_used, reason = "every name and label is a constant, and tests run this function")]
    fn default() -> Self {
        fn options(metric: &Metric) -> Opts {
            Opts::new(metric.full_name(), metric.help)
        }
        fn gauge(metric: &Metric) -> IntGauge {
            IntGauge::with_opts(options(metric)).expect("valid gauge")
        }
        fn counter(metric: &Metric) -> IntCounter {
            IntCounter::with_opts(options(metric)).expect("valid counter")
        }
        fn histogram(metric: &Metric, buckets: &[f64]) -> HistogramVec {
            let options = HistogramOpts::new(metric.full_name(), metric.help).buckets(buckets.to_vec());
            HistogramVec::new(options, metric.labels).expect("valid histogram")
        }
        fn gauges(metric: &Metric) -> IntGaugeVec {
            IntGaugeVec::new(options(metric), metric.labels).expect("valid gauge")
        }
        let build = gauges(&metrics::BUILD_INFO);
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION.unwrap_or("unknown")]).set(1);
        let lease_renewals = &metrics::LEASE_RENEWALS;
        let usage_writes = &metrics::USAGE_WRITES;
        let usage_writes = IntCounterVec::new(options(usage_writes), usage_writes.labels).expect("valid counter");
        // A first failure is an increase too.
        UsageWrite::ALL.iter().for_each(|result| drop(usage_writes.with_label_values(&[result.label()])));
        let process = Self {
            registry: Registry::new(),
            in_flight_bytes: gauge(&metrics::IN_FLIGHT_BYTES),
            memory_budget: gauge(&metrics::MEMORY_BUDGET),
            tasks: gauge(&metrics::TASKS),
            kafka_clients: gauge(&metrics::KAFKA_CLIENTS),
            duplicate_lanes: gauge(&metrics::DUPLICATE_LANES),
            unseen_scope_lanes: gauge(&metrics::UNSEEN_SCOPE_LANES),
            unused_tokens: gauge(&metrics::UNUSED_TOKENS),
            orphaned_checkpoints: gauge(&metrics::ORPHANED_CHECKPOINTS),
            dead_letter_bytes: gauges(&metrics::DEAD_LETTER_BYTES),
            dead_letter_max: gauges(&metrics::DEAD_LETTER_MAX_BYTES),
            dead_letter_pipelines: Mutex::default(),
            reload_successful: gauge(&metrics::RELOAD_SUCCESSFUL),
            reload_success_time: gauge(&metrics::RELOAD_SUCCESS_TIME),
            checkpoint_conflicts: counter(&metrics::CHECKPOINT_CONFLICTS),
            shards_held: gauge(&metrics::SHARDS_HELD),
            shards: gauge(&metrics::SHARDS),
            lease_renewals: IntCounterVec::new(options(lease_renewals), lease_renewals.labels).expect("valid counter"),
            lease_losses: counter(&metrics::LEASE_LOSSES),
            shard_handover: histogram(&metrics::SHARD_HANDOVER, HANDOVER_SECONDS),
            usage_writes,
            arrival_delay: histogram(&metrics::ARRIVAL_DELAY, ARRIVAL_SECONDS),
            console_requests: histogram(&metrics::CONSOLE_REQUEST_DURATION, REQUEST_SECONDS),
            sink_requests: histogram(&metrics::SINK_REQUEST_DURATION, REQUEST_SECONDS),
            event_latency: histogram(&metrics::EVENT_LATENCY, LATENCY_SECONDS),
        };
        let collectors: [Box<dyn Collector>; 24] = [
            Box::new(build),
            Box::new(process.in_flight_bytes.clone()),
            Box::new(process.memory_budget.clone()),
            Box::new(process.tasks.clone()),
            Box::new(process.kafka_clients.clone()),
            Box::new(process.duplicate_lanes.clone()),
            Box::new(process.unseen_scope_lanes.clone()),
            Box::new(process.unused_tokens.clone()),
            Box::new(process.orphaned_checkpoints.clone()),
            Box::new(process.dead_letter_bytes.clone()),
            Box::new(process.dead_letter_max.clone()),
            Box::new(process.reload_successful.clone()),
            Box::new(process.reload_success_time.clone()),
            Box::new(process.checkpoint_conflicts.clone()),
            Box::new(process.shards_held.clone()),
            Box::new(process.shards.clone()),
            Box::new(process.lease_renewals.clone()),
            Box::new(process.lease_losses.clone()),
            Box::new(process.shard_handover.clone()),
            Box::new(process.usage_writes.clone()),
            Box::new(process.arrival_delay.clone()),
            Box::new(process.console_requests.clone()),
            Box::new(process.sink_requests.clone()),
            Box::new(process.event_latency.clone()),
        ];
        for collector in collectors {
            process.registry.register(collector).expect("each name is registered once");
        }
        // `process_cpu_seconds_total` and the like, as all Prometheus clients name them.
        #[cfg(target_os = "linux")]
        process.registry.register(Box::new(ProcessCollector::for_self())).expect("each name is registered once");
        process
    }
}

impl ProcessMetrics {
    pub fn in_flight_bytes(&self) -> &IntGauge {
        &self.in_flight_bytes
    }

    pub fn memory_budget(&self) -> &IntGauge {
        &self.memory_budget
    }

    pub fn kafka_clients(&self) -> &IntGauge {
        &self.kafka_clients
    }

    pub fn duplicate_lanes(&self) -> &IntGauge {
        &self.duplicate_lanes
    }

    pub fn unseen_scope_lanes(&self) -> &IntGauge {
        &self.unseen_scope_lanes
    }

    pub fn unused_tokens(&self) -> &IntGauge {
        &self.unused_tokens
    }

    pub fn orphaned_checkpoints(&self) -> &IntGauge {
        &self.orphaned_checkpoints
    }

    /// Sets the gauges of dead letters: the bytes of the whole store, their maximum, if there is one, and both of each
    /// pipeline.
    pub fn set_dead_letters(&self, bytes: u64, max: Option<u64>, samples: &[(String, u64, u64)]) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.dead_letter_bytes.with_label_values(&[""]).set(gauge(bytes));
        if let Some(max) = max {
            self.dead_letter_max.with_label_values(&[""]).set(gauge(max));
        }
        let mut pipelines = self.dead_letter_pipelines.lock();
        let before = std::mem::replace(&mut *pipelines, samples.iter().map(|(name, ..)| name.clone()).collect());
        for (name, bytes, max) in samples {
            self.dead_letter_bytes.with_label_values(&[name]).set(gauge(*bytes));
            self.dead_letter_max.with_label_values(&[name]).set(gauge(*max));
        }
        for name in before.difference(&pipelines) {
            // Both exist, since they were set before.
            let _ = self.dead_letter_bytes.remove_label_values(&[name]);
            let _ = self.dead_letter_max.remove_label_values(&[name]);
        }
    }

    /// Notes that the pipeline files were read again. `changed_at` is `None` if none of them has changed.
    pub fn set_reloaded(&self, is_valid: bool, changed_at: Option<Timestamp>) {
        self.reload_successful.set(i64::from(is_valid));
        if let Some(time) = changed_at
            && is_valid
        {
            self.reload_success_time.set(time.micros() / 1_000_000);
        }
    }

    pub fn checkpoint_conflicts(&self) -> &IntCounter {
        &self.checkpoint_conflicts
    }

    /// Sets the numbers of shards: `held` by this worker, and `all` of the installation.
    pub fn set_shards(&self, held: usize, all: u32) {
        self.shards_held.set(i64::try_from(held).unwrap_or(i64::MAX));
        self.shards.set(i64::from(all));
    }

    pub fn count_lease_renewal(&self, succeeded: bool) {
        self.lease_renewals.with_label_values(&[if succeeded { "ok" } else { "failed" }]).inc();
    }

    pub fn count_lease_loss(&self) {
        self.lease_losses.inc();
    }

    /// Counts a write of a lane's counts by its result.
    pub fn count_usage_write(&self, result: UsageWrite) {
        self.usage_writes.with_label_values(&[result.label()]).inc();
    }

    /// `direction` is `release` or `acquire`.
    pub fn observe_shard_handover(&self, direction: &str, time: Duration) {
        self.shard_handover.with_label_values(&[direction]).observe(time.as_secs_f64());
    }

    /// `delay` is the start of the poll minus the record's own timestamp.
    pub fn observe_arrival_delay(&self, stream: Stream, delay: Duration) {
        self.arrival_delay.with_label_values(&[stream.name()]).observe(delay.as_secs_f64());
    }

    pub fn observe_console_request(&self, stream: Stream, time: Duration) {
        self.console_requests.with_label_values(&[stream.name()]).observe(time.as_secs_f64());
    }

    /// `sink_type` is the sink's `type:` in the pipeline file.
    pub fn observe_sink_request(&self, sink_type: &str, time: Duration) {
        self.sink_requests.with_label_values(&[sink_type]).observe(time.as_secs_f64());
    }

    /// Observes the latencies of a batch of events: the time from a record's own time to its event's arrival.
    pub fn observe_event_latency(&self, stream: Stream, sink_type: &str, latencies: impl Iterator<Item = Duration>) {
        let mut histogram = None;
        for latency in latencies {
            let histogram = histogram
                .get_or_insert_with(|| self.event_latency.with_label_values(&[stream.name(), sink_type]).local());
            histogram.observe(latency.as_secs_f64());
        }
        if let Some(histogram) = histogram {
            histogram.flush();
        }
    }

    /// Returns these metrics as Prometheus text.
    pub(super) fn text(&self) -> String {
        // A test may scrape outside of a runtime.
        if let Ok(runtime) = Handle::try_current() {
            self.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "process metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
