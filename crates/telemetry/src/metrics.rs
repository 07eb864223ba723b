//! Every metric of the process: name, type, labels, unit and help text. `/metrics` and docs/metrics.md are made from
//! these.

/// Prefix of every metric's name.
pub const METRIC_PREFIX: &str = "s1_forwarder_";

/// A metric's type as Prometheus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
}

impl MetricType {
    /// Returns the word after `# TYPE`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, which is one family of time series.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name without [`METRIC_PREFIX`].
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    pub unit: &'static str,
    pub help: &'static str,
}

impl Metric {
    /// Returns the name as a scrape shows it.
    pub fn full_name(&self) -> String {
        format!("{METRIC_PREFIX}{}", self.name)
    }
}

const LANE: &[&str] = &["pipeline", "stream", "sink"];

/// Declares each metric as a constant, and `METRICS` as the list of all of them in this order.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $unit:literal, $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: MetricType::$kind, labels: $labels, unit: $unit, help: $help };)*

        /// Every metric that a process can expose.
        pub const METRICS: &[&Metric] = &[$(&$constant,)*];
    };
}

metrics! {
    RECORDS_PULLED = Counter "records_pulled_total" LANE, "records",
        "Records that the console returned. A record read again in the overlap counts again.";
    EVENTS_DELIVERED = Counter "events_delivered_total" LANE, "events",
        "Events that the sink acknowledged.";
    RECORDS_SKIPPED = Counter "records_skipped_total" &["pipeline", "stream", "sink", "reason"], "records",
        "Records that need no delivery, by reason: `duplicate` (already delivered), `unchanged` (only volatile fields differ), \
         `filtered` (excluded by the settings of stream or sink, or by `transform.drop`), `remap` (dropped by `abort` in \
         `remap`).";
    RECORDS_REQUEUED = Counter "records_requeued_total" LANE, "records",
        "Records that were pulled, not delivered, and will be pulled again.";
    RECORDS_NOT_SHOWN = Counter "records_not_shown_total" LANE, "records",
        "Records that the console counted and that a list of several pages did not show, not even when it was asked again. A \
         console that counts what the token may not see counts too many; otherwise it has lost records.";
    DEAD_LETTERS = Counter "dead_letters_total" LANE, "events",
        "Events that the sink refused permanently and that were stored as dead letters, since the process started.";
    DEAD_LETTERS_STORED = Gauge "dead_letters_stored" LANE, "events",
        "Dead letters that are stored now, including those of earlier processes. It falls within about a minute after \
         a replay or a purge. Absent until the store has been read.";
    MAP_ERRORS = Counter "map_errors_total" LANE, "records",
        "Records that could not be mapped and were forwarded as error events.";
    RECORDS_REPAIRED = Counter "records_repaired_total" LANE, "records",
        "Records that were not valid JSON (half of a surrogate pair, bytes that are not UTF-8, raw control characters, `NaN`) \
         and that were repaired before they were mapped or written into JSON.";
    OVERFLOWED_RECORDS = Counter "overflowed_records_total" LANE, "records",
        "Records with more than 10,000 members in an object, more than 10,000 values in a list or more than 120 levels. What \
         is beyond that is in a text of the event: `sentinel_one.<stream>.overflow`, in OCSF `unmapped.overflow`.";
    RECORDS_NOT_ENRICHED = Counter "records_not_enriched_total" LANE, "records",
        "Records that were sent without what `include` names, or without a part of it: the console refused it, or failed \
         three times.";
    RECORDS_WITH_OTHER_LABELS = Counter "records_with_other_labels_total" LANE, "records",
        "Records whose labels from the console have the value `other`: the lane has as many different sets of labels as it \
         keeps, which are 1,000 or 1 MiB. `status` and the status page say so too.";
    TIMES_WITHOUT_ZONE = Counter "times_without_zone_total" LANE, "records",
        "Records with a time that names no zone, such as `2026-03-01T10:20:30`. It is read as UTC.";
    REMAP_ERRORS = Counter "remap_errors_total" LANE, "events",
        "Events on which a program of `remap` or `drop` failed. They are forwarded as they were mapped, with the tag \
         `remap_failed`; with `transform.on_error`, they become dead letters or stop the lane.";
    REMAP_OVERRUNS = Counter "remap_overruns_total" LANE, "events",
        "Those of `remap_errors_total` on which a program took longer than 100 ms. Where they are forwarded, they also have \
         the tag `remap_overran`. After ten within an hour, the lane is `misconfigured`.";
    UNKNOWN_ACTIVITY_TYPES = Counter "unknown_activity_types_total" LANE, "records",
        "Activities whose type is not in the mapping table (see docs/mapping-ecs.md).";
    UNMAPPED_FIELDS = Counter "unmapped_fields_total" &["stream"], "fields",
        "Leaves of records that no mapping knows, in all lanes of the process: the sign that a console has changed. Events \
         have them in the vendor's name space. The log names each path once. Lanes with `schema: raw` do not count.";
    SINK_WARNINGS = Counter "sink_warnings_total" &["pipeline", "stream", "sink", "reason"], "batches",
        "Batches that the sink accepted with a warning, by reason: `noop` (an ingest pipeline dropped documents), `rerouted` \
         (they went into another index), `failure_store` (into the failure store), `slow_down` (a queue is nearly full), \
         `unknown_code` (a success with a code that the program does not know), `message` (a success with a message), \
         `shortened` (values were cut to the length of a column), `failures` (the answer names failures), `page` (the answer \
         is a page of HTML), `surplus_ids` (it has more ids than there were events). A lane has a sample for each reason \
         that occurred. The log and the status page have the text.";
    DELIVERED_BYTES = Counter "delivered_bytes_total" LANE, "bytes",
        "Bytes sent to the sink and acknowledged: request bodies after compression; for Kafka, keys and values.";
    DELIVERED_EVENT_BYTES = Counter "delivered_event_bytes_total" LANE, "bytes",
        "Bytes of the acknowledged events before compression and without framing, as destinations count what they \
         ingest: of `splunk_hec` the value of `event`, of `elasticsearch` the document, of `azure_logs` and `datadog` \
         the element of the list, of `syslog` the message without its header, of the others the event itself.";
    LABEL_EVENTS = Counter "label_events_delivered_total" &["pipeline", "stream", "sink", "label", "value"], "events",
        "Events that the sink acknowledged, by the value of a label that `--metrics-label` names. A lane has at most 1,000 \
         values, a process 20,000; the rest is counted as `other`.";
    LABEL_EVENT_BYTES = Counter "label_delivered_event_bytes_total" &["pipeline", "stream", "sink", "label", "value"], "bytes",
        "As `delivered_event_bytes_total`, by the value of a label that `--metrics-label` names.";
    LAG = Gauge "lag_seconds" LANE, "seconds",
        "Now minus the time up to which the lane is complete. Absent until that time is known.";
    LAST_SUCCESS = Gauge "last_success_timestamp_seconds" LANE, "Unix time",
        "Time of the last poll or delivery without an error. Absent before the first one.";
    SNAPSHOT_TIME = Gauge "snapshot_timestamp_seconds" LANE, "Unix time",
        "The time that identifies the last complete snapshot (agents with `mode: snapshot`).";
    SNAPSHOT_RECORDS = Gauge "snapshot_records" LANE, "records",
        "Records in the last complete snapshot.";
    VERIFIED_MISSING = Gauge "verified_missing_records" LANE, "records",
        "Records that the console counts and the lane does not account for, among those created in the last compared day.";
    VERIFIED_UNTIL = Gauge "verified_until_timestamp_seconds" LANE, "Unix time",
        "Creation time up to which the lane's records have been compared with the console's count.";
    NEWEST_RECORD = Gauge "newest_record_timestamp_seconds" LANE, "Unix time",
        "Time of the newest record that the console has shown in a complete poll, new or not: the record's own time. Absent \
         before there was one.";
    LANE_SILENT = Gauge "lane_silent" LANE, "0 or 1",
        "1 while the console shows no new record for longer than the lane's `silent_after`, as of the last complete poll. \
         A silent lane does not fail: `lane_up` is 1. Absent until the first complete poll since the start, and for lanes \
         that are not judged (docs/streams.md).";
    LANE_UP = Gauge "lane_up" LANE, "0 or 1",
        "1 while the lane runs, 0 while it fails.";
    LANE_STATE = Gauge "lane_state" &["pipeline", "stream", "sink", "state"], "1",
        "1 for the lane's present state, such as `running` or `sink_refused` (docs/troubleshooting.md has all of them). \
         Other states of the lane have no sample.";
    CONSOLE_REQUESTS = Counter "console_requests_total" &["pipeline", "stream", "status"], "requests",
        "Requests to the console, by status.";
    SINK_REQUESTS = Counter "sink_requests_total" &["pipeline", "sink", "status"], "requests",
        "Requests to the sink, by status.";
    SINK_LATENCY = Gauge "sink_latency_seconds" &["pipeline", "sink"], "seconds",
        "Time from a sink request to the end of its response: the mean over the requests of the pipeline to this sink that \
         ended in the last minute. Absent if none did. It says whose destination is slow.";
    TOKEN_EXPIRY = Gauge "token_expiry_timestamp_seconds" &["pipeline"], "Unix time",
        "Time at which the pipeline's API token expires. Absent if the console does not report it, or if it never expires.";
    CLOCK_DIFFERENCE = Gauge "console_clock_difference_seconds" &["pipeline"], "seconds",
        "How far the console's clock is ahead of this machine's; negative: behind. Absent until the console has said its time.";
    PIPELINES = Gauge "pipelines" &["state"], "pipelines",
        "Pipeline files by state: `running`, `paused`, `elsewhere` (another worker runs it), `invalid`, `removed`. An invalid \
         file whose last good version still runs counts as `running` and as `invalid`. A removed one is gone without \
         `enabled: false`, and its lanes have checkpoints.";
    PIPELINE_WARNINGS = Gauge "pipeline_warnings" &["pipeline", "warning"], "0 or 1",
        "1 while a pipeline has this warning: `duplicate` and `scope` as `duplicate_lanes` and `unseen_scope_lanes`, `token` as \
         `unused_tokens`, `file`: its file is invalid. The alerts on these four name up to five pipelines. `missed`: records \
         did not come, and `status` prints the command that delivers them. Else absent.";
    RELOAD_SUCCESSFUL = Gauge "config_last_reload_successful" &[], "0 or 1",
        "1 if all pipeline files and `--defaults` could be read and are valid when they were last looked at, else 0.";
    RELOAD_SUCCESS_TIME = Gauge "config_last_reload_success_timestamp_seconds" &[], "Unix time",
        "Time of the last change after which all pipeline files were valid. 0 before the first one.";
    BUILD_INFO = Gauge "build_info" &["version", "revision"], "1",
        "Version and revision of the program. The value is always 1.";
    IN_FLIGHT_BYTES = Gauge "in_flight_bytes" &[], "bytes",
        "Bytes of records and events in memory, over all lanes.";
    MEMORY_BUDGET = Gauge "memory_budget_bytes" &[], "bytes",
        "Maximum of `in_flight_bytes`: `--memory-budget`.";
    DEAD_LETTER_BYTES = Gauge "dead_letter_bytes" &["pipeline"], "bytes",
        "Bytes in the store of dead letters, measured every minute (a topic, which is read for it, less often). `pipeline` is \
         empty for the whole store. Each pipeline with dead letters has a sample too. Workers that share the store report \
         the same values.";
    DEAD_LETTER_MAX_BYTES = Gauge "dead_letter_max_bytes" &["pipeline"], "bytes",
        "Maximum of `dead_letter_bytes`. That of a pipeline is its current share. Absent for the whole store in \
         Kubernetes, where each pipeline has a Secret of its own.";
    TASKS = Gauge "tasks" &[], "tasks",
        "Tasks of the process that have not ended: a few for each lane and for each connection. A number that grows while \
         the number of lanes does not is a defect; please report it.";
    KAFKA_CLIENTS = Gauge "kafka_clients" &[], "clients",
        "Open Kafka clients.";
    DUPLICATE_LANES = Gauge "duplicate_lanes" &[], "lanes",
        "Lanes that run in this process and send the same records to the same place as a lane of another pipeline, in this \
         process or another one: console, stream and destination are equal, and the scope of one is or contains that of the \
         other. The log, `check` and the status page name both.";
    UNSEEN_SCOPE_LANES = Gauge "unseen_scope_lanes" &[], "lanes",
        "Lanes that run in this process and whose token does not see an account, site or group that the pipeline names, or \
         whose token in use has another scope than before. The console sends nothing of what a token does not see. \
         `status`, log and status page name the ids.";
    UNUSED_TOKENS = Gauge "unused_tokens" &[], "pipelines",
        "Pipelines of this process whose token's file or Secret has something else than requests use: the console refuses \
         it, it is no token, or its user has another scope. The former one is still in use. After a restart, none \
         would be.";
    ORPHANED_CHECKPOINTS = Gauge "orphaned_checkpoints" &[], "checkpoints",
        "Checkpoints in the state that belong to no pipeline file: of files that are gone, and of streams and sinks that a \
         file no longer has. Nothing removes them but `state delete`. Each worker counts all of them, as far as it has seen \
         the state.";
    CHECKPOINT_CONFLICTS = Counter "checkpoint_conflicts_total" &[], "checkpoints",
        "Checkpoint writes rejected because another process owns the lane. The lane stops in this process.";
    SHARDS_HELD = Gauge "shards_held" &[], "shards",
        "Shards whose leases this worker holds and has renewed in time.";
    SHARDS = Gauge "shards" &[], "shards",
        "Shards of the installation: `--shards`. 0 before the worker has joined, and with `--cluster none`.";
    LEASE_RENEWALS = Counter "lease_renewals_total" &["result"], "renewals",
        "Attempts to renew a lease, by result: `ok`, `failed`.";
    LEASE_LOSSES = Counter "lease_losses_total" &[], "leases",
        "Leases that another worker took over before this one renewed them.";
    SHARD_HANDOVER = Histogram "shard_handover_duration_seconds" &["direction"], "seconds",
        "Duration of a shard's handover. `release`: from the decision until the lanes were drained and the lease was released. \
         `acquire`: from the former holder's last sign of life until this worker held the lease.";
    USAGE_WRITES = Counter "usage_writes_total" &["result"], "writes",
        "Writes of what lanes did, which `report` reads, by result: `ok`; `failed`, which is kept in memory and tried again; \
         `lost`: a lane has ended, and at most its last 20 minutes are not in the store. Events do not depend on it.";
    ARRIVAL_DELAY = Histogram "arrival_delay_seconds" &["stream"], "seconds",
        "Poll start minus timestamp of records that an earlier complete poll over their time did not return. This is at \
         most how late they became visible: one that no count showed is found when its time is closed, up to half an \
         `overlap` and two intervals later. Use it to tune `overlap`.";
    EVENT_LATENCY = Histogram "event_latency_seconds" &["stream", "type"], "seconds",
        "Time from a record's own time to the acknowledgement of its event, by sink type. Only of records that are newer than \
         the lane's first complete poll: a history that is read late says nothing.";
    CONSOLE_REQUEST_DURATION = Histogram "console_request_duration_seconds" &["stream"], "seconds",
        "Time from a console request to the end of its response.";
    SINK_REQUEST_DURATION = Histogram "sink_request_duration_seconds" &["type"], "seconds",
        "Time from a sink request to the end of its response, by sink type.";
}

/// Appends a label of a series and a comma.
pub(super) fn label(out: &mut String, name: &str, text: &str) {
    out.push_str(name);
    out.push_str("=\"");
    let mut rest = text;
    while let Some(place) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(place);
        out.push_str(plain);
        out.push_str(match special.as_bytes().first() {
            Some(b'\n') => "\\n",
            Some(b'"') => "\\\"",
            _ => "\\\\",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out.push_str("\",");
}
