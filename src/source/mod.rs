//! Pulling: streams, their passes, positions and their encoding, the polling stage.

mod ask;
mod chain;
mod checkpoint;
mod pass;
mod poll;
mod position;
mod settings;
mod track;
mod window;

pub use chain::{FindingSeverity, Findings, Vulnerabilities};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use pass::{Keys, Mark, Pass, Round};
pub use poll::{Dropped, Page, Poll, Record};
pub use position::{MAIN, Position};
pub use settings::{Activities, AlertView, Pull, Settings, Since, Threats, UnifiedAlerts};
pub use track::{Known, Snapshot, Stage, Track};
pub use window::{By, Window};
