//! Which events of a batch are delivered, stored as dead letters, or not settled yet.

use parking_lot::Mutex;

/// The fates of the events of a batch. They remain valid after a delivery is dropped.
#[derive(Debug)]
pub struct Fates(Mutex<Vec<Fate>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Unsettled,
    /// The sink has acknowledged the event.
    Delivered,
    /// The event is stored as a dead letter.
    DeadLettered,
}

impl Fates {
    pub fn none_of(events: usize) -> Self {
        Self(Mutex::new(vec![Fate::Unsettled; events]))
    }

    /// Returns the indices of the events that are delivered or stored as dead letters, ascending.
    pub fn settled(&self) -> Vec<usize> {
        self.indices(|fate| fate != Fate::Unsettled)
    }

    /// Returns the indices of the events that are neither delivered nor stored as dead letters, ascending.
    pub fn unsettled(&self) -> Vec<usize> {
        self.indices(|fate| fate == Fate::Unsettled)
    }

    /// Returns the indices of the events that are stored as dead letters, ascending.
    pub fn dead_lettered(&self) -> Vec<usize> {
        self.indices(|fate| fate == Fate::DeadLettered)
    }

    fn indices(&self, is_wanted: impl Fn(Fate) -> bool) -> Vec<usize> {
        let fates = self.0.lock();
        fates.iter().enumerate().filter(|(_, fate)| is_wanted(**fate)).map(|(index, _)| index).collect()
    }

    pub(super) fn mark(&self, indices: impl IntoIterator<Item = usize>, as_fate: Fate) {
        let mut fates = self.0.lock();
        for index in indices {
            if let Some(fate) = fates.get_mut(index) {
                *fate = as_fate;
            }
        }
    }
}
