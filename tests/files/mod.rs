//! Pipeline files: what is read, what is refused and in which words, and what a change of files means for what runs.

mod golden;
mod names;
mod reading;
mod reload;
mod schema;
mod secrets;
