//! The fields of a record that an event has used.

use s1_forwarder_record::Value;
use s1_forwarder_record::block::MAX_FIELDS;

const WORDS: usize = (MAX_FIELDS as usize + 1) / 64;

/// The fields of a record that its event has, by their numbers. Values that are not marked go to the vendor namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    used: [u64; WORDS],
    mismatched: [u64; WORDS],
}

impl Used {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Notes that the event has the whole value.
    #[inline]
    pub fn mark(&mut self, value: Value<'_>) {
        set(&mut self.used, value);
    }

    /// Notes that the type of the value does not fit its field of the event, or may not be the type of an id. A
    /// mismatched scalar is written as text in the vendor namespace.
    pub fn mismatch(&mut self, value: Value<'_>) {
        set(&mut self.mismatched, value);
    }

    #[inline]
    pub fn has(&self, value: Value<'_>) -> bool {
        has(&self.used, value)
    }

    pub fn is_mismatched(&self, value: Value<'_>) -> bool {
        has(&self.mismatched, value)
    }
}

/// Marks a value. Values without their own number are never marked.
#[inline]
fn set(words: &mut [u64; WORDS], value: Value<'_>) {
    let slot = usize::from(value.slot());
    words[slot / 64] |= u64::from(slot != 0) << (slot % 64);
}

#[inline]
fn has(words: &[u64; WORDS], value: Value<'_>) -> bool {
    let slot = usize::from(value.slot());
    words[slot / 64] >> (slot % 64) & 1 == 1
}

#[cfg(test)]
mod tests {
    use s1_forwarder_record::Reader;
    use s1_forwarder_record::group::Group;

    use super::*;

    #[test]
    fn a_field_is_marked_and_nothing_else() {
        let group = Group::read(&mut Reader::new(r#"{"id":"1","name":"n","new":"x"}"#)).unwrap();
        let mut used = Used::default();
        used.mark(group.id);
        used.mark(group.other[0].1);
        used.mismatch(group.name);
        let values = [group.id, group.name, group.site_id, group.other[0].1];
        assert_eq!(values.map(|value| used.has(value)), [true, false, false, false]);
        assert_eq!(values.map(|value| used.is_mismatched(value)), [false, true, false, false]);
        used.clear();
        assert!(!used.has(group.id));
    }
}
