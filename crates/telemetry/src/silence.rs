//! Whether a console is silent.

/// What a lane knows of its console: whether it shows new records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// No poll has been complete since the lane began, or began again.
    Unpolled,
    /// The lane has no rule that judges its console.
    NotJudged,
    /// The console has shown something new within the lane's `silent_after`.
    Speaking,
    /// The console had shown nothing new for longer than `silent_after` when the last complete poll began.
    Silent,
}

impl Silence {
    pub fn is_silent(self) -> bool {
        self == Self::Silent
    }

    /// Returns whether the console is silent; `None` if that is unknown.
    pub fn is_known_silent(self) -> Option<bool> {
        match self {
            Self::Unpolled | Self::NotJudged => None,
            Self::Speaking => Some(false),
            Self::Silent => Some(true),
        }
    }
}
