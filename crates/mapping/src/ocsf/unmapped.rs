//! `unmapped`: values of a record without an attribute, under their own path with the console's keys. The last part of
//! an event.

use s1_forwarder_record::block::Block;
use smallvec::{SmallVec, smallvec};

use super::event::Event;
use crate::copy::KeyCase;
use crate::keys::OVERFLOW;

/// Writes the remaining values of a record, and closes the event. `first` writes before them, under the names
/// `reserved`.
pub(super) fn write<'a>(
    event: &mut Event<'_>,
    block: &impl Block<'a>,
    reserved: &[&str],
    first: impl FnOnce(&mut Event<'_>),
) {
    let open = event.json.open("unmapped");
    first(event);
    let mut names: SmallVec<[&str; 8]> = smallvec![OVERFLOW];
    names.extend_from_slice(reserved);
    event.remaining(block, KeyCase::AsReceived, &names);
    if let Some(overflow) = event.json.keys.overflow.take() {
        event.json.text(OVERFLOW, &overflow);
    }
    event.json.close(open);
    event.json.raw(b"}");
}
