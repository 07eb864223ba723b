//! Whether what a lane stored of what it accounts for is true: everything that is owed is there, once, and nothing
//! else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::checkpoint::ledger::{Accounting, Hour, Sum};
use s1_forwarder::lane::LaneCheckpoint;
use s1_forwarder::record::{Identity, LaneId, Timestamp};

use crate::model::HOST;
use crate::shared::{LaneSimulation, Simulation, lock};
use crate::store::SimulatedStore;

/// Identities are kept for two days; those of the hour that is just leaving may be gone.
const KEPT: Duration = Duration::from_hours(46);

/// What is wrong with the ledger of `lane`, owed records of the time before `before`.
pub async fn wrong(simulation: &Arc<Simulation>, lane: &Arc<LaneSimulation>, before: Timestamp) -> Option<String> {
    let stream = lane.plan.stream;
    let accounting = Accounting::of(stream);
    let bytes = lock(&lane.ledger).stored.clone()?;
    if accounting == Accounting::Nothing {
        return None;
    }
    let checkpoint = LaneCheckpoint::decode(&bytes).unwrap();
    let store = SimulatedStore { simulation: simulation.clone(), lane: lane.clone(), incarnation: 0 };
    let id = LaneId::new("acme", stream, "siem");
    let oldest = Hour::from(simulation.now().minus(KEPT));
    let books = match checkpoint.ledger.totals(&store, &id.into(), oldest..Hour(u32::MAX)).await {
        Ok(books) => books,
        Err(error) => return Some(error.to_string()),
    };
    let known: HashSet<u64> = books.identities.values().flatten().copied().collect();
    let named = |id: u64| Identity::of(HOST, stream, &id.to_string(), "");

    let since = checkpoint.since_resolved;
    let due = lock(&lane.ledger).due(before)?;
    let owed = simulation.model.accountable(&lane.plan, since, due);
    let young = |created: i64| Timestamp::from_micros(created) >= oldest.start();
    let lost = owed.iter().find(|version| young(version.created) && !known.contains(&version.id));
    if let Some(lost) = lost {
        return Some(format!("not accounted for: {lost:?}"));
    }
    let ledger = lock(&lane.ledger);
    let history = simulation.model.history(&lane.plan);
    let settled = history.iter().filter(|version| ledger.has_settled(version.id) || lane.plan.leaves_out(version));
    let settled: HashSet<u64> = settled.map(|version| version.id).collect();
    if let Some(strange) = known.iter().find(|id| !settled.contains(id)) {
        return Some(format!("accounted for, but never settled: {strange}"));
    }
    if accounting == Accounting::Records {
        for (hour, sum) in &books.sums {
            let mut expected = Sum::default();
            books.identities.get(hour).into_iter().flatten().for_each(|id| expected.add(named(*id)));
            if expected != *sum {
                return Some(format!("{} counted in the hour from {hour}, of {}", sum.count, expected.count));
            }
            let mut expected = Sum::default();
            let identities = books.identities.get(hour).into_iter().flatten();
            identities.filter(|id| ledger.is_delivered(**id)).for_each(|id| expected.add(named(*id)));
            let delivered = books.delivered.get(hour).copied().unwrap_or_default();
            if expected != delivered {
                return Some(format!("{} delivered in the hour from {hour}, of {}", delivered.count, expected.count));
            }
        }
    }
    None
}
