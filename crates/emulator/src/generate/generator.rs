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
    pub(super) threats: RecentIds,
    pub(super) alerts: RecentIds,
    /// Leaves out keys that only newer consoles send.
    pub(super) older: bool,
}

impl Generator {
    pub fn new(seed: u64, agents: usize, now: i64, older: bool) -> Self {
        let mut random = Random::new(seed, 1);
        let org = Organization::new(&mut random, agents, now);
        Self { org, random, made: 0, threats: RecentIds::default(), alerts: RecentIds::default(), older }
    }

    /// A new id of 17 to 19 digits that rises roughly with time: milliseconds, then a counter.
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

/// The ids of the last 1,000 records of a kind.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    ids: Vec<u64>,
    next: usize,
}

impl RecentIds {
    pub(super) fn add(&mut self, id: u64) {
        const MAX: usize = 1_000;
        match self.ids.get_mut(self.next % MAX) {
            Some(old) => *old = id,
            None => self.ids.push(id),
        }
        self.next += 1;
    }

    /// One of the ids, or `otherwise` if there is none.
    pub(super) fn choose(&self, random: &mut Random, otherwise: u64) -> u64 {
        if self.ids.is_empty() { otherwise } else { *random.choose(&self.ids) }
    }
}
