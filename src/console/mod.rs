//! The SentinelOne management console: requests, pages and cursors, errors, rate limit.

mod settings;
mod url;

pub use settings::Settings;
pub use url::{ConsoleUrl, ConsoleUrlError};
