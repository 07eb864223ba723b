//! A mistake in the program that one customer's input uncovers must stop that customer's pipeline only.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that changes nothing outside of itself before it returns.
///
/// # Errors
/// The message, if it panics. The panic's place is on standard error then.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| format!("internal error, please report it: {}", text(&*panic)))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        let number = 7;
        for (caught, message) in [
            (catch_panic(|| panic!("a mistake")), "internal error, please report it: a mistake"),
            (catch_panic(|| panic!("mistake {number}")), "internal error, please report it: mistake 7"),
            (catch_panic(|| std::panic::panic_any(7)), "internal error, please report it: no message"),
        ] {
            assert_eq!(caught, Err::<(), _>(message.to_owned()));
        }
    }
}
