//! The process-wide byte budget: every byte between a console's answer and a sink's acknowledgement is reserved here first.
//!
//! Who waits is served in turn. No lane holds more than twice its fair share (the budget divided by the lanes that hold or
//! want something); one that holds nothing may always take up to one share, so that nobody waits for himself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size: a semaphore counts to 2³² at most.
const UNIT: usize = 1024;

/// The bytes that all lanes together may hold.
#[derive(Debug)]
pub struct Budget {
    total: usize,
    room: Arc<Semaphore>,
    /// Bytes held, those included that had no room (see [`Reservation::split`]).
    used: AtomicUsize,
    /// Lanes that hold or want bytes.
    active: AtomicUsize,
}

/// One lane's way to the budget; clones are the same lane.
#[derive(Debug, Clone)]
pub struct LaneBudget {
    budget: Arc<Budget>,
    account: Arc<Account>,
}

#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    /// Requests under way and reservations held: the lane is active while there are any.
    claims: AtomicUsize,
    paused: AtomicBool,
    /// The sink has taken something since it last failed for long: until then the lane holds one reservation at a time.
    proven: AtomicBool,
    /// Signalled when the lane holds less or may reserve again. One task of a lane reserves at a time.
    changed: Notify,
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    claim: Claim,
}

/// Makes its lane count as active for as long as it lives.
#[derive(Debug)]
struct Claim(LaneBudget);

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        let units = (total / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Arc::new(Self {
            total: units * UNIT,
            room: Arc::new(Semaphore::new(units)),
            used: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
        })
    }

    /// Bytes held now (`in_flight_bytes`).
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An account for a lane.
    pub fn lane(self: &Arc<Self>) -> LaneBudget {
        LaneBudget { budget: self.clone(), account: Arc::default() }
    }
}

impl LaneBudget {
    /// The lane's fair share in bytes, with itself counted as active.
    pub fn share(&self) -> usize {
        let others = self.budget.active.load(Ordering::Relaxed);
        let itself = usize::from(self.account.claims.load(Ordering::Relaxed) == 0);
        self.budget.total / (others + itself).max(1)
    }

    /// Bytes that the lane holds.
    pub fn held(&self) -> usize {
        self.account.held.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` (at most one share) may be held.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let claim = Claim::new(self.clone());
        loop {
            let held = self.held();
            let within_cap = held == 0 || self.is_proven() && held + bytes <= 2 * self.share();
            if within_cap && !self.account.paused.load(Ordering::Acquire) {
                break;
            }
            self.account.changed.notified().await;
        }
        let wanted = bytes.min(self.budget.total);
        // The semaphore is never closed, so this always yields a permit.
        let permit = self.budget.room.clone().acquire_many_owned(units(wanted)).await.ok();
        Reservation::new(bytes, permit, claim)
    }

    /// Whether the sink has taken something since it last failed for long.
    pub fn is_proven(&self) -> bool {
        self.account.proven.load(Ordering::Acquire)
    }

    /// A lane whose sink has not proven itself holds one reservation at a time, so that ninety dead sinks of a hundred do
    /// not hold the budget before it shows that they are dead.
    pub fn set_proven(&self, proven: bool) {
        self.account.proven.store(proven, Ordering::Release);
        self.account.changed.notify_one();
    }

    /// Largest reservation that can ever be had.
    pub fn total(&self) -> usize {
        self.budget.total
    }

    /// While paused, nothing new is reserved: set from the sink's first refusal until it takes something again.
    pub fn pause(&self, paused: bool) {
        self.account.paused.store(paused, Ordering::Release);
        self.account.changed.notify_one();
    }
}

impl Reservation {
    fn new(bytes: usize, permit: Option<OwnedSemaphorePermit>, claim: Claim) -> Self {
        claim.0.budget.used.fetch_add(bytes, Ordering::Relaxed);
        claim.0.account.held.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, permit, claim }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves `bytes` of this reservation into one of their own; what is not there is added without room (the bytes exist
    /// already, and refusing to count them would not unmake them).
    pub fn split(&mut self, bytes: usize) -> Self {
        let moved = bytes.min(self.bytes);
        let permit = self.permit.as_mut().and_then(|permit| {
            let have = permit.num_permits();
            permit.split((units(moved) as usize).min(have))
        });
        self.bytes -= moved;
        let claim = Claim::new(self.claim.0.clone());
        claim.0.budget.used.fetch_sub(moved, Ordering::Relaxed);
        claim.0.account.held.fetch_sub(moved, Ordering::Relaxed);
        Self::new(bytes, permit, claim)
    }

    /// Takes `other`, of the same lane, into this one.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        match (&mut self.permit, other.permit.take()) {
            (Some(mine), Some(permit)) => mine.merge(permit),
            (mine @ None, permit) => *mine = permit,
            (Some(_), None) => {}
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let lane = &self.claim.0;
        lane.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        lane.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
        lane.account.changed.notify_one();
    }
}

impl Claim {
    fn new(lane: LaneBudget) -> Self {
        if lane.account.claims.fetch_add(1, Ordering::Relaxed) == 0 {
            lane.budget.active.fetch_add(1, Ordering::Relaxed);
        }
        Self(lane)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.0.account.claims.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.budget.active.fetch_sub(1, Ordering::Relaxed);
        }
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
    async fn the_budget_is_shared_and_given_back() {
        let budget = Budget::new(100 * KIB);
        let (first, second) = (budget.lane(), budget.lane());
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
            held.push(lane.reserve(KIB).await);
        }
        assert_eq!(lanes[0].share(), 10 * KIB);
        assert!(timeout(MOMENT, lanes[0].reserve(KIB)).await.is_err(), "its sink has not proven itself");
        lanes[0].set_proven(true);
        let more = lanes[0].reserve(19 * KIB).await;
        assert!(timeout(MOMENT, lanes[0].reserve(KIB)).await.is_err(), "over twice the share");
        drop(more);
        let _more = lanes[0].reserve(KIB).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_lane_reserves_nothing_new() {
        let lane = Budget::new(100 * KIB).lane();
        lane.pause(true);
        assert!(timeout(MOMENT, lane.reserve(KIB)).await.is_err());
        lane.pause(false);
        let _held = lane.reserve(KIB).await;
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
        assert_eq!((budget.used(), batch.bytes(), lane.held()), (45 * KIB, 45 * KIB, 45 * KIB));
        drop(batch);
        assert_eq!((budget.used(), lane.held()), (0, 0));
        let _all = lane.reserve(100 * KIB).await;
    }
}
