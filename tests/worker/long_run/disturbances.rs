//! What people do to a running worker: they edit, break, remove and correct pipeline files, and replace tokens.

use std::collections::BTreeMap;

use super::scene::Scene;

/// A disturbance of one customer, until it is undone.
enum Pending {
    File,
    Token,
}

pub struct Disturbances {
    random: fastrand::Rng,
    step: usize,
    /// The step at which each customer's disturbance is undone.
    pending: BTreeMap<usize, (usize, Pending)>,
    /// Whether consoles refuse tokens before the new ones are there. Lanes then wait for a minute and more.
    refuses_early: bool,
    pub counts: BTreeMap<&'static str, usize>,
}

impl Disturbances {
    pub fn new(refuses_early: bool) -> Self {
        let random = fastrand::Rng::with_seed(5);
        Self { random, step: 0, pending: BTreeMap::new(), refuses_early, counts: BTreeMap::new() }
    }

    /// Disturbs one customer, and undoes what was done some steps ago.
    pub fn step(&mut self, scene: &mut Scene) {
        self.step += 1;
        self.undo(scene, |until| until);
        let customer = self.random.usize(..scene.customers.len());
        if self.pending.contains_key(&customer) {
            return;
        }
        let until = self.step + self.random.usize(1..6);
        let kind = match self.random.u8(0..if self.refuses_early { 9 } else { 8 }) {
            0..3 => {
                scene.customers[customer].batch = self.random.usize(20..200);
                scene.write_file(customer);
                "files edited"
            }
            3 | 4 => {
                scene.remove_file(customer);
                self.pending.insert(customer, (until, Pending::File));
                "files removed and added again"
            }
            5 => {
                scene.break_file(customer);
                self.pending.insert(customer, (until, Pending::File));
                "files broken and corrected"
            }
            6 | 7 => {
                let old = self.replace(scene, customer);
                scene.set_tokens_for(customer, &[&old]);
                scene.write_token(customer);
                scene.set_tokens_for(customer, &[]);
                "tokens replaced"
            }
            _ => {
                let old = self.replace(scene, customer);
                scene.customers[customer].expired = Some(old);
                scene.set_tokens_for(customer, &[]);
                self.pending.insert(customer, (until, Pending::Token));
                "tokens replaced after they had expired"
            }
        };
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Gives a customer another token, and returns the one before.
    fn replace(&mut self, scene: &mut Scene, customer: usize) -> String {
        let new = format!("token-{customer}-{}", self.step);
        std::mem::replace(&mut scene.customers[customer].secret, new)
    }

    /// Undoes everything.
    pub fn end(&mut self, scene: &mut Scene) {
        self.undo(scene, |_| 0);
    }

    fn undo(&mut self, scene: &mut Scene, due: impl Fn(usize) -> usize) {
        let step = self.step;
        self.pending.retain(|customer, (until, pending)| {
            let is_due = due(*until) <= step;
            match pending {
                _ if !is_due => {}
                Pending::File => scene.write_file(*customer),
                Pending::Token => {
                    scene.write_token(*customer);
                    scene.customers[*customer].expired = None;
                    scene.set_tokens_for(*customer, &[]);
                }
            }
            !is_due
        });
    }
}
