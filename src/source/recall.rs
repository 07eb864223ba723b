use crate::record::Timestamp;

/// Records, and full pages, that are remembered at the least.
const KEPT_RECORDS: usize = 100;
const KEPT_PAGES: usize = 4;

/// How far back a poll remembers what it showed. A walk that goes back in its list is told by keys; but it goes back by a
/// second, or a page comes twice, and the keys of a whole history would fill the memory for nothing.
#[derive(Debug)]
pub(super) struct Recall {
    /// How far the poll was when it forgot keys last.
    until: Timestamp,
    /// Records shown since.
    shown: usize,
}

impl Recall {
    /// Of a poll that has read nothing and begins at `start`.
    pub fn starting_at(start: Timestamp) -> Self {
        Self { until: start, shown: 0 }
    }

    /// A page of so many records was read, which goes up to `newest`. Where keys are to be forgotten now, the time that
    /// their records lie before.
    pub fn page(&mut self, shown: usize, newest: Timestamp) -> Option<Timestamp> {
        self.shown += shown;
        if self.shown < KEPT_RECORDS.max(KEPT_PAGES * shown) {
            return None;
        }
        self.shown = 0;
        Some(std::mem::replace(&mut self.until, newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read before the last forgetting is far enough back.
    #[test]
    fn so_many_records_and_so_many_full_pages_are_remembered() {
        let time = |page: usize| Timestamp::from_micros(page as i64 * 1_000_000);
        let mut recall = Recall::starting_at(time(0));
        for page in 1..10 {
            assert_eq!(recall.page(KEPT_RECORDS / 10, time(page)), None);
        }
        assert_eq!(recall.page(KEPT_RECORDS / 10, time(10)), Some(time(0)));
        for page in 11..10 + KEPT_PAGES {
            assert_eq!(recall.page(KEPT_RECORDS, time(page)), None);
        }
        assert_eq!(recall.page(KEPT_RECORDS, time(20)), Some(time(10)));
    }
}
