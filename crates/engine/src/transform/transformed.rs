//! Result of the transformation of a record.

use s1_forwarder_mapping::{Mapped, Schema};

use super::settings::OnError;

/// The result of mapping one record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transformed {
    /// What the mapping has shown of the record.
    pub mapped: Mapped,
    /// Reason why the user's settings drop the event. There is no event then.
    pub dropped: Option<Dropped>,
    /// Reason why the user's program failed. The event is as it was mapped.
    pub remap_error: Option<String>,
    /// Treatment of the event after such a failure. An event that is forwarded is tagged.
    pub on_error: OnError,
    /// Whether the program failed because it took too long.
    pub remap_overran: bool,
}

impl Transformed {
    /// Returns the reason why a program failed on an event that is not forwarded.
    pub fn withheld(&self) -> Option<&str> {
        if self.on_error == OnError::Deliver { None } else { self.remap_error.as_deref() }
    }

    /// Returns the error that goes next to a raw event on which a program failed: the event has no place for a tag.
    pub fn error_next_to_raw(&self, schema: Schema) -> Option<Box<str>> {
        let reason = self.remap_error.as_ref()?;
        if schema == Schema::Raw { Some(format!("remap: {reason}").into()) } else { None }
    }
}

impl From<Mapped> for Transformed {
    fn from(mapped: Mapped) -> Self {
        Self { mapped, ..Self::default() }
    }
}

/// Part of the settings that drops an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A condition of `drop`. Other programs are left that have not seen the event, unless it is the last one.
    Condition { is_last: bool },
    /// `abort` in `remap`.
    Remap,
}

impl Dropped {
    /// Returns whether all programs have seen the event, and none failed on it.
    pub fn saw_all_programs(self) -> bool {
        match self {
            Self::Condition { is_last } => is_last,
            Self::Remap => true,
        }
    }
}
