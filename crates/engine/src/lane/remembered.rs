//! The memory of lanes for records, so that none is delivered twice. It is bounded for each pipeline, since a console
//! may name new records without end. A lane that has reached the bound stops: it would deliver a forgotten record
//! again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use s1_forwarder_failure::Failure;

/// Bytes of a record in memory, also while a poll reads what was settled before it.
const BYTES: usize = 32;
/// Divisor of the memory budget for the bytes in which all lanes together may remember records. These bytes are not
/// part of the budget.
const BUDGET_DIVISOR: usize = 2;
/// Divisor of the memory budget for the bytes that all lanes together may cache of data that they can fetch again.
/// These bytes are not part of the budget.
const CACHE_DIVISOR: usize = 8;
/// Number of records that each pipeline may remember, however many others remember. A long list has as many.
const MIN_REMEMBERED: u64 = 200_000;

/// The records that all lanes of a process remember.
#[derive(Debug)]
pub struct Remembered {
    /// Maximum number of records that the lanes of one pipeline may remember (`--remembered-max`).
    max: u64,
    /// Maximum number of records that all pipelines together may remember. At this number, a pipeline with at least
    /// [`MIN_REMEMBERED`] remembers no more.
    max_of_all: u64,
    /// Maximum bytes that all lanes together may cache of data that they can fetch again.
    max_cached: usize,
    cached_bytes: AtomicUsize,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    all: u64,
    pipelines: HashMap<Arc<str>, PipelineCount>,
}

#[derive(Debug, Default)]
struct PipelineCount {
    records: u64,
    lanes: u64,
}

/// The memory of one lane. Dropping it forgets the records.
#[derive(Debug)]
pub struct LaneMemory {
    remembered: Arc<Remembered>,
    pipeline: Arc<str>,
    records: Mutex<u64>,
    /// Number of records in the position.
    in_position: AtomicUsize,
    /// Number of records that the poll has returned and the position does not have yet. Only the lane's own task writes
    /// this and `in_position`.
    returned: AtomicUsize,
    /// Bytes that the lane caches of data that it can fetch again.
    cached_bytes: AtomicUsize,
}

impl Remembered {
    /// Returns an empty memory. `budget` is the number of bytes of `--memory-budget`.
    pub fn new(max: u64, budget: usize) -> Arc<Self> {
        let max_of_all = (budget / BUDGET_DIVISOR / BYTES) as u64;
        let max_cached = budget / CACHE_DIVISOR;
        Arc::new(Self { max, max_of_all, max_cached, cached_bytes: AtomicUsize::default(), sums: Mutex::default() })
    }

    /// Adds a lane of the pipeline, and returns its memory.
    pub fn lane(self: &Arc<Self>, pipeline: &str) -> LaneMemory {
        let mut sums = self.sums.lock();
        let known = sums.pipelines.get_key_value(pipeline).map(|(name, _)| name.clone());
        let pipeline = known.unwrap_or_else(|| pipeline.into());
        sums.pipelines.entry(pipeline.clone()).or_default().lanes += 1;
        let remembered = self.clone();
        let in_position = AtomicUsize::default();
        let returned = AtomicUsize::default();
        let cached_bytes = AtomicUsize::default();
        LaneMemory { remembered, pipeline, records: Mutex::default(), in_position, returned, cached_bytes }
    }
}

impl LaneMemory {
    /// Notes that a poll begins, and that the position has `in_position` records.
    pub fn begin(&self, in_position: usize) {
        self.in_position.store(in_position, Ordering::Relaxed);
        self.returned.store(0, Ordering::Relaxed);
    }

    /// Notes that the poll has returned `records` more.
    pub fn returned(&self, records: usize) {
        self.returned.fetch_add(records, Ordering::Relaxed);
    }

    /// Notes that the sink has settled `records` of the returned records. The position has `in_position` records now.
    pub fn move_into_position(&self, records: usize, in_position: usize) {
        self.in_position.store(in_position, Ordering::Relaxed);
        let left = self.returned.load(Ordering::Relaxed).saturating_sub(records);
        self.returned.store(left, Ordering::Relaxed);
    }

    /// Checks whether the poll may read more. The poll remembers `apart` entries that the position never will.
    ///
    /// # Errors
    /// [`Failure::full`] if the poll must not read more. A lane with less than its share of the pipeline's records may
    /// go on.
    pub fn read_more(&self, apart: usize) -> Result<(), Failure> {
        self.set(self.in_position.load(Ordering::Relaxed) + self.returned.load(Ordering::Relaxed) + apart)
    }

    /// Reserves `bytes` for data that the lane can fetch again. Returns false if there is no room for the data.
    pub fn keep(&self, bytes: usize) -> bool {
        let Remembered { cached_bytes, max_cached, .. } = &*self.remembered;
        let add = |cached: usize| cached.checked_add(bytes).filter(|cached| cached <= max_cached);
        let fits = cached_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if fits {
            self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Releases `bytes` that [`Self::keep`] has reserved.
    pub fn release(&self, bytes: usize) {
        self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.remembered.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn set(&self, records: usize) -> Result<(), Failure> {
        let Remembered { max, max_of_all, .. } = *self.remembered;
        let records = records as u64;
        let mut own = self.records.lock();
        let mut sums = self.remembered.sums.lock();
        sums.all = sums.all.saturating_sub(*own) + records;
        let all = sums.all;
        let Some(pipeline) = sums.pipelines.get_mut(&self.pipeline) else { return Ok(()) };
        pipeline.records = pipeline.records.saturating_sub(*own) + records;
        *own = records;
        let is_above_share = records >= max / pipeline.lanes.max(1);
        if pipeline.records >= max && is_above_share {
            return Err(Failure::full(format!(
                "the lane remembers {records} records to avoid duplicates, and its pipeline {}: --remembered-max allows \
                 {max}. The console may invent records. If it does not, raise the limit, or shorten `overlap` and set the \
                 lane to a time: s1-forwarder state set --to TIME LANE",
                pipeline.records
            )));
        }
        if all >= max_of_all
            && pipeline.records >= MIN_REMEMBERED
            && (is_above_share || records >= MIN_REMEMBERED / pipeline.lanes.max(1))
        {
            return Err(Failure::full(format!(
                "the lane remembers {records} records to avoid duplicates, and all lanes {all}, which is what a worker \
                 with this --memory-budget has room for: raise it, or shorten `overlap` of this pipeline and set the lane \
                 to a time: s1-forwarder state set --to TIME LANE"
            )));
        }
        Ok(())
    }
}

impl Drop for LaneMemory {
    fn drop(&mut self) {
        self.release(self.cached_bytes.load(Ordering::Relaxed));
        let mut sums = self.remembered.sums.lock();
        let records = *self.records.lock();
        sums.all = sums.all.saturating_sub(records);
        if let Some(pipeline) = sums.pipelines.get_mut(&self.pipeline) {
            pipeline.records = pipeline.records.saturating_sub(records);
            pipeline.lanes = pipeline.lanes.saturating_sub(1);
            if pipeline.lanes == 0 {
                sums.pipelines.remove(&self.pipeline);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use s1_forwarder_failure::FailureKind;

    use super::*;

    const BUDGET: usize = 1 << 30;

    #[test]
    fn a_pipeline_remembers_so_much_and_others_go_on() {
        let remembered = Remembered::new(1_000, BUDGET);
        let [greedy, modest, other] = ["acme", "acme", "globex"].map(|pipeline| remembered.lane(pipeline));
        assert_eq!((greedy.set(999), modest.set(0)), (Ok(()), Ok(())));
        let Err(Failure { kind: FailureKind::Full, reason, .. }) = greedy.set(1_001) else { panic!("it may go on") };
        assert!(reason.contains("1001 records") && reason.contains("--remembered-max allows 1000"), "{reason}");
        assert!(greedy.set(1_000).is_err());
        assert_eq!((modest.set(400), other.set(999)), (Ok(()), Ok(())));
        assert!(modest.set(600).is_err(), "more than its share");
        assert_eq!((modest.set(10), greedy.set(900)), (Ok(()), Ok(())), "what is forgotten leaves room");
        drop(greedy);
        assert_eq!(modest.set(990), Ok(()));
        drop((modest, other));
        let sums = remembered.sums.lock();
        assert!(sums.all == 0 && sums.pipelines.is_empty(), "{sums:?}");
    }

    /// Returns whether the lane counts for `records` records if `cursors` of them are cursors.
    fn is_at(lane: &LaneMemory, records: u64, cursors: usize) -> bool {
        lane.read_more(cursors).is_ok() && *lane.records.lock() == records
    }

    #[test]
    fn a_lane_has_what_its_position_has_and_what_is_on_its_way_there() {
        let lane = Remembered::new(1_000, BUDGET).lane("acme");
        lane.begin(10);
        lane.returned(5);
        assert!(is_at(&lane, 17, 2));
        lane.move_into_position(3, 12);
        assert!(is_at(&lane, 14, 0), "twelve, and two on their way");
        // A batch was settled whose records the position does not keep.
        lane.move_into_position(2, 4);
        assert!(is_at(&lane, 4, 0));
        // A session that failed leaves nothing on its way.
        lane.returned(7);
        lane.begin(4);
        assert!(is_at(&lane, 4, 0));
    }

    #[test]
    fn all_together_take_a_part_of_the_budget_and_each_has_the_least() {
        let many = MIN_REMEMBERED * 4;
        let remembered = Remembered::new(many * 10, many as usize * BYTES * BUDGET_DIVISOR);
        let [greedy, other] = ["acme", "globex"].map(|pipeline| remembered.lane(pipeline));
        assert_eq!(greedy.set(many as usize - 1), Ok(()));
        let Err(Failure { kind: FailureKind::Full, reason, .. }) = greedy.set(many as usize) else {
            panic!("it may go on")
        };
        assert!(reason.contains("--memory-budget"), "{reason}");
        assert_eq!(other.set(MIN_REMEMBERED as usize - 1), Ok(()));
        assert!(other.set(MIN_REMEMBERED as usize).is_err());
    }
}
