//! A mistake in the program that one customer's input uncovers must stop that customer's pipeline only.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code for `subject`, a file or a lane, that changes nothing outside of itself before it returns.
///
/// # Errors
/// The message, if it panics. The panic's place is on standard error then.
pub(crate) fn catch_panic<T>(subject: &dyn Display, run: impl FnOnce() -> T) -> Result<T, String> {
    let run = || {
        #[cfg(test)]
        tests::panic_for(subject);
        run()
    };
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| format!("internal error with {subject}, please report it: {}", text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mistakes of the program, for the test of the worker.
    pub(super) fn panic_for(subject: &dyn Display) {
        let subject = subject.to_string();
        assert!(!subject.contains("panics-in-its-file") && !subject.contains("panics-in-its-lane"), "a mistake");
    }

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(catch_panic(&"acme", || 1), Ok(1));
        let number = 7;
        for (caught, message) in [
            (catch_panic(&"acme", || panic!("a mistake")), "a mistake"),
            (catch_panic(&"acme", || panic!("mistake {number}")), "mistake 7"),
            (catch_panic(&"acme", || std::panic::panic_any(7)), "no message"),
        ] {
            assert_eq!(caught, Err::<(), _>(format!("internal error with acme, please report it: {message}")));
        }
    }
}
