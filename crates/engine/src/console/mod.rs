//! The SentinelOne management console: requests, pages and cursors, errors, rate limit.

pub mod advice;
mod client;
mod endpoint;
mod error;
mod limiter;
mod reach;
mod redactor;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;
mod settings;
mod tokens;
mod transport;
mod trials;
mod unified_alert_fields;
mod unified_alerts;
mod url;
mod user_scope;

pub use client::{Client, ClockChange, RequestPermit, ScopeFilter, System};
pub use endpoint::{Endpoint, ListOrder};
pub use error::ConsoleError;
pub use limiter::{LaneShare, Limiter, LimiterKey, Limiters};
pub use reach::{ReachError, Reached, proxy, reach};
pub use redactor::SecretRedactor;
pub use settings::ConsoleSettings;
pub use transport::{HttpTransport, Request, Response, Transport, TransportError, TruncatedBody, within};
pub use trials::{OtherScope, TokenVerdict};
pub use unified_alerts::AlertFields;
pub use url::{ConsoleUrl, ConsoleUrlError};
pub use user_scope::UserScope;
