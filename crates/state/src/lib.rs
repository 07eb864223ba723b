//! Stores of checkpoints: files, objects in Kubernetes, a Kafka topic.
//!
//! Each write is durable when it returns. A checkpoint that is damaged, or that a newer release wrote, is refused.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod dead_letters;
pub mod envelope;
mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod location;

pub use file::FileStore;
#[cfg(feature = "kafka")]
pub use kafka::KafkaStore;
#[cfg(feature = "kubernetes")]
pub use kubernetes::KubernetesStore;
pub use location::{Access, LocationError, StoreLocation, process_identity};
