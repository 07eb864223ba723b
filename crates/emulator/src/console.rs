//! The console's state and public interface.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::faults::{FaultInjector, Faults};
use super::generate::{self, Generator, NewRecord};
use super::http::{Answer, Request};
use super::kind::Kind;
use super::live::{Event, LiveGenerator};
use super::quirks::Quirks;
use super::random::Random;
use super::setup::Setup;
use super::store::{Indexed, RecordError, RecordVersion, Row, Table};
use super::token::{Scope, Token};

/// Limit of the request log.
const MAX_LOGGED: usize = 10_000;

/// A request that the console has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// In microseconds since 1970.
    pub at: i64,
    /// The path without the query.
    pub path: String,
    pub query: String,
    pub status: u16,
}

/// A management console with its records, tokens and faults. Threads can share it.
pub struct Console {
    state: Mutex<State>,
}

pub(super) struct State {
    pub tables: [Table; Kind::ALL.len()],
    pub tokens: Vec<Token>,
    pub quirks: Quirks,
    pub injector: FaultInjector,
    pub generator: Generator,
    /// For everything random outside the records: request ids, and which record changes.
    pub random: Random,
    live: LiveGenerator,
    request_log: VecDeque<LoggedRequest>,
}

impl Console {
    /// Returns a console with the history of `setup` and the token [`Setup::TOKEN`].
    pub fn new(setup: &Setup) -> Self {
        let mut state = State {
            tables: Default::default(),
            tokens: vec![Token::new(Setup::TOKEN)],
            quirks: Quirks::default(),
            injector: FaultInjector::new(setup.seed),
            generator: Generator::new(setup.seed, setup.agents, setup.now, setup.older),
            random: Random::new(setup.seed, 3),
            live: LiveGenerator::new(setup),
            request_log: VecDeque::new(),
        };
        state.fill(setup);
        Self { state: Mutex::new(state) }
    }

    /// Answers a request at `now` (microseconds since 1970), after creating the live records up to then.
    pub fn answer(&self, request: &Request, now: i64) -> Answer {
        let answer = {
            let mut state = self.lock();
            state.advance(now);
            let answer = state.answer(request, now);
            if state.request_log.len() == MAX_LOGGED {
                state.request_log.pop_front();
            }
            state.request_log.push_back(LoggedRequest {
                at: now,
                path: request.path.clone(),
                query: request.query.clone(),
                status: answer.status.as_u16(),
            });
            answer
        };
        // Compression is the slowest part and does not need the lock.
        answer.compressed(request)
    }

    /// Creates the live records up to `now` without a request.
    pub fn advance(&self, now: i64) {
        self.lock().advance(now);
    }

    /// Sets the number of records that are created or changed per second from `now` on.
    pub fn set_rate(&self, rate: f64, now: i64) {
        self.lock().live.set_rate(rate, now);
    }

    /// Replaces the faults and resets their counters.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().injector.set(faults);
    }

    pub fn faults(&self) -> Faults {
        self.lock().injector.faults.clone()
    }

    pub fn set_quirks(&self, quirks: Quirks) {
        self.lock().quirks = quirks;
    }

    /// Adds a token, or replaces the one with the same secret.
    pub fn set_token(&self, token: Token) {
        let mut state = self.lock();
        state.tokens.retain(|other| other.secret != token.secret);
        state.tokens.push(token);
    }

    /// Replaces all tokens.
    pub fn set_tokens(&self, tokens: Vec<Token>) {
        self.lock().tokens = tokens;
    }

    /// Inserts a record as it is, or replaces the one with the same id. A record with an old `createdAt` is a late
    /// arrival.
    ///
    /// # Errors
    /// If the body is not a record of this kind.
    pub fn insert(&self, kind: Kind, body: &[u8]) -> Result<u64, RecordError> {
        let mut state = self.lock();
        let mut row = Row::read(kind, body)?;
        state.fill_scope(kind, &mut row);
        let id = row.id;
        state.table_mut(kind).put(row);
        Ok(id)
    }

    /// Generates and inserts a record created at `at`, and returns its id. Agents and scopes are made from an existing
    /// record; without one, nothing is inserted and 0 is returned.
    pub fn generate(&self, kind: Kind, at: i64) -> u64 {
        self.lock().create(kind, at, at)
    }

    /// Generates and inserts a record whose body has at least `bytes` bytes.
    pub fn generate_oversized(&self, kind: Kind, at: i64, bytes: usize) -> u64 {
        let mut state = self.lock();
        let record = state.generator.oversized(kind, at, bytes);
        record.and_then(|record| state.add(record)).unwrap_or(0)
    }

    /// Edits a record with `change` and sets its `updatedAt` to `at`. Returns false if there is no such record.
    pub fn update(&self, kind: Kind, id: u64, at: i64, change: impl FnOnce(&mut Value)) -> bool {
        self.lock().update(kind, id, at, |_, record| change(record))
    }

    /// Changes a record in a random, realistic way and sets its `updatedAt` to `at`.
    pub fn change_randomly(&self, kind: Kind, id: u64, at: i64) -> bool {
        self.lock().update(kind, id, at, |generator, record| generator.change(kind, record, at))
    }

    /// Deletes a record.
    pub fn remove(&self, kind: Kind, id: u64) -> bool {
        self.lock().table_mut(kind).remove(id)
    }

    /// Returns the body of a record as it is served.
    pub fn record(&self, kind: Kind, id: u64) -> Option<Vec<u8>> {
        self.lock().table(kind).find(id).map(|row| row.body.to_vec())
    }

    /// Returns the records that a list request without filters returns for this scope, ordered by id.
    pub fn visible_versions(&self, kind: Kind, scope: &Scope) -> Vec<RecordVersion> {
        let state = self.lock();
        let shown = |row: &&Row| {
            !row.hidden && !row.decommissioned && !row.removed && scope.covers(kind, row.account, row.site)
        };
        state.table(kind).rows().filter(shown).map(Row::version).collect()
    }

    /// Returns the versions that newer ones have replaced, the oldest first.
    pub fn replaced_versions(&self, kind: Kind) -> Vec<RecordVersion> {
        self.lock().table(kind).replaced().to_vec()
    }

    /// Returns the number of records, including hidden and decommissioned ones.
    pub fn count(&self, kind: Kind) -> usize {
        self.lock().table(kind).len()
    }

    /// Returns the ids of all records, including hidden and decommissioned ones.
    pub fn ids(&self, kind: Kind) -> Vec<u64> {
        self.lock().table(kind).rows().map(|row| row.id).collect()
    }

    /// Returns the last 10,000 answered requests, the oldest first.
    pub fn request_log(&self) -> Vec<LoggedRequest> {
        self.lock().request_log.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    pub fn table(&self, kind: Kind) -> &Table {
        &self.tables[kind as usize]
    }

    pub fn table_mut(&mut self, kind: Kind) -> &mut Table {
        &mut self.tables[kind as usize]
    }

    fn fill(&mut self, setup: &Setup) {
        for record in self.generator.scopes() {
            self.add(record);
        }
        for index in 0..setup.agents {
            let record = self.generator.agent(index, setup.now);
            self.add(record);
        }
        let span = i64::try_from(setup.span.as_micros()).unwrap_or(i64::MAX).max(1);
        for (kind, count) in
            [(Kind::Threats, setup.threats), (Kind::Alerts, setup.alerts), (Kind::Activities, setup.activities)]
        {
            for at in creation_times(&mut Random::new(setup.seed, 10 + kind as u64), count, setup.now - span, setup.now)
            {
                self.create(kind, at, setup.now);
            }
        }
        for (kind, bytes) in &setup.oversized {
            let at = setup.now - self.random.within(0..span);
            if let Some(record) = self.generator.oversized(*kind, at, *bytes) {
                self.add(record);
            }
        }
        for (kind, count) in setup.licensed() {
            for at in creation_times(&mut Random::new(setup.seed, 10 + kind as u64), count, setup.now - span, setup.now)
            {
                self.create(kind, at, setup.now);
            }
        }
    }

    pub fn advance(&mut self, now: i64) {
        while let Some(event) = self.live.next(now) {
            match event {
                Event::Created(kind, created) => {
                    self.create(kind, created, created);
                }
                Event::Changed(kind, changed) => self.changes(kind, 1, changed),
                Event::ChangedTogether(kind, changed) => {
                    let several = 2 + self.live.random_index(30);
                    self.changes(kind, several, changed);
                }
            }
        }
    }

    /// Changes `count` random records at the same time.
    fn changes(&mut self, kind: Kind, count: usize, at: i64) {
        for _ in 0..count {
            let index = self.live.random_index(self.table(kind).len());
            self.change(kind, index, at);
        }
    }

    /// Changes a random record.
    pub fn change_any(&mut self, kind: Kind, at: i64) {
        let index = self.random.below(self.table(kind).len() as u64) as usize;
        self.change(kind, index, at);
    }

    /// Changes the record at `index` in the order of ids.
    fn change(&mut self, kind: Kind, index: usize, at: i64) {
        if let Some(id) = self.table(kind).index(Indexed::Id).get(index).map(|entry| entry.id) {
            self.update(kind, id, at, |generator, record| generator.change(kind, record, at));
        }
    }

    /// Inserts a record created at `at`, in its state at `now`.
    pub fn create(&mut self, kind: Kind, at: i64, now: i64) -> u64 {
        let record = if let Some(generate) = kind.description().generate {
            generate(&mut self.generator, at, now)
        } else {
            let Some(row) = self.table(kind).rows().next().cloned() else { return 0 };
            self.generator.similar_to(kind, &row, at)
        };
        self.add(record).unwrap_or(0)
    }

    fn add(&mut self, record: NewRecord) -> Option<u64> {
        let mut row = Row::from_record(record.kind, &record.body, bytes(&record.body)).ok()?;
        row.account = row.account.max(record.account);
        row.site = row.site.max(record.site);
        row.group = row.group.max(record.group);
        row.updated = record.updated.unwrap_or(row.updated);
        row.hidden = record.hidden;
        let id = row.id;
        self.table_mut(record.kind).put(row);
        Some(id)
    }

    fn update(&mut self, kind: Kind, id: u64, at: i64, change: impl FnOnce(&mut Generator, &mut Value)) -> bool {
        let Some(old) = self.table(kind).find(id).cloned() else { return false };
        let Ok(mut record) = serde_json::from_slice(&old.body) else { return false };
        change(&mut self.generator, &mut record);
        // Versions of one record have different times, however fast they follow each other.
        let at = at.max(old.updated + kind.time_resolution());
        generate::set_time(kind, &mut record, at);
        let Ok(mut row) = Row::from_record(kind, &record, bytes(&record)) else { return false };
        row.account = old.account;
        row.site = old.site;
        row.group = old.group;
        row.hidden = old.hidden;
        if kind.description().places.updated.is_none() {
            row.updated = at;
        }
        self.table_mut(kind).put(row);
        true
    }

    /// Fills in scope ids that the body lacks, from the record's endpoint or from the account of its site.
    fn fill_scope(&self, kind: Kind, row: &mut Row) {
        if row.account == 0
            && row.site == 0
            && let Some(agent) = self.table(Kind::Agents).find(row.agent)
        {
            row.account = agent.account;
            row.site = agent.site;
            row.group = agent.group;
        }
        if row.account == 0
            && !kind.description().special.of_tenant
            && let Some(site) = self.table(Kind::Sites).find(row.site)
        {
            row.account = site.account;
        }
    }
}

fn bytes(record: &Value) -> Box<[u8]> {
    record.to_string().into_bytes().into()
}

/// Returns random creation times of historical records, ascending. Some times repeat. In a long history one time has
/// more records than fit on a page, as after an import.
fn creation_times(random: &mut Random, count: usize, from: i64, to: i64) -> Vec<i64> {
    let mut times: Vec<i64> = (0..count).map(|_| random.within(from..to)).collect();
    times.sort_unstable();
    let mut index = 0;
    while index < count {
        let tied = if random.chance(0.03) { 2 + random.below(20) as usize } else { 1 };
        let end = (index + tied).min(count);
        let first = times[index];
        times[index..end].fill(first);
        index = end;
    }
    if count >= 10_000 {
        let first = times[count / 3];
        times[count / 3..count / 3 + 1500].fill(first);
    }
    times
}
