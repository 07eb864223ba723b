//! Whose records a lane reads whose file names no ids: what the token's user sees. Another customer's token, with which
//! the worker starts, would send that customer's records to this one's destination.

use std::time::Duration;

use s1_forwarder_failure::Failure;
use tracing::warn;

use super::Lane;
use super::lane_checkpoint::LaneCheckpoint;
use crate::console::{ConsoleError, UserScope};

impl Lane {
    /// Compares the scope of the token's user with the one that the lane has read. A lane that has read none takes that
    /// of its pipeline's other lanes, or the one that the worker has seen. If none is known, the console is not asked.
    ///
    /// # Errors
    /// When the two have nothing in common, or the console does not say.
    pub(super) async fn check_user(&self, checkpoint: &mut LaneCheckpoint) -> Result<(), Failure> {
        let client = &self.client;
        let known = &mut checkpoint.user;
        if client.names_ids() {
            *known = Box::default();
            return Ok(());
        }
        if known.is_empty() {
            let Some(kept) = client.kept_scope() else { return Ok(()) };
            *known = kept.ids.into();
        }
        let scope = match client.user_scope(Duration::MAX).await {
            Ok(scope) => scope,
            // The poll says it.
            Err(ConsoleError::Unauthorized(_) | ConsoleError::NoToken(_)) => return Ok(()),
            Err(failure) => return Err(Failure::from(failure)),
        };
        let reason = match scope {
            Some(scope) if scope.shares(known) => {
                if scope.ids != **known {
                    warn!(was = %known, is = scope.ids, "the scope of the token's user has changed: name ids in the file");
                    *known = scope.ids.into();
                }
                return Ok(());
            }
            Some(scope) => format!("the scope of the token's user is {}", scope.text),
            None => "the console does not say whose records the token reads".to_owned(),
        };
        // From now on, no new token is used whose user sees none of these records.
        client.keep_scope(UserScope::of_ids(known));
        Err(Failure::Unauthorized(format!(
            "{reason}, and the lane has read {known}: put a token of that scope back; or, if this is meant, name the ids \
             in the file"
        )))
    }
}
