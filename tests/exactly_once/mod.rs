//! Kafka `delivery: exactly_once` and `--state kafka://`, against a real Apache Kafka, read by a client that shares
//! nothing with the program.
//!
//! How much is done can be set: `S1_FORWARDER_KILLS` (how often the worker is killed), `S1_FORWARDER_LATE_ROUNDS` (how
//! often each kind of request arrives late).

mod changes;
mod commands;
mod kill;
mod late;
mod outages;
mod owners;
mod quarantine;
mod reader;
mod throughput;
mod topics;
mod verify;
