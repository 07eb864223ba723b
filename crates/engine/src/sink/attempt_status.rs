//! The result of an attempt to deliver a batch.

use std::borrow::Cow;

use http::StatusCode;

/// The status of an attempt that sent nothing because the request exceeds a limit of the destination.
pub const TOO_LARGE: &str = "too_large";

/// What an attempt ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptStatus {
    /// The status of the response.
    Http(StatusCode),
    /// Nothing was sent because the request exceeds a limit of the destination.
    TooLarge,
    /// The reader of a stream or pipe has gone.
    Closed,
    /// A Kafka error name, `ok`, `timeout`, `connect`, …
    Other(Cow<'static, str>),
}

impl AttemptStatus {
    /// Returns the value of the label `status` of `sink_requests_total`.
    pub fn label(&self) -> &str {
        match self {
            Self::Http(status) => status.as_str(),
            Self::TooLarge => TOO_LARGE,
            Self::Closed => "closed",
            Self::Other(name) => name,
        }
    }

    /// Returns the status with this label; `TooLarge` and `Closed` are not parsed.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_label(label: &str) -> Self {
        label.parse().map_or_else(|_| Self::Other(label.to_owned().into()), Self::Http)
    }
}

impl From<&'static str> for AttemptStatus {
    fn from(name: &'static str) -> Self {
        Self::Other(name.into())
    }
}

impl From<String> for AttemptStatus {
    fn from(name: String) -> Self {
        Self::Other(name.into())
    }
}
