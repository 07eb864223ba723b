//! Takes the place of `traces.rs` in a build without the feature `traces`.

use super::LaneMetrics;

/// Does nothing.
pub struct BatchSpan;

impl BatchSpan {
    pub fn begin(_: &LaneMetrics, _: &str, _: usize, _: usize) -> Self {
        Self
    }

    pub fn end(self, _: &'static str, _: usize, _: Option<&str>) {}
}
