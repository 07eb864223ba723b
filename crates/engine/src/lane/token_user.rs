//! Whose records a lane reads whose file names no ids: what the token's user sees. Another customer's token, with which
//! the worker starts, would send that customer's records to this one's destination.

use std::time::Duration;

use s1_forwarder_failure::Failure;

use super::Lane;
use super::lane_checkpoint::LaneCheckpoint;
use crate::console::{ConsoleError, UserScope};

impl Lane {
    /// Compares the scope of the token's user with the one that the lane has read. A lane of which that is not known
    /// takes the one that the worker has seen: it does not ask.
    ///
    /// # Errors
    /// When the two have nothing in common, or the console does not answer.
    pub(super) async fn check_user(&self, checkpoint: &mut LaneCheckpoint) -> Result<(), Failure> {
        let client = &self.client;
        let known = &mut checkpoint.user;
        if client.names_ids() {
            *known = Box::default();
            return Ok(());
        }
        if known.is_empty() {
            if let Some(kept) = client.kept_scope() {
                *known = kept.ids.into();
            }
            return Ok(());
        }
        let answer = client.user_scope(Duration::MAX).await;
        let scope = match answer {
            Ok(Some(scope)) => scope,
            Ok(None) => return Ok(()),
            Err(ConsoleError::Transient { reason, after, .. }) => return Err(Failure::Transient { reason, after }),
            Err(refusal) => return Err(Failure::transient(refusal.to_string())),
        };
        if scope.shares(known) {
            if scope.ids != **known {
                *known = scope.ids.into();
            }
            return Ok(());
        }
        // A new token has to be one of these records.
        client.keep_scope(UserScope::of_ids(known));
        Err(Failure::Unauthorized(format!(
            "the scope of the token's user is {}, and the lane has read {known}: put a token of that scope back; or, if \
             this is meant, name the ids in the file",
            scope.text
        )))
    }
}
