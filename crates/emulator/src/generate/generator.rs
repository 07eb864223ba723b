//! The state of record generation.

use super::organization::Organization;
use crate::random::Random;

/// Generates records about one organisation.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(super) org: Organization,
    pub(super) random: Random,
    /// Number of ids made, which makes the ids of one millisecond differ.
    pub(super) made: u64,
    /// Recent threats, to which activities refer.
    pub(super) threats: Recent<KnownThreat>,
    /// Ids of recent alerts.
    pub(super) alerts: Recent<u64>,
    /// Whether keys that only newer consoles send are left out.
    pub(super) older: bool,
}

impl Generator {
    pub fn new(seed: u64, agents: usize, now: i64, older: bool) -> Self {
        let mut random = Random::new(seed, 1);
        let org = Organization::new(&mut random, agents, now);
        Self { org, random, made: 0, threats: Recent::default(), alerts: Recent::default(), older }
    }

    /// Returns a new id of 17 to 19 digits that rises roughly with time: milliseconds, then a counter.
    pub(super) fn id(&mut self, at: i64) -> u64 {
        const FIRST: i64 = 1_492_819_200_000;
        self.made += 1;
        let millis = (at.div_euclid(1_000) + self.random.within(-40..40) - FIRST).clamp(11_920_930, 1 << 40);
        ((millis as u64) << 23) | (self.made & 0x7f_ffff)
    }

    pub fn is_older(&self) -> bool {
        self.older
    }
}

/// The values of a threat that its activities repeat.
#[derive(Debug, Clone)]
pub(super) struct KnownThreat {
    pub id: u64,
    /// Index of the endpoint.
    pub agent: usize,
    pub file: String,
    pub path: String,
    pub sha1: String,
    pub classification: &'static str,
    pub confidence: &'static str,
}

/// The last 1,000 records of a kind.
#[derive(Debug)]
pub(super) struct Recent<T> {
    records: Vec<T>,
    next: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { records: Vec::new(), next: 0 }
    }
}

impl<T> Recent<T> {
    pub(super) fn add(&mut self, record: T) {
        const MAX: usize = 1_000;
        match self.records.get_mut(self.next % MAX) {
            Some(old) => *old = record,
            None => self.records.push(record),
        }
        self.next += 1;
    }

    /// Returns a random record; `None` if there is none yet.
    pub(super) fn choose(&self, random: &mut Random) -> Option<&T> {
        if self.records.is_empty() { None } else { Some(random.choose(&self.records)) }
    }
}
