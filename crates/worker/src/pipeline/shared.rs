//! Settings that are equal in many pipelines, held once.

use std::sync::{Arc, Weak};

use s1_forwarder_engine::source::{PullSettings, StreamSettings};
use s1_forwarder_engine::transform::TransformSettings;

use super::Pipeline;

/// Most values of a kind that are known. With more of them, some are kept several times.
const MANY: usize = 64;

/// The settings of known pipelines that others are likely to have too. Console and sink settings differ by customer.
#[derive(Debug, Default)]
pub struct SharedSettings {
    streams: Known<StreamSettings>,
    pulls: Known<PullSettings>,
    transform: Known<TransformSettings>,
}

impl SharedSettings {
    /// Replaces settings of the pipeline by equal ones that are known.
    pub fn share(&mut self, pipeline: &mut Pipeline) {
        self.streams.share(&mut pipeline.streams);
        self.transform.share(&mut pipeline.transform);
        pipeline.pulls.iter_mut().for_each(|pull| self.pulls.share(pull));
    }
}

/// The last used values first.
#[derive(Debug)]
struct Known<T>(Vec<Weak<T>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Known<T> {
    fn share(&mut self, value: &mut Arc<T>) {
        self.0.retain(|known| known.strong_count() > 0);
        let equal = |(place, known): (usize, &Weak<T>)| Some((place, known.upgrade().filter(|known| known == value)?));
        match self.0.iter().enumerate().find_map(equal) {
            Some((place, known)) => {
                self.0[..=place].rotate_right(1);
                *value = known;
            }
            None => {
                self.0.truncate(MANY - 1);
                self.0.insert(0, Arc::downgrade(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_held_once_while_they_are_used() {
        let mut known = Known::default();
        let share = |known: &mut Known<usize>, value| {
            let mut value = Arc::new(value);
            known.share(&mut value);
            value
        };
        let kept: Vec<_> = (0..MANY).map(|value| share(&mut known, value)).collect();
        assert!(kept.iter().all(|kept| Arc::ptr_eq(kept, &share(&mut known, **kept))), "all are known");
        let more = share(&mut known, MANY);
        assert!(Arc::ptr_eq(&more, &share(&mut known, MANY)), "the last one is known");
        assert!(!Arc::ptr_eq(&kept[0], &share(&mut known, 0)), "the one that was not used for longest is not");
        drop((kept, more));
        let _alone = share(&mut known, 0);
        assert_eq!(known.0.len(), 1, "those that nobody uses are forgotten");
    }
}
