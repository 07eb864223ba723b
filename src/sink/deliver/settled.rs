use parking_lot::Mutex;

/// The settled events of a batch: delivered, or stored as dead letters. It remains valid after a delivery is dropped.
#[derive(Debug)]
pub struct Settled(Mutex<Vec<bool>>);

impl Settled {
    pub fn none_of(events: usize) -> Self {
        Self(Mutex::new(vec![false; events]))
    }

    /// Returns the indices of the events that are settled, or of those that are not.
    pub fn indices(&self, settled: bool) -> Vec<usize> {
        let flags = self.0.lock();
        flags.iter().enumerate().filter(|(_, is)| **is == settled).map(|(index, _)| index).collect()
    }

    pub(super) fn mark(&self, indices: impl IntoIterator<Item = usize>) {
        let mut flags = self.0.lock();
        for index in indices {
            if let Some(flag) = flags.get_mut(index) {
                *flag = true;
            }
        }
    }
}
