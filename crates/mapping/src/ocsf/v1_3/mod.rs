//! Writes an event of OCSF 1.9.0 as an event of 1.3.0, for readers that know no newer version. It is a second pass over
//! the finished event, after transforms and redaction: it sees only their result.
//!
//! `table.rs` lists the attributes that 1.3.0 lacks. `classes.rs` and `attributes.rs` move values that 1.3.0 has at
//! another place. The rest goes to `unmapped.ocsf_1_9`, under its own path.

mod attributes;
mod classes;
mod kind;
mod object;
#[rustfmt::skip]
mod table;
mod writer;

use s1_forwarder_record::Value;

use self::object::Object;
use self::writer::write;

/// The value of the Kafka header `schema`.
pub(crate) const NAME_1_3: &str = "ocsf-1.3.0";

const VERSION: &str = "1.3.0";

/// Replaces the event that begins at `start`. An event of a class that no mapping writes stays unchanged.
pub fn convert(out: &mut Vec<u8>, start: usize) {
    let event = out.get(start..).and_then(|bytes| std::str::from_utf8(bytes).ok());
    if let Some(event) = event.and_then(converted) {
        out.truncate(start);
        out.extend_from_slice(&event);
    }
}

fn converted(text: &str) -> Option<Vec<u8>> {
    let event = Object::read(Value::new(text));
    let numbers = (event.number("class_uid")?, event.number("activity_id")?);
    let class = classes::of(numbers.0)?;
    // The base event has no required attributes.
    write(event, |writer, event| writer.classify(class, numbers, event))
        .or_else(|| write(Object::read(Value::new(text)), |_, event| classes::to_base_event(event)))
}
