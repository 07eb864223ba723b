use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::record::Stream;

/// The commit that the program was built from, where the build said so.
const REVISION: Option<&str> = option_env!("S1_FORWARDER_REVISION");

const REQUEST_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const HAND_OVER_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0];

/// Around the default `overlap` of five minutes, which these delays are there to tune.
const ARRIVAL_SECONDS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 450.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0];

/// Metrics that exist once a process, or once for each of a few fixed words.
#[derive(Debug)]
pub struct Process {
    registry: Registry,
    in_flight_bytes: IntGauge,
    kafka_clients: IntGauge,
    checkpoint_conflicts: IntCounter,
    shards_held: IntGauge,
    lease_renewals: IntCounterVec,
    lease_losses: IntCounter,
    hand_over: HistogramVec,
    arrival_delay: HistogramVec,
    console_requests: HistogramVec,
    sink_requests: HistogramVec,
}

impl Default for Process {
    #[expect(clippy::expect_used, reason = "every name and label is a constant of this function, and tests run it")]
    fn default() -> Self {
        fn name(name: &str) -> String {
            format!("{}{name}", super::exposition::PREFIX)
        }
        fn gauge(text: &str, help: &str) -> IntGauge {
            IntGauge::new(name(text), help).expect("valid gauge")
        }
        fn counter(text: &str, help: &str) -> IntCounter {
            IntCounter::new(name(text), help).expect("valid counter")
        }
        fn histogram(text: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
            let options = HistogramOpts::new(name(text), help).buckets(buckets.to_vec());
            HistogramVec::new(options, &[label]).expect("valid histogram")
        }
        let build = Opts::new(name("build_info"), "Version and revision of the program; always 1.");
        let build = IntGaugeVec::new(build, &["version", "revision"]).expect("valid gauge");
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION.unwrap_or("unknown")]).set(1);
        let process = Self {
            registry: Registry::new(),
            in_flight_bytes: gauge("in_flight_bytes", "Bytes of records and events in memory over all lanes."),
            kafka_clients: gauge("kafka_clients", "Open Kafka clients."),
            checkpoint_conflicts: counter(
                "checkpoint_conflicts_total",
                "Checkpoints that another process had written when this one wanted to: it stopped the lane.",
            ),
            shards_held: gauge("shards_held", "Shards whose lease this worker holds."),
            lease_renewals: IntCounterVec::new(
                Opts::new(name("lease_renewals_total"), "Renewals of leases that were tried, by result."),
                &["result"],
            )
            .expect("valid counter"),
            lease_losses: counter(
                "lease_losses_total",
                "Leases that another worker had taken over when this one wanted to renew them.",
            ),
            hand_over: histogram(
                "hand_over_duration_seconds",
                "Hand-over of a shard: `give` from the decision until its lanes were drained and its lease released; `take` \
                 from the last sign of its former holder until this worker had the lease.",
                "side",
                HAND_OVER_SECONDS,
            ),
            arrival_delay: histogram(
                "arrival_delay_seconds",
                "Poll start minus timestamp of records that an earlier complete poll over their time did not show.",
                "stream",
                ARRIVAL_SECONDS,
            ),
            console_requests: histogram(
                "console_request_duration_seconds",
                "Time from a console request to the end of its answer.",
                "stream",
                REQUEST_SECONDS,
            ),
            sink_requests: histogram(
                "sink_request_duration_seconds",
                "Time from a sink request to the end of its answer.",
                "type",
                REQUEST_SECONDS,
            ),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 11] = [
            Box::new(build),
            Box::new(process.in_flight_bytes.clone()),
            Box::new(process.kafka_clients.clone()),
            Box::new(process.checkpoint_conflicts.clone()),
            Box::new(process.shards_held.clone()),
            Box::new(process.lease_renewals.clone()),
            Box::new(process.lease_losses.clone()),
            Box::new(process.hand_over.clone()),
            Box::new(process.arrival_delay.clone()),
            Box::new(process.console_requests.clone()),
            Box::new(process.sink_requests.clone()),
        ];
        for collector in collectors {
            process.registry.register(collector).expect("each name is registered once");
        }
        process
    }
}

impl Process {
    /// `in_flight_bytes`.
    pub fn in_flight_bytes(&self) -> &IntGauge {
        &self.in_flight_bytes
    }

    /// `kafka_clients`.
    pub fn kafka_clients(&self) -> &IntGauge {
        &self.kafka_clients
    }

    /// `checkpoint_conflicts_total`.
    pub fn checkpoint_conflicts(&self) -> &IntCounter {
        &self.checkpoint_conflicts
    }

    /// `shards_held`.
    pub fn shards_held(&self, count: usize) {
        self.shards_held.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `lease_renewals_total`.
    pub fn lease_renewed(&self, succeeded: bool) {
        self.lease_renewals.with_label_values(&[if succeeded { "ok" } else { "failed" }]).inc();
    }

    /// `lease_losses_total`.
    pub fn lease_lost(&self) {
        self.lease_losses.inc();
    }

    /// `hand_over_duration_seconds`; `side` is `give` or `take`.
    pub fn hand_over_took(&self, side: &str, time: Duration) {
        self.hand_over.with_label_values(&[side]).observe(time.as_secs_f64());
    }

    /// A record came to light this long after its own timestamp, though an earlier complete poll had covered its time.
    pub fn arrived_late(&self, stream: Stream, delay: Duration) {
        self.arrival_delay.with_label_values(&[stream.name()]).observe(delay.as_secs_f64());
    }

    /// A request to a console took this long.
    pub fn console_request_took(&self, stream: Stream, time: Duration) {
        self.console_requests.with_label_values(&[stream.name()]).observe(time.as_secs_f64());
    }

    /// A request to a sink of this type (`type:` of the pipeline file) took this long.
    pub fn sink_request_took(&self, sink_type: &str, time: Duration) {
        self.sink_requests.with_label_values(&[sink_type]).observe(time.as_secs_f64());
    }

    /// These metrics as Prometheus text.
    pub(super) fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "process metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
