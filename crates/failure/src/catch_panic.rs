//! A mistake in the program that one customer's input uncovers must stop that customer's pipeline only.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::task::JoinError;

/// Runs code for `subject`, a file or a lane, that changes nothing outside of itself before it returns.
///
/// # Errors
/// If the code panics, with the message. The panic's place is on standard error then.
pub fn catch_panic<T>(subject: &dyn Display, run: impl FnOnce() -> T) -> Result<T, String> {
    let run = || {
        #[cfg(any(test, feature = "testing"))]
        panic_for(subject);
        run()
    };
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| format!("internal error with {subject}, please report it: {}", text(&*panic)))
}

/// Returns the result of a task that no caller aborts, and panics with the task's panic. It stays pending while the
/// runtime is shutting down, which cancels the task and soon its caller.
pub async fn result_of<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match caught(task).await {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic.into_panic()),
    }
}

/// Returns the result of a task that no caller aborts, with its panic as an error. It stays pending while the runtime
/// is shutting down.
///
/// # Errors
/// If the task panicked.
pub async fn caught<T>(task: impl Future<Output = Result<T, JoinError>>) -> Result<T, JoinError> {
    match task.await {
        Err(error) if error.is_cancelled() => std::future::pending().await,
        ended => ended,
    }
}

/// Panics with the panic of a task. The end of the runtime only cancels tasks.
pub fn resume_panic_of(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        resume_unwind(panic);
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Panics as a bug of the program would, for the test of the worker.
#[cfg(any(test, feature = "testing"))]
fn panic_for(subject: &dyn Display) {
    let subject = subject.to_string();
    assert!(!subject.contains("panics-in-its-file") && !subject.contains("panics-in-its-lane"), "a mistake");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

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

    #[tokio::test]
    async fn a_task_gives_its_result_or_its_panic_and_nothing_when_it_is_cancelled() {
        assert_eq!(result_of(tokio::spawn(async { 1 })).await, 1);
        let panicked = tokio::spawn(result_of(tokio::task::spawn_blocking(|| panic!("a mistake")))).await;
        let panic = panicked.unwrap_err().into_panic();
        assert_eq!(text(&*panic), "a mistake");
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        assert!(timeout(Duration::from_millis(20), result_of(cancelled)).await.is_err());
        // `caught` shows the panic of a task, and shows nothing of a cancelled one.
        let panicked = tokio::task::spawn_blocking(|| panic!("a mistake"));
        assert!(caught(panicked).await.is_err_and(|error| error.to_string().contains("a mistake")));
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        assert!(timeout(Duration::from_millis(20), caught(cancelled)).await.is_err());
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        resume_panic_of(cancelled.await.unwrap_err());
    }
}
