//! Pulling: streams, positions and their encoding, the polling stage.

mod checkpoint;
mod poll;
mod position;
mod settings;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use poll::{Dropped, Mark, Page, Poll, Record};
pub use position::Position;
pub use settings::{Activities, Pull, Settings, Since, Threats};
