//! Delivers events again that a destination no longer has, to that sink alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::ledger::Hour;
use s1_forwarder_engine::checkpoint::{CheckpointKey, CheckpointUpdate, StateError, Store, StoredPart};
use s1_forwarder_engine::sink::lookup::{Inconclusive, Lookup};
use s1_forwarder_engine::source::RecordFilter;
use s1_forwarder_record::{Identity, LaneId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::completeness::window;
use super::super::{Redelivered, Redelivery, Selected, VerifyError};
use super::dead_letters::stored_since;
use super::judgement::{Candidate, MAX_RETURNED};
use super::owed_reader::IDS;
use super::report::{DestinationReport, RepairReport};
use super::target_reader::{in_parts, until_answered};
use crate::lanes::spec::LaneSpec;
use crate::shared::Shared;
use crate::usage::CommandUsage;

/// A repair sends more than this only if the operator names the number: a wrong role must not send a year again.
const USUAL: u64 = 1_000;
/// An event that vanishes again within this time is not sent once more.
const AGAIN: Duration = Duration::from_hours(24);
/// Version of the stored history.
const VERSION: u32 = 1;

/// How many records a repair may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairLimit {
    /// A thousand, and one in a hundred.
    Usual,
    /// As many as are missing in all lanes.
    Number(u64),
}

/// The events that one lane delivers again.
pub struct LaneRepair {
    pub spec: Arc<LaneSpec>,
    pub missing: Vec<Candidate>,
    /// The number of missing records that the lane has never read.
    pub never_read: u64,
    pub lookup: Arc<dyn Lookup>,
}

pub struct DestinationRepair<'a> {
    pub shared: &'a Arc<Shared>,
    /// The area of the repairs.
    pub store: &'a dyn Store,
    pub selected: &'a Selected,
    pub usage: &'a CommandUsage,
    pub most: RepairLimit,
    /// Number of missing events in all lanes.
    pub total: u64,
}

/// The times at which identities were delivered again.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    v: u32,
    /// Microseconds since 1970, by identity.
    returned: BTreeMap<String, i64>,
}

impl DestinationRepair<'_> {
    /// Delivers the missing events of a lane again, unless this is refused, or the destination has them meanwhile.
    ///
    /// # Errors
    /// If the state cannot be used.
    pub async fn run(
        &self,
        report: &DestinationReport,
        returning: LaneRepair,
        stop: &CancellationToken,
    ) -> Result<RepairReport, VerifyError> {
        if let Some(reason) = self.refusal(report, returning.never_read) {
            return Ok(RepairReport { refused: Some(reason), ..RepairReport::default() });
        }
        let LaneRepair { spec, mut missing, lookup, .. } = returning;
        let mut result = RepairReport::default();
        let now = self.shared.options.clock.now();
        let mut history = self.history(&spec.id).await?;
        history.retain(|_, time| now.since(Timestamp::from_micros(*time)) < AGAIN);
        let found = missing.len();
        missing.retain(|candidate| !history.contains_key(&candidate.owed.identity.to_string()));
        result.vanished_again = (found - missing.len()) as u64;
        // Other lanes may have been judged and repaired since this one was judged.
        match self.found(&*lookup, &missing).await {
            Ok(present) => {
                result.found_meanwhile = present.len() as u64;
                missing.retain(|candidate| !present.contains(&candidate.owed.identity));
            }
            Err(inconclusive) => {
                let reason = format!("the destination does not say whether the events came meanwhile: {inconclusive}");
                return Ok(RepairReport { refused: Some(reason), ..result });
            }
        }
        missing.sort_by_key(|candidate| candidate.hour);
        let mut done = 0;
        let mut tried = 0;
        let mut sent = Redelivered::default();
        let of_hours = missing.chunk_by(|one, other| one.hour == other.hour);
        for part in of_hours.flat_map(|candidates| candidates.chunks(IDS)) {
            let Some(Candidate { hour, .. }) = part.first() else { continue };
            tried += part.len();
            let sent_at = self.shared.options.clock.now();
            let refused = match self.send(&spec, *hour, part, stop).await? {
                Ok(Redelivered { delivered, dead_letters }) => {
                    sent.delivered += delivered;
                    sent.dead_letters += dead_letters;
                    if dead_letters > 0 { self.refused_since(&spec.id, sent_at).await } else { HashSet::new() }
                }
                Err(reason) => {
                    result.refused = Some(reason);
                    break;
                }
            };
            done = tried;
            // Only an event that was delivered can vanish again. After a kill, a part is sent once more if it is still
            // missing.
            let delivered = part.iter().map(|candidate| candidate.owed.identity).filter(|id| !refused.contains(id));
            history.extend(delivered.map(|identity| (identity.to_string(), now.micros())));
            self.remember(&spec.id, history.clone()).await?;
        }
        let Redelivered { delivered, dead_letters } = sent;
        result.gone = (done as u64).saturating_sub(delivered + dead_letters);
        result.dead_letters = dead_letters;
        missing.truncate(tried);
        if delivered + dead_letters > 0 {
            let visible = self.visible(&*lookup, &missing).await;
            result.repaired = (visible.len() as u64).min(delivered);
            result.not_visible = delivered - result.repaired;
            self.audit(&*lookup, &missing, &visible, now);
        }
        Ok(result)
    }

    /// Returns the events of the lane that the destination has refused since then. Empty if the dead letters cannot be
    /// read.
    async fn refused_since(&self, lane: &LaneId, since: Timestamp) -> HashSet<Identity> {
        stored_since(&self.shared.options, lane, since).await.unwrap_or_else(|error| {
            warn!(%error, "it is not known which events of a repair became dead letters: none is sent again for a day");
            HashSet::new()
        })
    }

    /// Returns why nothing is sent. `None` if the repair may send.
    fn refusal(&self, report: &DestinationReport, never_read: u64) -> Option<String> {
        let missing = report.missing();
        let owed: u64 = report.hours.values().map(|row| row.owed).sum();
        let is_too_much = match self.most {
            RepairLimit::Usual => self.total > USUAL || missing * 100 > owed,
            // Any other number is of another answer.
            RepairLimit::Number(shown) => self.total != shown,
        };
        if never_read > 0 {
            return Some(format!(
                "the lane has never read {never_read} of these records, and both repairs would send them: verify \
                 --repair without --destination delivers them; then ask the destination again"
            ));
        }
        if self.total > MAX_RETURNED as u64 {
            return Some(format!("a repair sends no more than {MAX_RETURNED} records: choose a shorter window"));
        }
        is_too_much.then(|| {
            format!(
                "{missing} of {owed} are missing: look at the target and at what the credential may read; \
                 --repair={} delivers them",
                self.total
            )
        })
    }

    /// Pulls these records by id, and delivers those that are still in this version. Returns their numbers, or why not
    /// all were delivered.
    async fn send(
        &self,
        spec: &LaneSpec,
        hour: Hour,
        records: &[Candidate],
        stop: &CancellationToken,
    ) -> Result<Result<Redelivered, String>, VerifyError> {
        let ids: Vec<CompactString> = records.iter().map(|record| record.owed.id.clone()).collect();
        let identities: HashSet<Identity> = records.iter().map(|record| record.owed.identity).collect();
        let key = CheckpointKey { lane: spec.id.clone(), part: StoredPart::Returning };
        self.forget(&key).await?;
        let delivery = Redelivery {
            shared: self.shared,
            spec,
            pull: spec.pull.within(window(&(hour..hour.plus(1)))).of_ids(&ids),
            key: key.clone(),
            wanted: Some(RecordFilter::Only(Arc::new(identities))),
            timeout: self.selected.once_timeout,
        };
        let sent = delivery.run(self.usage, stop).await;
        self.forget(&key).await?;
        let delivered = sent.as_ref().ok().map(|sent| sent.delivered);
        info!(hour = %hour, records = records.len(), delivered, "delivered again what was missing");
        Ok(sent)
    }

    /// Removes the checkpoint of a repair. An earlier repair may have left one because it was killed. A repair that
    /// sent nothing may have stored none.
    async fn forget(&self, key: &CheckpointKey) -> Result<(), VerifyError> {
        match self.store.delete(key).await {
            Ok(()) | Err(StateError::Unknown(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs a line for each event that a repair was to send: a later investigation needs to know of each.
    fn audit(&self, lookup: &dyn Lookup, missing: &[Candidate], visible: &HashSet<Identity>, missing_at: Timestamp) {
        let target = lookup.target_text();
        let asked_at = self.shared.options.clock.now();
        for Candidate { owed, hour } in missing {
            let result = if visible.contains(&owed.identity) { "repaired" } else { "not to be seen" };
            info!(
                identity = %owed.identity, record = %owed.id, target, created = %hour, %missing_at, %asked_at, result,
                "a repair has looked after an event"
            );
        }
    }

    /// Returns the identities that the destination shows after a delivery. Empty if it does not answer.
    async fn visible(&self, lookup: &dyn Lookup, missing: &[Candidate]) -> HashSet<Identity> {
        sleep(lookup.visible_after()).await;
        self.found(lookup, missing).await.unwrap_or_else(|inconclusive| {
            warn!(reason = %inconclusive, "it is not known whether what a repair has delivered is there");
            HashSet::new()
        })
    }

    /// Returns the identities that the destination shows now.
    async fn found(&self, lookup: &dyn Lookup, missing: &[Candidate]) -> Result<HashSet<Identity>, Inconclusive> {
        let mut identities: Vec<Identity> = missing.iter().map(|candidate| candidate.owed.identity).collect();
        identities.sort_unstable();
        let patience = self.selected.once_timeout;
        until_answered(patience, async || lookup.refresh(patience).await).await?;
        let most = lookup.max_identities_per_query();
        let ask = async |part: &[Identity]| lookup.occurrences(part).await;
        let copies = in_parts(most, patience, &identities, ask).await?;
        let found = identities.into_iter().zip(copies).filter(|(_, copies)| *copies > 0);
        Ok(found.map(|(identity, _)| identity).collect())
    }

    async fn history(&self, lane: &LaneId) -> Result<BTreeMap<String, i64>, VerifyError> {
        let key = CheckpointKey { lane: lane.clone(), part: StoredPart::Returned };
        let Some(bytes) = self.store.load(&key).await? else { return Ok(BTreeMap::new()) };
        read_history(&bytes).map_err(|reason| VerifyError::Returned(format!("{key}: {reason}")))
    }

    async fn remember(&self, lane: &LaneId, returned: BTreeMap<String, i64>) -> Result<(), VerifyError> {
        let key = CheckpointKey { lane: lane.clone(), part: StoredPart::Returned };
        let history = serde_json::to_vec(&History { v: VERSION, returned });
        let bytes = history.map_err(|error| VerifyError::Returned(error.to_string()))?;
        self.store.claim(&key).await?;
        self.store.commit(&key, CheckpointUpdate::from(bytes)).await?;
        Ok(())
    }
}

fn read_history(bytes: &[u8]) -> Result<BTreeMap<String, i64>, String> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let Versioned { v } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if v != VERSION {
        return Err(format!("version {v} is of a newer release"));
    }
    let History { returned, .. } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_again_is_read_in_its_version_alone() {
        let stored = br#"{"v":1,"returned":{"9d5edec136b76dda4e8607e86dfbcbbc":1790000000000000}}"#;
        let read = read_history(stored).unwrap();
        assert_eq!(serde_json::to_vec(&History { v: VERSION, returned: read }).unwrap(), stored);
        assert!(read_history(br#"{"v":2,"other":[]}"#).unwrap_err().contains("newer release"));
        assert!(read_history(b"{}").is_err());
    }
}
