//! The check of the token's user. A lane whose file names no ids reads all records that this user sees. If the worker
//! started with another customer's token, the lane would send that customer's records to this customer's destination.

use std::time::Duration;

use s1_forwarder_failure::Failure;

use super::Lane;
use super::lane_checkpoint::LaneCheckpoint;
use crate::console::{ConsoleError, UserScope};

impl Lane {
    /// Compares the scope of the token's user with the scope that the lane has read. A lane that has read no scope
    /// adopts the scope of its pipeline's other lanes, or the scope that the worker has seen. If no scope is known, the
    /// lane does not ask the console.
    ///
    /// # Errors
    /// If the two scopes have nothing in common, or the console does not say whose records the token reads.
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
        let mut scope = client.user_scope(Duration::MAX).await;
        let is_same = |scope: &UserScope| scope.shares(known);
        // What the console said may have been put right since: each attempt of a refused lane asks again.
        if matches!(&scope, Ok(said) if !said.as_ref().is_some_and(is_same)) {
            scope = client.user_scope(Duration::ZERO).await;
        }
        let scope = match scope {
            Ok(scope) => scope,
            // The poll reports this failure.
            Err(ConsoleError::Unauthorized(_) | ConsoleError::NoToken(_)) => return Ok(()),
            Err(failure) => return Err(Failure::from(failure)),
        };
        let reason = match scope {
            // A wider scope stays a warning: if it counted as read, the other customer's token would be accepted next.
            Some(scope) if scope.shares(known) => return Ok(()),
            Some(scope) => format!(
                "the scope of the token's user is {}, and the lane has read {known}: put a token of that scope back; or, \
                 if this is meant, name the ids in the file",
                scope.text
            ),
            None => format!(
                "the console does not say whose records the token reads, and the lane has read {known}: let the token's \
                 role view its own user (GET user), or name the ids in the file"
            ),
        };
        // From now on, the client uses no new token whose user sees none of these records.
        client.keep_scope(UserScope::of_ids(known));
        Err(Failure::unauthorized(reason))
    }
}
