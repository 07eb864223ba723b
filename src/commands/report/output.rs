//! The interface of the formats in which `report` prints.

use super::rows::{Row, Window};

/// Prints rows as they are read. Each part ends with a line break of its own.
pub trait Output {
    fn begin(&mut self, window: &Window) -> String;
    fn row(&mut self, row: &Row) -> String;
    fn end(&mut self, window: &Window) -> String;
}
