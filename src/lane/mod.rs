//! Joins the stages: source → transform → sink → state.
//!
//! A lane sleeps between polls as one small future. A poll runs the three stages over bounded channels: the sink stage is
//! behind, the channels fill, and the source stops asking the console. What maps is a task of its own, begun with the first
//! page that brings something, and so is each delivery: most polls bring nothing, and start no task at all. What the sink has settled moves the
//! position, and the position goes to the store.

mod agenda;
mod budget;
mod checkpoints;
mod enrich;
mod map;
mod pull;
mod run;
mod saver;
mod send;
mod sizing;
mod standing;

pub use budget::{Budget, LaneBudget, Reservation};
pub use run::{Lane, LaneEnd};
pub use standing::{Standing, StandingError};
