//! Joins the stages: source → transform → sink → state.
//!
//! A lane sleeps between polls as one small future. A poll runs the three stages over bounded channels: the sink stage
//! is behind, the channels fill, and the source stops asking the console. What maps is a task of its own, begun with
//! the first page that brings something, and so is each delivery: most polls bring nothing, and start no task at all.
//! What the sink has settled moves the position, and the position goes to the store.

mod budget;
mod checkpoint_writer;
mod enrich;
mod lane_checkpoint;
mod map;
mod poll_schedule;
mod pull;
mod run;
mod send;
mod sizing;
mod startup;

pub use budget::{Budget, LaneBudget, Reservation};
pub use lane_checkpoint::{LaneCheckpoint, LaneCheckpointError};
pub use run::{Lane, LaneEnd};
