//! Ends a program that takes too long or too much memory.

use std::ops::ControlFlow;
use std::time::Duration;

use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp};
use tokio::time::Instant;
use vrl::compiler::runtime::ExecutionControl;

/// Maximum number of expressions that a program evaluates for one event. A deeper value cannot be built.
const MAX_EXPRESSIONS: u32 = 10_000;
/// Maximum time for one event.
const MAX_TIME: Duration = Duration::from_millis(100);
/// Maximum bytes that are allocated for one event, in all.
const MAX_ALLOCATED: u64 = 32 * 1024 * 1024;

const TOO_LONG: &str = "the program was ended: more than 10,000 expressions, or more than 100 ms, for one event";
const TOO_LARGE: &str = "the program was ended: more than 32 MiB of memory for one event";

pub(super) struct Control {
    begun: Instant,
    expressions: u32,
    /// The bytes that this thread has allocated so far, which the allocator counts. It is the program's, not a test's.
    allocated: Option<ThreadLocal<u64>>,
    before: u64,
    reason: &'static str,
}

impl Control {
    pub fn start() -> Self {
        let allocated = allocatedp::read().ok();
        let before = allocated.as_ref().map_or(0, |bytes| bytes.get());
        Self { begun: Instant::now(), expressions: 0, allocated, before, reason: TOO_LONG }
    }

    /// Why the program was ended.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl ExecutionControl for Control {
    fn checkpoint(&mut self) -> ControlFlow<()> {
        self.expressions += 1;
        if self.allocated.as_ref().is_some_and(|bytes| bytes.get().saturating_sub(self.before) > MAX_ALLOCATED) {
            self.reason = TOO_LARGE;
            return ControlFlow::Break(());
        }
        // The clock is asked now and then: most programs are shorter.
        let late = self.expressions.is_multiple_of(16) && self.begun.elapsed() > MAX_TIME;
        if late || self.expressions > MAX_EXPRESSIONS {
            self.reason = TOO_LONG;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
