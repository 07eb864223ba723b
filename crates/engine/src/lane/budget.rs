//! The process-wide byte budget: every byte between a console's answer and a sink's acknowledgement is reserved here
//! first.
//!
//! Requests are served in their order. A lane is *live* when its sink has accepted something and is not refusing. The
//! others are *quiet*: each has one small reservation at a time, and none from the sink's first refusal on. Live lanes
//! share what the quiet ones leave, and no lane reserves more than twice its fair share.
//!
//! A sixteenth of a large budget is a common reserve. A live lane without reservations may reserve a small page from it
//! when nothing else is left. Lanes whose sinks have just stopped answering may have reserved everything else, before
//! it shows that these sinks do not answer.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes of the smallest budget that has a common reserve.
const MIN_WITH_RESERVE: usize = 16 << 20;
/// Divisor of the budget for the bytes of the common reserve.
const RESERVE_DIVISOR: usize = 16;

/// Bytes are counted in units of this size: a semaphore counts to 2³² at most.
const UNIT: usize = 1024;

/// The bytes that all lanes together may reserve.
#[derive(Debug)]
pub struct Budget {
    /// Bytes without the common reserve.
    total: usize,
    free: Arc<Semaphore>,
    common: Arc<Semaphore>,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    /// Bytes reserved, including those beyond the budget (see [`Reservation::split`]).
    used: usize,
    /// Bytes reserved by quiet lanes.
    quiet_bytes: usize,
    /// Number of live lanes that have or want bytes.
    live: usize,
    /// Number of all lanes that have or want bytes.
    active: usize,
}

/// One lane's access to the budget; clones are the same lane.
#[derive(Debug, Clone)]
pub struct LaneBudget {
    budget: Arc<Budget>,
    account: Arc<Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// The lane's part of the sums. It changes only while the sums are locked, so that they stay correct.
    entry: Mutex<Entry>,
    /// Signalled when the lane has fewer bytes or may reserve again. One task of a lane reserves at a time.
    changed: Notify,
}

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    reserved: usize,
    /// Number of requests and reservations. The lane is active while there are any.
    requests: usize,
    paused: bool,
    proven: bool,
}

/// Reserved bytes; dropping it releases them.
#[derive(Debug)]
pub struct Reservation {
    bytes: usize,
    permits: Permits,
    lane: LaneBudget,
}

/// Permits for bytes of the budget, and of its common reserve.
#[derive(Debug, Default)]
struct Permits {
    own: Option<OwnedSemaphorePermit>,
    common: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Returns a budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        let units = (total / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let common = if total < MIN_WITH_RESERVE { 0 } else { units / RESERVE_DIVISOR };
        let total = (units - common) * UNIT;
        let sums = Mutex::default();
        Arc::new(Self {
            total,
            free: Arc::new(Semaphore::new(units - common)),
            common: Arc::new(Semaphore::new(common)),
            sums,
        })
    }

    /// Returns the number of bytes reserved now (`in_flight_bytes`).
    pub fn used(&self) -> usize {
        self.sums.lock().used
    }

    /// Opens an account for a lane.
    pub fn lane(self: &Arc<Self>) -> LaneBudget {
        LaneBudget { budget: self.clone(), account: Arc::default() }
    }
}

impl Entry {
    fn is_live(self) -> bool {
        self.proven && !self.paused
    }
}

impl Sums {
    fn of(entry: Entry) -> Self {
        let used = entry.reserved;
        let active = usize::from(entry.requests > 0);
        let (quiet_bytes, live) = if entry.is_live() { (0, active) } else { (used, 0) };
        Self { used, quiet_bytes, live, active }
    }

    /// Replaces one lane's part of the sums.
    fn replace(&mut self, old: Self, new: Self) {
        self.used = self.used - old.used + new.used;
        self.quiet_bytes = self.quiet_bytes - old.quiet_bytes + new.quiet_bytes;
        self.live = self.live - old.live + new.live;
        self.active = self.active - old.active + new.active;
    }
}

impl LaneBudget {
    /// Returns the lane's fair share in bytes. The lane itself counts as active.
    pub fn share(&self) -> usize {
        let entry = self.entry();
        let itself = usize::from(entry.requests == 0);
        let sums = self.budget.sums.lock();
        if entry.is_live() {
            self.budget.total.saturating_sub(sums.quiet_bytes) / (sums.live + itself).max(1)
        } else {
            self.budget.total / (sums.active + itself).max(1)
        }
    }

    /// Returns the bytes of the largest possible reservation.
    pub fn total(&self) -> usize {
        self.budget.total
    }

    /// Waits until `bytes` can be reserved. A lane without reservations is never limited by its own cap.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        self.reserve_page(bytes, 0).await
    }

    /// Waits until `bytes` can be reserved, or `small` bytes from the common reserve. If `small` is zero, the common
    /// reserve is not used.
    pub async fn reserve_page(&self, bytes: usize, small: usize) -> Reservation {
        // The lane counts as active while it waits.
        let _claim = Reservation::new(self.clone(), 0, Permits::default());
        loop {
            let Entry { reserved: held, paused, proven, .. } = self.entry();
            let within_cap = held == 0 || proven && held + bytes <= 2 * self.share();
            if within_cap && !paused {
                let (bytes, permits) = self.acquire(bytes, small).await;
                // The sink may have begun to refuse while the lane waited.
                if !self.entry().paused {
                    return Reservation::new(self.clone(), bytes, permits);
                }
            }
            self.account.changed.notified().await;
        }
    }

    /// Waits for permits, and returns them with their number of bytes. The semaphores are never closed, so they always
    /// yield permits.
    async fn acquire(&self, bytes: usize, small: usize) -> (usize, Permits) {
        let Budget { total, free, common, .. } = &*self.budget;
        let own = free.clone().acquire_many_owned(units(bytes.min(*total)));
        tokio::pin!(own);
        loop {
            let entry = self.entry();
            let may_borrow = small > 0 && entry.reserved == 0 && entry.is_live();
            tokio::select! {
                biased;
                own = &mut own => return (bytes, Permits { own: own.ok(), common: None }),
                common = common.clone().acquire_many_owned(units(small)), if may_borrow => {
                    return (small, Permits { own: None, common: common.ok() });
                }
                // The lane's reservations may have changed, or whether it is live.
                () = self.account.changed.notified() => {}
            }
        }
    }

    /// Pauses the lane, or ends its pause. A paused lane reserves nothing, for example from the sink's first refusal
    /// until the sink accepts something again.
    pub fn pause(&self, paused: bool) {
        self.change(|entry| entry.paused = paused);
    }

    /// Returns whether the sink has accepted something since its last long failure.
    pub fn is_proven(&self) -> bool {
        self.entry().proven
    }

    /// Sets whether the sink has proven itself. Until then, the lane has one reservation at a time. Otherwise, ninety
    /// dead sinks of a hundred would take the budget before they are known to be dead.
    pub fn set_proven(&self, proven: bool) {
        self.change(|entry| entry.proven = proven);
    }

    fn entry(&self) -> Entry {
        *self.account.entry.lock()
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        let mut sums = self.budget.sums.lock();
        let mut entry = self.account.entry.lock();
        let before = *entry;
        change(&mut entry);
        sums.replace(Sums::of(before), Sums::of(*entry));
        self.account.changed.notify_one();
    }
}

impl Reservation {
    fn new(lane: LaneBudget, bytes: usize, permits: Permits) -> Self {
        lane.change(|entry| {
            entry.reserved += bytes;
            entry.requests += 1;
        });
        Self { bytes, permits, lane }
    }

    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves `bytes` of this reservation into another one. If this reservation has fewer, the rest is counted beyond
    /// the budget: the bytes are in memory already.
    pub fn split(&mut self, bytes: usize) -> Self {
        let moved = bytes.min(self.bytes);
        let permits = self.permits.split(units(moved) as usize);
        self.bytes -= moved;
        self.lane.change(|entry| entry.reserved -= moved);
        Self::new(self.lane.clone(), bytes, permits)
    }

    /// Adds `other`, of the same lane, to this one.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.permits.merge(std::mem::take(&mut other.permits));
    }
}

impl Permits {
    /// Moves this number of units into other permits. Units of the common reserve move last.
    fn split(&mut self, units: usize) -> Self {
        let mut left = units;
        let mut part = |permit: &mut Option<OwnedSemaphorePermit>| {
            let permit = permit.as_mut()?;
            let moved = left.min(permit.num_permits());
            left -= moved;
            permit.split(moved)
        };
        Self { own: part(&mut self.own), common: part(&mut self.common) }
    }

    fn merge(&mut self, other: Self) {
        // Permits of one semaphore can be merged.
        for (mine, permit) in [(&mut self.own, other.own), (&mut self.common, other.common)] {
            match (mine, permit) {
                (Some(mine), Some(permit)) => mine.merge(permit),
                (mine @ None, permit) => *mine = permit,
                (Some(_), None) => {}
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // The permits are released first: a lane that the change wakes must find their bytes.
        self.permits = Permits::default();
        let bytes = self.bytes;
        self.lane.change(|entry| {
            entry.reserved -= bytes;
            entry.requests -= 1;
        });
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_secs(1);
    const KIB: usize = 1024;

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_shared_and_released() {
        let budget = Budget::new(100 * KIB);
        let first = budget.lane();
        let second = budget.lane();
        let held = first.reserve(100 * KIB).await;
        assert_eq!(budget.used(), 100 * KIB);
        assert!(timeout(MOMENT, second.reserve(KIB)).await.is_err(), "nothing is left");
        drop(held);
        let _held = second.reserve(KIB).await;
        assert_eq!(budget.used(), KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn no_lane_holds_more_than_twice_its_share() {
        let budget = Budget::new(100 * KIB);
        let lanes: Vec<_> = (0..10).map(|_| budget.lane()).collect();
        let mut held = Vec::new();
        for lane in &lanes {
            lane.set_proven(true);
            held.push(lane.reserve(KIB).await);
        }
        assert_eq!(lanes[0].share(), 10 * KIB);
        let more = lanes[0].reserve(19 * KIB).await;
        assert!(timeout(MOMENT, lanes[0].reserve(KIB)).await.is_err(), "over twice the share");
        drop(more);
        let _more = lanes[0].reserve(KIB).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_whose_sink_has_taken_nothing_holds_one_reservation() {
        let lane = Budget::new(100 * KIB).lane();
        let held = lane.reserve(KIB).await;
        assert!(timeout(MOMENT, lane.reserve(KIB)).await.is_err());
        drop(held);
        let _held = lane.reserve(KIB).await;
        lane.set_proven(true);
        let _more = lane.reserve(KIB).await;
    }

    #[tokio::test(start_paused = true)]
    async fn live_lanes_share_what_the_quiet_ones_leave() {
        let budget = Budget::new(100 * KIB);
        let quiet: Vec<_> = (0..8).map(|_| budget.lane()).collect();
        let mut held = Vec::new();
        for lane in &quiet {
            held.push(lane.reserve(KIB).await);
        }
        assert_eq!((quiet[0].share(), budget.lane().share()), (100 * KIB / 8, 100 * KIB / 9));
        let live = budget.lane();
        live.set_proven(true);
        assert_eq!(live.share(), 92 * KIB);
        quiet[0].set_proven(true);
        assert_eq!(live.share(), 93 * KIB / 2);
        quiet[0].pause(true);
        assert_eq!(live.share(), 92 * KIB, "a refusing sink makes its lane quiet");
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_and_wants_nothing_has_no_share() {
        let budget = Budget::new(100 * KIB);
        for proven in [false, true, false] {
            let lane = budget.lane();
            lane.set_proven(proven);
            drop(lane.reserve(KIB).await);
            lane.set_proven(!proven);
            let _paused_while_held = lane.reserve(KIB).await;
            lane.pause(true);
        }
        let quiet = budget.lane();
        let live = budget.lane();
        live.set_proven(true);
        assert_eq!((budget.used(), quiet.share(), live.share()), (0, 100 * KIB, 100 * KIB));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_lane_reserves_nothing_new() {
        let lane = Budget::new(100 * KIB).lane();
        lane.pause(true);
        assert!(timeout(MOMENT, lane.reserve(KIB)).await.is_err());
        lane.pause(false);
        let _held = lane.reserve(KIB).await;
    }

    /// Lanes whose sinks have just stopped answering have reserved everything.
    #[tokio::test(start_paused = true)]
    async fn a_live_lane_that_has_nothing_takes_a_small_page_from_the_common_reserve() {
        let budget = Budget::new(16 << 20);
        let hanging = budget.lane();
        let healthy = budget.lane();
        let dead = budget.lane();
        let everything = hanging.reserve(hanging.total()).await;
        assert_eq!(budget.used(), 15 << 20);
        healthy.set_proven(true);
        assert!(timeout(MOMENT, healthy.reserve(KIB)).await.is_err(), "only for small pages");
        let page = timeout(MOMENT, healthy.reserve_page(600 * KIB, 256 * KIB)).await.unwrap();
        assert_eq!((page.bytes(), budget.used()), (256 * KIB, (15 << 20) + 256 * KIB));
        assert!(timeout(MOMENT, healthy.reserve_page(600 * KIB, 256 * KIB)).await.is_err(), "it has something");
        assert!(timeout(MOMENT, dead.reserve_page(600 * KIB, 256 * KIB)).await.is_err(), "its sink has proven nothing");

        // The lane settles what it has while it waits.
        let waiting = tokio::spawn({
            let healthy = healthy.clone();
            async move { healthy.reserve_page(600 * KIB, 256 * KIB).await.bytes() }
        });
        tokio::time::sleep(MOMENT).await;
        drop(page);
        assert_eq!(timeout(MOMENT, waiting).await.unwrap().unwrap(), 256 * KIB);
        drop(everything);
        assert_eq!(budget.used(), 0);

        // Bytes of the budget and of the common reserve are returned to where they came from.
        let mut own = healthy.reserve(10 * KIB).await;
        let all = hanging.reserve(hanging.total() - 10 * KIB).await;
        let rest = own.split(10 * KIB);
        drop(own);
        drop(rest);
        let other = budget.lane();
        other.set_proven(true);
        let mut common = other.reserve_page(600 * KIB, 256 * KIB).await;
        let mut small = other
            .budget
            .free
            .clone()
            .try_acquire_many_owned(10)
            .ok()
            .map(|own| Reservation::new(other.clone(), 10 * KIB, Permits { own: Some(own), common: None }));
        common.merge(small.take().unwrap());
        drop(common.split(100 * KIB));
        assert_eq!(budget.common.available_permits(), 1024 - 256 + (100 - 10), "its own bytes are released first");
        drop((common, all));
        assert_eq!(
            (budget.used(), budget.free.available_permits(), budget.common.available_permits()),
            (0, 15 << 10, 1 << 10)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn parts_of_a_reservation_add_up() {
        let budget = Budget::new(100 * KIB);
        let lane = budget.lane();
        lane.set_proven(true);
        let mut page = lane.reserve(40 * KIB).await;
        let mut batch = page.split(30 * KIB);
        drop(page);
        assert_eq!(budget.used(), 30 * KIB);
        let mut next = lane.reserve(10 * KIB).await;
        batch.merge(next.split(15 * KIB));
        drop(next);
        assert_eq!((budget.used(), batch.bytes()), (45 * KIB, 45 * KIB));
        assert_eq!(budget.free.available_permits(), 60, "5 KiB are beyond the budget");
        drop(batch);
        assert_eq!(budget.used(), 0);
        let _all = lane.reserve(100 * KIB).await;
    }
}
