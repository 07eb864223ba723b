//! The SentinelOne management console: requests, pages and cursors, errors, rate limit.

mod client;
mod endpoint;
mod error;
mod limiter;
mod settings;
mod tokens;
mod transport;
mod unified_alerts;
mod url;

pub use client::{Client, Turn};
pub use endpoint::Endpoint;
pub use error::ConsoleError;
pub use limiter::{Limiter, LimiterKey, Limiters};
pub use settings::Settings;
pub use transport::{Cut, HttpTransport, Request, Response, Transport, TransportError};
pub use unified_alerts::AlertsQuery;
pub use url::{ConsoleUrl, ConsoleUrlError};
