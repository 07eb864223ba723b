//! Joins the stages: source → transform → sink → state.

mod budget;

pub use budget::{Budget, LaneBudget, Reservation};
