//! Pulling: streams, positions and their encoding, the polling stage.

mod checkpoint;
mod poll;
mod position;
mod settings;
mod window;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use poll::{Dropped, Mark, Page, Poll, Record};
pub use position::Position;
pub use settings::{Activities, Pull, Settings, Since, Threats};
pub use window::{By, Window};
