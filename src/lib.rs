//! s1-forwarder pulls security records out of SentinelOne consoles and forwards them to Kafka and HTTP SIEMs.

#![forbid(unsafe_code)]

pub mod commands;
pub mod console;
pub mod emulator;
pub mod lane;
pub mod pipeline;
pub mod record;
pub mod server;
pub mod settings;
pub mod sink;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod transform;
pub mod worker;
