//! The checkpoint that a lane starts from.

use s1_forwarder_failure::Failure;
use s1_forwarder_record::Timestamp;
use tracing::info;

use super::Lane;
use super::checkpoint_copy::{Claimed, claim, copy_of, write_copy};
use super::clocks::Clocks;
use super::lane_checkpoint::LaneCheckpoint;
use crate::checkpoint::CheckpointBackend;
use crate::checkpoint::ledger::Ledger;
use crate::console::UserScope;
use crate::source::{Rhythm, Since, SourcePosition, TimeField};

impl Lane {
    /// Claims the lane's checkpoint, or stores a new one that begins at `since`. If the state store lacks the copy,
    /// writes the copy too, before anything is pulled. Returns `None` if the lane is new and has to learn its console's
    /// time before it begins.
    ///
    /// # Errors
    /// If the checkpoint cannot be claimed, read or stored, with the reason.
    pub(super) async fn try_open(&self) -> Result<Option<LaneCheckpoint>, Failure> {
        // A claim would take the checkpoint from the worker that has the shard by now.
        if self.delivery.deadline.has_passed() {
            return Err(Failure::transient("the lease of the lane's shard was not renewed in time"));
        }
        let (backend, copies) = self.backends();
        let Claimed { checkpoint, lacks_copy } = claim(&*backend, copies.as_deref(), &self.key).await?;
        let checkpoint = match checkpoint {
            Some(bytes) => self.go_on(&*backend, &bytes).await?,
            None => match self.begin(&*backend).await? {
                Some(checkpoint) => checkpoint,
                None => return Ok(None),
            },
        };
        if let Some(copies) = &copies
            && lacks_copy
        {
            write_copy(&**copies, &self.key, copy_of(&checkpoint)).await?;
        }
        Ok(Some(checkpoint))
    }

    /// Stores the checkpoint of a new lane. Returns `None` if its clocks do not allow it to begin yet. A closed window
    /// does not depend on clocks.
    async fn begin(&self, backend: &dyn CheckpointBackend) -> Result<Option<LaneCheckpoint>, Failure> {
        let now = match self.pull.window {
            Some(window) => window.to,
            None => match Clocks::of(&self.client).beginning() {
                Ok(now) => now,
                Err(_) => return Ok(None),
            },
        };
        let since_resolved = resolve(self.pull.since, now);
        let checkpoint = self.first_checkpoint(since_resolved, self.has_journals(backend));
        backend.commit(&self.key, checkpoint.encode().into()).await?;
        if self.pull.window.is_none() {
            info!(since = %since_resolved, "a new lane begins at `since`");
        }
        Ok(Some(checkpoint))
    }

    /// Returns the checkpoint of a lane that begins at this time.
    pub(super) fn first_checkpoint(&self, since_resolved: Timestamp, has_journals: bool) -> LaneCheckpoint {
        let mut position = SourcePosition::starting_at(since_resolved);
        position.add_passes(&self.pull.passes());
        let ledger = Ledger::begin(since_resolved, self.pull.asked(&self.client), has_journals);
        let host = self.client.host().into();
        let scope = self.client.scope().into();
        let since = self.pull.since.to_string().into();
        let mut checkpoint = LaneCheckpoint::begin(host, scope, since, since_resolved, position, ledger);
        self.describe(&mut checkpoint);
        checkpoint
    }

    /// Sets the sink's type, the tenant, the target and the store of dead letters in the checkpoint.
    fn describe(&self, checkpoint: &mut LaneCheckpoint) {
        checkpoint.sink_type = self.meter().sink_type().into();
        checkpoint.tenant = self.tenant.as_deref().unwrap_or_default().into();
        checkpoint.target.set(self.target, self.now());
        checkpoint.dead_letters.set_store(self.delivery.dead_letters.flags());
    }

    /// Returns whether the ledger has journals. A backfill has none, since the console's count verifies it. A repair
    /// has them, since the identities of the delivered records have to be known.
    fn has_journals(&self, backend: &dyn CheckpointBackend) -> bool {
        let is_backfill = self.pull.window.is_some_and(|window| window.time == TimeField::Order);
        backend.keeps_journals() && !is_backfill
    }

    /// Decodes the stored checkpoint, and adapts it to the lane's present settings.
    async fn go_on(&self, backend: &dyn CheckpointBackend, stored: &[u8]) -> Result<LaneCheckpoint, Failure> {
        let host = Box::from(self.client.host());
        let scope = self.client.scope().into_boxed_str();
        let asked = self.pull.asked(&self.client);
        let journals = self.has_journals(backend);
        let now = self.now();
        let mut checkpoint = LaneCheckpoint::decode(stored)?;
        checkpoint.load(backend, &self.key).await?;
        let passes = self.pull.passes();
        checkpoint.position.add_passes(&passes);
        // A poll of everything that the token may see finds out which scopes of findings the token has.
        if passes.iter().all(|pass| !pass.reads_all_findings()) {
            checkpoint.position.forget_others(&passes);
        }
        self.describe(&mut checkpoint);
        if checkpoint.host != host || checkpoint.ledger.filter() != asked {
            // The lane reads other records now, whose rhythm is unknown.
            checkpoint.rhythm = Rhythm::default();
        }
        if checkpoint.host != host {
            info!(was = %checkpoint.host, is = %host, "the console has changed: keeping the time and forgetting the keys");
            checkpoint.restart_ledger(checkpoint.position.bound(), asked.clone(), journals, now);
            checkpoint.position.forget_keys();
            checkpoint.user = Box::default();
            checkpoint.host = host;
        }
        if !checkpoint.user.is_empty() && !self.client.names_ids() {
            // The client has to know the scope before any lane of the pipeline polls, a new one included.
            self.client.keep_scope(UserScope::of_ids(&checkpoint.user));
        }
        if checkpoint.scope != scope {
            info!(was = %checkpoint.scope, is = %scope, "the scope has changed: only `backfill` fetches older records \
                of the added scope");
            checkpoint.scope = scope;
        }
        if *checkpoint.since != *self.pull.since.to_string() {
            info!(was = %checkpoint.since, is = %self.pull.since, "`since` was resolved at the first start; the edit is ignored");
        }
        if journals {
            checkpoint.ledger.keep_identities(now);
            checkpoint.ledger.sum_deliveries(now.max(checkpoint.position.newest()));
        }
        if checkpoint.ledger.filter() != asked || checkpoint.ledger.has_journals() != journals {
            let from = checkpoint.position.newest();
            checkpoint.restart_ledger(from, asked, journals, now);
            let earlier = match checkpoint.former {
                Some(_) => "`verify` compares earlier hours with the former one",
                None => "earlier hours are not compared any more",
            };
            info!(%from, "pull settings or state store have changed: starting a new ledger; {earlier}");
        }
        Ok(checkpoint)
    }
}

fn resolve(since: Since, now: Timestamp) -> Timestamp {
    match since {
        Since::Ago(period) => now.minus(period.0),
        Since::At(time) => time,
        Since::Now => now,
        Since::Beginning => Timestamp::default(),
    }
}
