//! The console's state, and its public face.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::faults::{Faults, Trouble};
use super::generate::{self, Draft, Generator};
use super::http::{Answer, Request};
use super::kind::Kind;
use super::live::{Event, Live};
use super::quirks::Quirks;
use super::random::Random;
use super::setup::Setup;
use super::store::{Indexed, RecordError, Row, Table};
use super::token::{Scope, Token};
use super::truth::{Seen, Version};

/// How many requests are remembered.
const REMEMBERED: usize = 10_000;

/// A management console: its records, tokens and faults. It can be shared between threads.
pub struct Console {
    state: Mutex<State>,
}

pub(super) struct State {
    pub tables: [Table; 10],
    pub tokens: Vec<Token>,
    pub quirks: Quirks,
    pub trouble: Trouble,
    pub generator: Generator,
    /// Decides what chance decides outside the records: request ids, which record changes.
    pub random: Random,
    live: Live,
    seen: VecDeque<Seen>,
}

impl Console {
    /// A console with the history that `setup` describes and the token [`Setup::TOKEN`].
    pub fn new(setup: &Setup) -> Self {
        let mut state = State {
            tables: Default::default(),
            tokens: vec![Token::new(Setup::TOKEN)],
            quirks: Quirks::default(),
            trouble: Trouble::new(setup.seed),
            generator: Generator::new(setup.seed, setup.agents, setup.now, setup.older),
            random: Random::new(setup.seed, 3),
            live: Live::new(setup),
            seen: VecDeque::new(),
        };
        state.fill(setup);
        Self { state: Mutex::new(state) }
    }

    /// Answers a request at the moment `now` (microseconds since 1970). Live records up to then appear first.
    pub fn answer(&self, request: &Request, now: i64) -> Answer {
        let answer = {
            let mut state = self.lock();
            state.advance(now);
            let answer = state.answer(request, now);
            if state.seen.len() == REMEMBERED {
                state.seen.pop_front();
            }
            state.seen.push_back(Seen {
                at: now,
                path: request.path.clone(),
                query: request.query.clone(),
                status: answer.status.as_u16(),
            });
            answer
        };
        // Compressing takes longer than everything else, and needs nothing of the state.
        answer.compressed(request)
    }

    /// Lets live records up to `now` appear without a request.
    pub fn advance(&self, now: i64) {
        self.lock().advance(now);
    }

    /// Lets so many records a second appear or change from `now` on.
    pub fn set_rate(&self, rate: f64, now: i64) {
        self.lock().live.set_rate(rate, now);
    }

    /// Other faults from now on; what happened under the old ones is forgotten.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().trouble.set(faults);
    }

    /// The faults at work.
    pub fn faults(&self) -> Faults {
        self.lock().trouble.faults.clone()
    }

    /// Other quirks from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.lock().quirks = quirks;
    }

    /// Adds a token, or replaces the one of the same secret: to let it expire, revoke it, or take a permission away.
    pub fn set_token(&self, token: Token) {
        let mut state = self.lock();
        state.tokens.retain(|other| other.secret != token.secret);
        state.tokens.push(token);
    }

    /// Takes these tokens, and no others.
    pub fn set_tokens(&self, tokens: Vec<Token>) {
        self.lock().tokens = tokens;
    }

    /// Inserts a record as it is, or replaces the one of the same id. Any times will do: one with an old `createdAt`
    /// is a late arrival.
    ///
    /// # Errors
    /// When the body is not a record of this kind.
    pub fn insert(&self, kind: Kind, body: &[u8]) -> Result<u64, RecordError> {
        let mut state = self.lock();
        let mut row = Row::read(kind, body)?;
        state.place(kind, &mut row);
        let id = row.id;
        state.table_mut(kind).put(row);
        Ok(id)
    }

    /// Makes and inserts a record created at `at`; its id is returned. Agents and scopes are made after one that is
    /// there; where there is none, 0 is returned and nothing made.
    pub fn generate(&self, kind: Kind, at: i64) -> u64 {
        self.lock().appear(kind, at, at)
    }

    /// Makes and inserts a record whose body has at least so many bytes.
    pub fn generate_oversized(&self, kind: Kind, at: i64, bytes: usize) -> u64 {
        let mut state = self.lock();
        let draft = state.generator.oversized(kind, at, bytes);
        state.put(draft).unwrap_or(0)
    }

    /// Changes a record: `change` edits it, then its `updatedAt` is set to `at`. False when there is no such record.
    pub fn update(&self, kind: Kind, id: u64, at: i64, change: impl FnOnce(&mut Value)) -> bool {
        self.lock().update(kind, id, at, |_, record| change(record))
    }

    /// Lets happen to a record what happens to such records in time; its `updatedAt` becomes `at`.
    pub fn age(&self, kind: Kind, id: u64, at: i64) -> bool {
        self.lock().update(kind, id, at, |generator, record| generator.change(kind, record, at))
    }

    /// Takes a record out of the console.
    pub fn remove(&self, kind: Kind, id: u64) -> bool {
        self.lock().table_mut(kind).remove(id)
    }

    /// A record as it is served.
    pub fn record(&self, kind: Kind, id: u64) -> Option<Vec<u8>> {
        self.lock().table(kind).find(id).map(|row| row.body.to_vec())
    }

    /// Every record of a kind that a list request without filters would show to this scope, ordered by id.
    pub fn truth(&self, kind: Kind, scope: &Scope) -> Vec<Version> {
        let state = self.lock();
        let shown = |row: &&Row| {
            !row.hidden && !row.decommissioned && !row.removed && scope.covers(kind, row.account, row.site)
        };
        state.table(kind).rows().filter(shown).map(Row::version).collect()
    }

    /// The versions of records of a kind that newer ones have replaced: what was true once.
    pub fn past(&self, kind: Kind) -> Vec<Version> {
        self.lock().table(kind).past().to_vec()
    }

    /// How many records there are of a kind, hidden and decommissioned ones included.
    pub fn count(&self, kind: Kind) -> usize {
        self.lock().table(kind).len()
    }

    /// The ids of a kind, hidden and decommissioned ones included: for scopes and for tests that change records.
    pub fn ids(&self, kind: Kind) -> Vec<u64> {
        self.lock().table(kind).rows().map(|row| row.id).collect()
    }

    /// The requests answered so far, the oldest first; the last ten thousand are kept.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        for draft in self.generator.scopes() {
            self.put(draft);
        }
        for place in 0..setup.agents {
            let draft = self.generator.agent(place, setup.now);
            self.put(draft);
        }
        let span = i64::try_from(setup.span.as_micros()).unwrap_or(i64::MAX).max(1);
        for (kind, count) in
            [(Kind::Threats, setup.threats), (Kind::Alerts, setup.alerts), (Kind::Activities, setup.activities)]
        {
            for at in moments(&mut Random::new(setup.seed, 10 + kind as u64), count, setup.now - span, setup.now) {
                self.appear(kind, at, setup.now);
            }
        }
        for (kind, bytes) in &setup.oversized {
            let at = setup.now - self.random.within(0..span);
            let draft = self.generator.oversized(*kind, at, *bytes);
            self.put(draft);
        }
        for (kind, count) in
            [(Kind::UnifiedAlerts, setup.unified_alerts), (Kind::Vulnerabilities, setup.vulnerabilities)]
        {
            for at in moments(&mut Random::new(setup.seed, 10 + kind as u64), count, setup.now - span, setup.now) {
                self.appear(kind, at, setup.now);
            }
        }
    }

    pub fn advance(&mut self, now: i64) {
        while let Some(event) = self.live.next(now) {
            match event {
                Event::Appears(kind, created) => {
                    self.appear(kind, created, created);
                }
                Event::Changes(kind, changed) => self.changes(kind, 1, changed),
                Event::ChangesTogether(kind, changed) => {
                    let several = 2 + self.live.pick(30);
                    self.changes(kind, several, changed);
                }
            }
        }
    }

    /// So many records of this kind change at one moment.
    fn changes(&mut self, kind: Kind, count: usize, at: i64) {
        for _ in 0..count {
            let place = self.live.pick(self.table(kind).len());
            self.change(kind, place, at);
        }
    }

    /// Some record of this kind changes, as chance wants it.
    pub fn change_any(&mut self, kind: Kind, at: i64) {
        let place = self.random.below(self.table(kind).len() as u64) as usize;
        self.change(kind, place, at);
    }

    /// The record at a place among the ids changes.
    fn change(&mut self, kind: Kind, place: usize, at: i64) {
        if let Some(id) = self.table(kind).index(Indexed::Id).get(place).map(|entry| entry.id) {
            self.update(kind, id, at, |generator, record| generator.change(kind, record, at));
        }
    }

    /// A record created at `at` in the state that it has at `now`.
    pub fn appear(&mut self, kind: Kind, at: i64, now: i64) -> u64 {
        let draft = match kind {
            Kind::Threats => self.generator.threat(at, now),
            Kind::Alerts => self.generator.alert(at),
            Kind::Activities => self.generator.activity(at),
            Kind::UnifiedAlerts => self.generator.unified_alert(at, now),
            Kind::Vulnerabilities => self.generator.vulnerability(at, now),
            Kind::Agents | Kind::Groups | Kind::Sites | Kind::Accounts | Kind::Users => {
                let Some(row) = self.table(kind).rows().next().cloned() else { return 0 };
                self.generator.alike(kind, &row, at)
            }
        };
        self.put(draft).unwrap_or(0)
    }

    fn put(&mut self, draft: Draft) -> Option<u64> {
        let mut row = Row::of(draft.kind, &draft.body, bytes(&draft.body)).ok()?;
        row.account = row.account.max(draft.account);
        row.site = row.site.max(draft.site);
        row.group = row.group.max(draft.group);
        row.updated = draft.updated.unwrap_or(row.updated);
        row.hidden = draft.hidden;
        let id = row.id;
        self.table_mut(draft.kind).put(row);
        Some(id)
    }

    fn update(&mut self, kind: Kind, id: u64, at: i64, change: impl FnOnce(&mut Generator, &mut Value)) -> bool {
        let Some(old) = self.table(kind).find(id).cloned() else { return false };
        let Ok(mut record) = serde_json::from_slice(&old.body) else { return false };
        change(&mut self.generator, &mut record);
        // A console's clock tells versions of one record apart, however fast they follow each other.
        let at = at.max(old.updated + kind.shortest_time());
        generate::set_time(kind, &mut record, at);
        let Ok(mut row) = Row::of(kind, &record, bytes(&record)) else { return false };
        (row.account, row.site, row.group, row.hidden) = (old.account, old.site, old.group, old.hidden);
        if kind == Kind::Vulnerabilities {
            // Findings have a time of their last change, but do not tell it.
            row.updated = at;
        }
        self.table_mut(kind).put(row);
        true
    }

    /// Fills in what a record from outside does not tell: the account of its site, the places of a finding's endpoint.
    fn place(&self, kind: Kind, row: &mut Row) {
        if kind == Kind::Vulnerabilities
            && let Some(agent) = self.table(Kind::Agents).find(row.agent)
        {
            (row.account, row.site, row.group) = (agent.account, agent.site, agent.group);
        }
        if row.account == 0
            && kind != Kind::Users
            && let Some(site) = self.table(Kind::Sites).find(row.site)
        {
            row.account = site.account;
        }
    }
}

/// The record as it is served.
fn bytes(record: &Value) -> Box<[u8]> {
    record.to_string().into_bytes().into()
}

/// When the records of history were created: rising, several on one moment now and then, and in a long history one
/// moment that fills more than a page, as an import does.
fn moments(random: &mut Random, count: usize, from: i64, to: i64) -> Vec<i64> {
    let mut moments: Vec<i64> = (0..count).map(|_| random.within(from..to)).collect();
    moments.sort_unstable();
    let mut place = 0;
    while place < count {
        let tied = if random.chance(0.03) { 2 + random.below(20) as usize } else { 1 };
        let end = (place + tied).min(count);
        let first = moments[place];
        moments[place..end].fill(first);
        place = end;
    }
    if count >= 10_000 {
        let first = moments[count / 3];
        moments[count / 3..count / 3 + 1500].fill(first);
    }
    moments
}
