//! Catches panics of VRL's functions: some panic on bytes that are no text.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_PROGRAM: Cell<bool> = const { Cell::new(false) };
}

/// Runs a program. Returns `None` if it panics. Nothing prints the panic: its text may have values of the event, and
/// each event may cause one.
pub(super) fn caught<T>(program: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_PROGRAM.get() {
                others(panic);
            }
        }));
    });
    IS_PROGRAM.set(true);
    let result = catch_unwind(AssertUnwindSafe(program));
    IS_PROGRAM.set(false);
    result.ok()
}
