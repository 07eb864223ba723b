//! What a lane accounts for: its own ledger, and what repairs delivered in its place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};

use super::VerifyError;
use super::audit::window;
use crate::lane::Standing;
use crate::record::{Stream, Timestamp};
use crate::sink::Sink;
use crate::state::ledger::{Accounting, Books, Hour, Ledger};
use crate::state::{Journals, LaneId, StateError, Store};
use crate::worker::shared::{ComposeError, Shared};
use crate::worker::spec::LaneSpec;

/// A running lane may move its journal on between the reading of its checkpoint and of the journal.
const TRIES: usize = 5;
/// Sums are kept for ninety days: the last hours of them may just be leaving.
const SUM_HOURS: u32 = 89 * 24;

/// Where a lane's ledger and its repairs are.
pub struct Shelf {
    /// The lane.
    pub lane: LaneId,
    /// Where the running worker keeps it, for looking only.
    pub live: Live,
    /// The area of the repairs.
    pub repairs: Arc<dyn Store>,
}

/// Where the checkpoint of a running lane is, and its journal.
#[derive(Clone)]
pub enum Live {
    /// In the state store.
    Store(Arc<dyn Store>),
    /// Where its sink commits it with the events.
    Sink(Arc<dyn Sink>),
}

impl Live {
    /// That of the lane of this spec; `store` is where lanes are whose sinks keep no checkpoint.
    pub fn of(shared: &Shared, spec: &LaneSpec, store: Arc<dyn Store>) -> Result<Self, ComposeError> {
        Ok(if spec.sink.keeps_checkpoints() { Self::Sink(shared.sink(spec)?) } else { Self::Store(store) })
    }

    async fn load(&self, lane: &LaneId) -> Result<Option<Vec<u8>>, StateError> {
        match self {
            Self::Store(store) => store.load(lane).await,
            Self::Sink(sink) => match sink.commits() {
                Some(commits) => commits.look_at().await.map_err(|reason| in_sink(lane, reason)),
                None => Ok(None),
            },
        }
    }
}

impl Journals for Live {
    fn segment<'a>(&'a self, lane: &'a LaneId, segment: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        match self {
            Self::Store(store) => store.read_journal(lane, segment),
            Self::Sink(sink) => match sink.commits() {
                Some(commits) => commits.read_journal(segment).map_err(|reason| in_sink(lane, reason)).boxed(),
                None => async { Ok(None) }.boxed(),
            },
        }
    }
}

fn in_sink(lane: &LaneId, reason: String) -> StateError {
    StateError::Sink { lane: lane.clone(), reason }
}

/// What a lane accounts for in some hours.
pub struct Account {
    /// The lane's own position and ledger.
    pub standing: Standing,
    /// Sums and identities, those of repairs among them.
    pub books: Books,
}

/// The name of a repair in its area: the generation of the ledger that it completes, the hour, whether all of the hour was
/// delivered again, and a number.
struct RepairName {
    generation: u64,
    hour: Hour,
    whole: bool,
    number: u32,
}

impl RepairName {
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (generation, hour) = (parts.next()?.parse().ok()?, Hour(parts.next()?.parse().ok()?));
        let whole = match parts.next()? {
            "all" => true,
            "part" => false,
            _ => return None,
        };
        let number = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { generation, hour, whole, number })
    }

    /// In the place of the sink's name; no sink's name holds a `+`.
    fn lane(&self, lane: &LaneId) -> LaneId {
        let Self { generation, hour, whole, number } = self;
        let part = if *whole { "all" } else { "part" };
        LaneId { sink: format!("{}+{generation}-{}-{part}-{number}", lane.sink, hour.0), ..lane.clone() }
    }
}

impl Shelf {
    /// What the lane and its repairs account for in `hours`.
    pub async fn account(&self, hours: Range<Hour>) -> Result<Account, VerifyError> {
        let Account { standing, mut books } = Account::of_lane(&self.live, &self.lane, hours.clone()).await?;
        let mut replaced = BTreeSet::new();
        for (name, repair) in self.repairs_of(standing.ledger.generation()).await? {
            if !hours.contains(&name.hour) {
                continue;
            }
            let id = name.lane(&self.lane);
            let of_repair = repair.ledger.books(&*self.repairs, &id, name.hour..name.hour.plus(1)).await?;
            // Of an hour that was delivered again as a whole, what was delivered then counts and nothing before it.
            let complete = repair.checkpoint.position.complete() == Some(window(name.hour).to);
            if name.whole && complete && replaced.insert(name.hour) {
                books.sums.remove(&name.hour);
            }
            if !name.whole || complete {
                books.merge(of_repair);
            }
        }
        Ok(Account { standing, books })
    }

    /// A name for another repair of `hour`.
    pub async fn next_repair(&self, account: &Account, hour: Hour, whole: bool) -> Result<LaneId, VerifyError> {
        let generation = account.standing.ledger.generation();
        let names = self.repairs_of(generation).await?;
        let last = names.iter().filter(|(name, _)| name.hour == hour).map(|(name, _)| name.number).max();
        let number = last.map_or(0, |last| last + 1);
        Ok(RepairName { generation, hour, whole, number }.lane(&self.lane))
    }

    /// The repairs that complete this generation of the ledger, in their order.
    async fn repairs_of(&self, generation: u64) -> Result<Vec<(RepairName, Standing)>, VerifyError> {
        let prefix = format!("{}+", self.lane.sink);
        let mut found = Vec::new();
        for id in self.repairs.list().await? {
            let name = id.sink.strip_prefix(&prefix).and_then(RepairName::parse);
            let Some(name) = name.filter(|name| {
                name.generation == generation && id.pipeline == self.lane.pipeline && id.stream == self.lane.stream
            }) else {
                continue;
            };
            if let Some(bytes) = self.repairs.load(&id).await? {
                found.push((name, Standing::decode(&bytes)?));
            }
        }
        found.sort_by_key(|(name, _)| (name.hour, name.number));
        Ok(found)
    }
}

impl Account {
    /// What `lane` itself accounts for in `hours`, as the state of the running worker says.
    pub async fn of_lane(live: &Live, lane: &LaneId, hours: Range<Hour>) -> Result<Self, VerifyError> {
        let mut tries = 0;
        loop {
            let bytes = live.load(lane).await?;
            let standing = Standing::decode(&bytes.ok_or_else(|| VerifyError::NoCheckpoint(lane.clone()))?)?;
            match standing.ledger.books(live, lane, hours.clone()).await {
                Ok(books) => return Ok(Self { standing, books }),
                Err(StateError::Journal { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many records of `hour` are accounted for.
    pub fn expected(&self, stream: Stream, hour: Hour) -> u64 {
        match Accounting::of(stream) {
            Accounting::Records => self.books.sums.get(&hour).map_or(0, |sum| sum.count),
            Accounting::Ids | Accounting::Nothing => {
                self.books.identities.get(&hour).map_or(0, |identities| identities.len() as u64)
            }
        }
    }

    /// Whether the ledger remembers all identities of `hour`.
    pub fn remembers(&self, hour: Hour, now: Timestamp) -> bool {
        self.ledger().kept_from(now).is_some_and(|from| from <= hour)
    }

    /// Records that changed later than this are still to be read by the lane.
    pub fn settled_until(&self, stream: Stream) -> Timestamp {
        match Accounting::of(stream) {
            Accounting::Ids => self.standing.checkpoint.position.complete().unwrap_or_default(),
            Accounting::Records | Accounting::Nothing => Timestamp::from_micros(i64::MAX),
        }
    }

    /// The hours of creation that can be judged: the ledger knows of them, the lane is past them, and nothing that is owed
    /// can come into them any more.
    pub fn judged(&self, stream: Stream, overlap: Duration, now: Timestamp) -> Range<Hour> {
        let (ledger, position) = (self.ledger(), &self.standing.checkpoint.position);
        let begins = Hour::from(ledger.since());
        let (start, covered) = match Accounting::of(stream) {
            Accounting::Records => {
                let oldest = Hour::of(now).unwrap_or(Hour(0)).minus(SUM_HOURS);
                (begins.max(oldest), Some(position.complete_until()))
            }
            // What changes after its creation may stand anywhere behind it until a poll has reached its end.
            Accounting::Ids => {
                (ledger.kept_from(now).map_or(Hour(u32::MAX), |from| from.max(begins)), position.complete())
            }
            Accounting::Nothing => (Hour(0), None),
        };
        let end = covered.and_then(|covered| Hour::of(covered.min(now).minus(overlap))).unwrap_or(Hour(0));
        start..end.max(start)
    }

    fn ledger(&self) -> &Ledger {
        &self.standing.ledger
    }
}
