//! The number of records that a page asks for, and of bytes that it reserves. The pull stage learns both from earlier
//! pages.

/// Factor of a page's size that is reserved for its body and its events. A mapped event with its original is about two
/// and a half times the record.
pub const EXPANSION: usize = 4;
/// Factor for records that are larger than those seen so far.
const HEADROOM: f64 = 1.5;
/// Assumed bytes of a record before the first one was seen.
const FIRST_GUESS: f64 = 4096.0;
/// Bytes of the smallest body that is worth a request.
const MIN_BODY: usize = 64 * 1024;
/// Bytes that are reserved for the smallest body.
pub const SMALL_RESERVATION: usize = MIN_BODY * EXPANSION;
/// Maximum records of a page until the sink has accepted something.
const FIRST_LIMIT: usize = 50;
/// Number of pages after which a halved limit is doubled again.
const CALM_PAGES: u32 = 10;

/// Plans pages as large as console, budget and past answers allow.
#[derive(Debug)]
pub struct Sizing {
    max_limit: usize,
    limit: usize,
    bytes_per_record: f64,
    calm_pages: u32,
    /// The reservation for a single record that was too large for a share.
    boost: Option<usize>,
}

/// The size of the next page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePlan {
    pub limit: usize,
    pub reserve: usize,
    pub max_body: usize,
}

impl PagePlan {
    /// Returns the plan, with fewer records if only `reserved` bytes were reserved for the page.
    pub fn within(self, reserved: usize) -> Self {
        if reserved >= self.reserve {
            return self;
        }
        let max_body = reserved / EXPANSION;
        let limit = (self.limit as f64 * max_body as f64 / self.max_body as f64) as usize;
        Self { limit: limit.max(1), reserve: reserved, max_body }
    }
}

impl Sizing {
    /// Returns the first sizes for an endpoint that allows `max_limit` records in a page.
    pub fn new(max_limit: usize) -> Self {
        Self { max_limit, limit: max_limit, bytes_per_record: FIRST_GUESS, calm_pages: 0, boost: None }
    }

    /// Plans the next page, for a lane whose fair share of `total` bytes is `share`.
    pub fn plan(&self, share: usize, total: usize, proven: bool) -> PagePlan {
        if let Some(reserve) = self.boost {
            return PagePlan { limit: 1, reserve, max_body: reserve / 2 };
        }
        let limit = if proven { self.limit } else { self.limit.min(FIRST_LIMIT) };
        let record = self.bytes_per_record * HEADROOM;
        // Half a share leaves the other half to the batches before it. However small the share, a page worth a request
        // must fit: lanes then take turns at the budget.
        let largest_body = (share / 2 / EXPANSION).max(MIN_BODY).min(total / EXPANSION).max(1);
        let limit = limit.min((largest_body as f64 / record) as usize).max(1);
        let max_body = ((limit as f64 * record) as usize).max(MIN_BODY).min(largest_body);
        PagePlan { limit, reserve: max_body * EXPANSION, max_body }
    }

    /// Learns from a page of `records` records in `bytes` bytes.
    pub fn learn(&mut self, records: usize, bytes: usize) {
        self.boost = None;
        if records == 0 {
            return;
        }
        let seen = bytes as f64 / records as f64;
        // The estimate rises at once and falls slowly: a truncated answer costs more than a page that is smaller than
        // it could be.
        self.bytes_per_record =
            if seen > self.bytes_per_record { seen } else { self.bytes_per_record * 0.8 + seen * 0.2 };
        self.calm_pages += 1;
        if self.calm_pages >= CALM_PAGES && self.limit < self.max_limit {
            self.limit = (self.limit * 2).min(self.max_limit);
            self.calm_pages = 0;
        }
    }

    /// Halves the limit after a page that took too long.
    pub fn too_slow(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.calm_pages = 0;
    }

    /// Adapts the sizes to an answer to `plan` that outgrew its reservation. Returns false if a single record does not
    /// fit into a reservation of half of `total` bytes.
    pub fn too_large(&mut self, plan: PagePlan, total: usize) -> bool {
        if plan.limit > 1 {
            // The next page has as many records in twice the bytes or, if the share has no room for that, half as many
            // records.
            self.bytes_per_record = 2.0 * plan.max_body as f64 / (plan.limit as f64 * HEADROOM);
            return true;
        }
        // A record may not reserve the whole budget: lanes would wait for each other without end.
        if plan.reserve >= total / 2 {
            return false;
        }
        self.boost = Some((plan.reserve * 2).min(total / 2));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const TOTAL: usize = 512 * MIB;

    #[test]
    fn the_first_page_is_small_and_later_ones_fill_the_limit() {
        let mut sizing = Sizing::new(1000);
        assert_eq!(sizing.plan(TOTAL, TOTAL, false).limit, FIRST_LIMIT);
        sizing.learn(FIRST_LIMIT, FIRST_LIMIT * 1000);
        let plan = sizing.plan(TOTAL, TOTAL, true);
        assert_eq!(plan.limit, 1000);
        assert!(plan.max_body > 1_000_000 && plan.reserve == plan.max_body * 4, "{plan:?}");
    }

    #[test]
    fn records_longer_than_thought_are_asked_for_in_full_pages_soon() {
        let mut sizing = Sizing::new(1000);
        let record = 20_000;
        let first = sizing.plan(TOTAL, TOTAL, false);
        assert!(first.max_body < first.limit * record);
        let mut cut_off = 0;
        let fitting = loop {
            let plan = sizing.plan(TOTAL, TOTAL, true);
            if plan.limit * record <= plan.max_body {
                break plan;
            }
            cut_off += 1;
            assert!(sizing.too_large(plan, TOTAL));
        };
        assert!(fitting.limit == 1000 && cut_off <= 2, "{fitting:?} after {cut_off}");
    }

    #[test]
    fn a_page_that_got_fewer_bytes_has_as_many_fewer_records() {
        let plan = PagePlan { limit: 1000, reserve: 4 * MIB, max_body: MIB };
        assert_eq!(plan.within(4 * MIB), plan);
        assert_eq!(plan.within(MIB), PagePlan { limit: 250, reserve: MIB, max_body: MIB / 4 });
        assert_eq!(plan.within(1024).limit, 1);
    }

    #[test]
    fn a_small_share_means_small_pages_but_not_absurd_ones() {
        let sizing = Sizing::new(1000);
        let plan = sizing.plan(2 * MIB, TOTAL, true);
        assert!(plan.reserve <= MIB && plan.limit < 100 && plan.limit > 10, "{plan:?}");
        let plan = sizing.plan(0, TOTAL, true);
        assert!(plan.max_body == MIN_BODY && plan.limit >= 10, "{plan:?}");
        assert!(sizing.plan(0, 1024, true).reserve <= 1024);
    }

    #[test]
    fn what_is_cut_off_is_asked_for_in_smaller_pages_down_to_one_record_alone() {
        let mut sizing = Sizing::new(1000);
        let mut limits = Vec::new();
        loop {
            let plan = sizing.plan(40 * MIB, TOTAL, true);
            limits.push(plan.limit);
            if !sizing.too_large(plan, TOTAL) {
                break;
            }
        }
        assert!(limits.is_sorted_by(|a, b| a >= b), "{limits:?}");
        assert_eq!(sizing.plan(40 * MIB, TOTAL, true).reserve, TOTAL / 2);
        sizing.learn(1, 30 * MIB);
        let plan = sizing.plan(40 * MIB, TOTAL, true);
        assert!(plan.limit == 1 && plan.reserve <= 40 * MIB, "the next may be as large: {plan:?}");
        for _ in 0..200 {
            sizing.learn(1, 1000);
        }
        assert_eq!(sizing.plan(TOTAL, TOTAL, true).limit, 1000);
    }
}
