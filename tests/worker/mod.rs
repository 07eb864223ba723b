//! The program as its user runs it: the real binary, driven by its command line, pipeline files, signals and HTTP
//! endpoints, between an emulated console and a receiver that is as strict as a real one.
//!
//! How much is done can be set: `S1_FORWARDER_E2E_ACTIVITIES` and `S1_FORWARDER_E2E_THREATS` (records that `run --once`
//! delivers), `S1_FORWARDER_KILLS` (how often the worker is killed), `S1_FORWARDER_PAUSE` (seconds in which syslog
//! receivers read nothing), `S1_FORWARDER_BACKFILL` (activities that a backfill delivers),
//! `S1_FORWARDER_DEAD_PIPELINES` (pipelines whose sinks are dead), `S1_FORWARDER_LONG_RUN_PIPELINES` and
//! `S1_FORWARDER_LONG_RUN_SECONDS` (the size of the long run).

mod assets;
mod backfill;
mod changes;
mod check;
mod console_input;
mod dead_letters;
mod duplicates;
mod enrichment;
mod event_bytes;
mod files_that_hang;
mod findings;
mod guides;
mod integrations;
mod kill;
mod listener;
mod logs;
mod long_run;
mod memory;
mod metrics;
mod no_answer;
mod notifications;
mod once;
mod open_files;
mod preview;
#[cfg(feature = "remap")]
mod programs;
mod quickstart;
mod recipes;
mod reload;
mod renamed;
mod scope;
mod secrets;
mod secrets_elsewhere;
mod shutdown;
mod silence;
mod sink_input;
mod slow_records;
mod state_input;
mod state_of_lanes;
mod status;
mod streams;
mod syslog;
mod tenants;
mod tokens;
mod transfer;
#[cfg(feature = "remap")]
mod transform;
mod unified;
mod usage;
mod verify;
mod verify_destination;
mod verify_many;
mod verify_present;
mod verify_read_back;
