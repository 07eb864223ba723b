//! The early end of a lane's comparison.

use super::super::VerifyError;

/// Why a lane's comparison ends early.
pub enum End {
    /// No answer is a proof.
    Unseen(String),
    Failed(VerifyError),
}

impl<T: Into<VerifyError>> From<T> for End {
    fn from(error: T) -> Self {
        Self::Failed(error.into())
    }
}
