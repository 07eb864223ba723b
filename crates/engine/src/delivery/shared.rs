//! What all deliveries of one lane share.

use std::sync::Arc;

use s1_forwarder_record::Clock;
use s1_forwarder_settings::RetrySettings;
use s1_forwarder_telemetry::Meter;

use super::health::SinkHealth;
use super::throttle::Throttle;
use crate::dead_letters::DeadLetters;
use crate::sink::{Deadline, Sink};

/// The state that all deliveries of one lane share.
#[derive(Debug)]
pub struct Delivery {
    pub sink: Arc<dyn Sink>,
    pub retry: RetrySettings,
    /// Stores refused events.
    pub dead_letters: Arc<DeadLetters>,
    pub meter: Meter,
    /// The clock for the time of dead letters and warnings.
    pub clock: Clock,
    pub health: SinkHealth,
    /// Limits the attempts in flight.
    pub throttle: Throttle,
    /// Nothing may be sent after the deadline.
    pub deadline: Deadline,
}
