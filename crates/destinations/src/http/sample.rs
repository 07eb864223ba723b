//! The types of destinations for tests.

use s1_forwarder_engine::sink::{Batch, Outcome};

use super::transport::response::ResponseView;

/// The judge of a destination.
pub type Judge = Box<dyn Fn(&ResponseView<'_>) -> Outcome>;

/// Makes the body of a request with these events.
pub type MakeBody = Box<dyn Fn(&Batch) -> Vec<u8>>;

/// A destination with one of its framings.
pub type Sample = (Judge, MakeBody);
