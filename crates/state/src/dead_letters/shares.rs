//! Shares of the pipelines in a store: a pipeline that refuses everything must not take the place of the others.

use std::collections::BTreeMap;

use s1_forwarder_engine::dead_letters::{DeadLetterError, StoreFill};

/// The bytes that each pipeline has in a store of limited size.
#[derive(Debug)]
pub(super) struct Shares {
    max: u64,
    used: BTreeMap<String, u64>,
}

impl Shares {
    /// Adds up the bytes of pipelines. `sizes` are the names of pipelines with their bytes. A name may come several
    /// times.
    pub fn new(max: u64, sizes: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut shares = Self { max, used: BTreeMap::new() };
        sizes.into_iter().for_each(|(pipeline, bytes)| shares.add(&pipeline, bytes));
        shares
    }

    /// Adds bytes that a pipeline stores.
    pub fn add(&mut self, pipeline: &str, bytes: u64) {
        match self.used.get_mut(pipeline) {
            Some(used) => *used = used.saturating_add(bytes),
            None => _ = self.used.insert(pipeline.to_owned(), bytes),
        }
    }

    /// Returns the bytes of all pipelines.
    pub fn total(&self) -> u64 {
        self.used.values().sum()
    }

    /// Returns the bytes of a pipeline.
    pub fn used(&self, pipeline: &str) -> u64 {
        self.used.get(pipeline).copied().unwrap_or_default()
    }

    /// Returns the number of bytes that a pipeline may have: half of what the others leave. So one pipeline has at most
    /// half of the store, two have a third each, and a pipeline that comes later always finds room.
    pub fn share(&self, pipeline: &str) -> u64 {
        self.max.saturating_sub(self.total() - self.used(pipeline)) / 2
    }

    /// Returns whether the pipeline may have `more` bytes in addition.
    fn admits(&self, pipeline: &str, more: u64) -> bool {
        self.used(pipeline).saturating_add(more) <= self.share(pipeline)
    }

    /// Counts these further bytes of pipelines, all of them or none. `place` is the store's.
    ///
    /// # Errors
    /// If a pipeline would have more than its share.
    pub fn reserve(&mut self, more: &BTreeMap<&str, u64>, place: &str) -> Result<(), DeadLetterError> {
        if let Some((pipeline, _)) = more.iter().find(|(pipeline, bytes)| !self.admits(pipeline, **bytes)) {
            return Err(DeadLetterError::ShareFull {
                place: place.to_owned(),
                pipeline: (*pipeline).to_owned(),
                share: self.share(pipeline),
                max: self.max,
            });
        }
        more.iter().for_each(|(pipeline, bytes)| self.add(pipeline, *bytes));
        Ok(())
    }

    pub fn usage(&self) -> StoreFill {
        let pipelines = self.used.iter().map(|(name, used)| (name.clone(), *used, self.share(name))).collect();
        StoreFill { bytes: self.total(), max: Some(self.max), pipelines, lanes: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_some_full_pipelines_has_as_much_as_stays_free() {
        let max = 1200;
        for pipelines in 1..=5_u64 {
            let mut shares = Shares::new(max, []);
            let names: Vec<String> = (0..pipelines).map(|number| format!("p{number}")).collect();
            // The shares grow one after the other, by one byte, until none may grow any more.
            while let Some(name) =
                names.iter().filter(|name| shares.admits(name, 1)).min_by_key(|name| shares.used(name))
            {
                shares.add(name, 1);
            }
            let fair = max / (pipelines + 1);
            assert!(names.iter().all(|name| shares.used(name).abs_diff(fair) <= 1), "{shares:?}, not {fair} each");
            assert!(shares.admits("new", fair / 2), "a new pipeline finds room: {shares:?}");
        }
    }

    #[test]
    fn a_share_counts_what_is_there_and_more_than_it_holds_is_no_overflow() {
        let mut shares = Shares::new(100, [("acme".to_owned(), 30), ("globex".to_owned(), 10), ("acme".to_owned(), 5)]);
        assert_eq!((shares.used("acme"), shares.share("acme"), shares.share("new")), (35, 45, 27));
        let refused = shares.reserve(&[("acme", 11), ("globex", 1)].into(), "here");
        assert!(matches!(refused, Err(DeadLetterError::ShareFull { share: 45, .. })), "{refused:?}");
        assert_eq!(shares.total(), 45, "nothing is counted");
        shares.reserve(&[("acme", 10), ("globex", 1)].into(), "here").unwrap();
        assert_eq!((shares.used("acme"), shares.used("globex")), (45, 11));
        let full = Shares::new(10, [("acme".to_owned(), 500)]);
        assert_eq!((full.share("new"), full.admits("new", 1)), (0, false));
    }
}
