//! Pulling: streams, their passes, positions and their encoding, the polling stage.

mod ask;
mod chain;
mod checkpoint;
mod few;
mod newest;
mod pass;
mod poll;
mod position;
mod pull;
mod recall;
mod settings;
mod since;
mod step;
mod track;
mod window;

pub use chain::{FindingSeverity, Findings, Vulnerabilities};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use newest::Newest;
pub use pass::{Keys, Mark, Pass, Round};
pub use poll::{Dropped, Page, Poll, Record};
pub use position::{MAIN, Position};
pub use pull::Pull;
pub use settings::{
    Activities, Agents, AlertView, Alerts, Groups, Include, Mode, Settings, Threats, UnifiedAlerts, VOLATILE,
};
pub use since::Since;
pub use track::{Known, Snapshot, Stage, Track};
pub use window::{By, Window};
