//! Ends a program that takes too long or too much memory.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
use tokio::time::Instant;
use vrl::compiler::runtime::ExecutionControl;

use crate::program_threads::processor_time;

/// Maximum number of expressions that a program evaluates for one event. A deeper value cannot be built.
const MAX_EXPRESSIONS: u32 = 10_000;
/// Maximum time of the processor for one event. A machine that is busy with other things does not count.
pub(super) const MAX_TIME: Duration = Duration::from_millis(100);
/// Maximum time by the clock, for a thread that gets hardly any of the processor.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Maximum bytes that are allocated for one event, in all.
const MAX_ALLOCATED: u64 = 32 * 1024 * 1024;

const TOO_MANY: &str = "the program was ended: more than 10,000 expressions for one event";
const TOO_LARGE: &str = "the program was ended: more than 32 MiB of memory for one event";

thread_local! {
    static LAST_CALL: Cell<Option<Call>> = const { Cell::new(None) };
    /// Number of arguments that were measured. Those expressions are not the user's.
    static MEASURED: Cell<u32> = const { Cell::new(0) };
}

/// A call of a function, by its place in the source of its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform) struct Call {
    pub function: &'static str,
    /// Place of an argument, as a number of bytes.
    pub offset: usize,
}

/// Returns the last call of the program that runs on this thread.
pub(super) fn last_call() -> Option<Call> {
    LAST_CALL.get()
}

/// Reason why a program was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform) enum Ended {
    /// The program reached a limit of work or memory.
    Limit(&'static str),
    /// The program took longer than [`MAX_TIME`]. The call is the last one before that.
    Overran(Option<Call>),
}

/// The limits of all programs that run on one event.
pub(in crate::transform) struct Control {
    started_at: Instant,
    begun_on_processor: Duration,
    expressions: u32,
    /// Bytes that this thread has allocated so far, as counted by the allocator. The allocator is the program's, not a
    /// test's.
    allocated: Option<ThreadLocal<u64>>,
    before: u64,
}

impl Control {
    /// Begins to measure the programs of an event.
    pub fn start() -> Self {
        let allocated = allocatedp::read().ok();
        let before = allocated.as_ref().map_or(0, |bytes| bytes.get());
        MEASURED.set(0);
        Self { started_at: Instant::now(), begun_on_processor: processor_time(), expressions: 0, allocated, before }
    }

    /// Notes that another program runs on the event.
    pub fn next_program(&self) {
        LAST_CALL.set(None);
    }

    /// Notes that an argument of `call` was evaluated to measure it.
    pub fn measured(call: Call) {
        LAST_CALL.set(Some(call));
        MEASURED.set(MEASURED.get().saturating_add(1));
    }

    /// Returns why the program has to end, or should have ended before.
    pub fn ended(&self) -> Option<Ended> {
        if self.is_late() { Some(Ended::Overran(LAST_CALL.get())) } else { self.is_spent().map(Ended::Limit) }
    }

    /// Returns the limit of work or memory that is reached.
    fn is_spent(&self) -> Option<&'static str> {
        if self.allocated.as_ref().is_some_and(|bytes| bytes.get().saturating_sub(self.before) > MAX_ALLOCATED) {
            return Some(TOO_LARGE);
        }
        let expressions = self.expressions.saturating_sub(MEASURED.get());
        (expressions > MAX_EXPRESSIONS).then_some(TOO_MANY)
    }

    fn is_late(&self) -> bool {
        let waited = self.started_at.elapsed();
        // The thread cannot have had more of the processor than `waited`. Asking the clock is cheaper.
        waited > MAX_TIME && (processor_time().saturating_sub(self.begun_on_processor) > MAX_TIME || waited > MAX_WAIT)
    }
}

impl ExecutionControl for Control {
    fn checkpoint(&mut self) -> ControlFlow<()> {
        self.expressions += 1;
        // The clock is asked now and then: one expression takes a tenth of a second at most.
        if self.is_spent().is_some() || self.expressions.is_multiple_of(4) && self.is_late() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Bytes that this thread allocates and does not free.
pub(in crate::transform) struct Kept {
    allocated: Option<ThreadLocal<u64>>,
    deallocated: Option<ThreadLocal<u64>>,
    before: i64,
}

impl Kept {
    pub fn start() -> Self {
        let mut kept = Self { allocated: allocatedp::read().ok(), deallocated: deallocatedp::read().ok(), before: 0 };
        kept.before = kept.bytes();
        kept
    }

    /// Returns the number of bytes since the start. It is negative if the thread frees more.
    pub fn bytes(&self) -> i64 {
        let (Some(allocated), Some(deallocated)) = (&self.allocated, &self.deallocated) else { return 0 };
        // Both count from the thread's beginning and wrap around.
        allocated.get().wrapping_sub(deallocated.get()).cast_signed().wrapping_sub(self.before)
    }
}
