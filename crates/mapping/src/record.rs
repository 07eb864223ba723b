//! The one place that reads records by their stream.

use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};
use s1_forwarder_record::agent::Agent;
use s1_forwarder_record::alert::Alert;
use s1_forwarder_record::block::{Block, Member, ReadBlock, Visitor, read_inside};
use s1_forwarder_record::group::Group;
use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::vulnerability::Vulnerability;
use s1_forwarder_record::{JsonError, Kind, Reader, Stream};

use crate::streams::rule_hit::is_hit;

/// A record with the text that it was read from.
#[derive(Clone, Copy)]
pub struct Record<'r, 'a> {
    pub text: &'a str,
    /// Whether there is white space between the tokens of the text.
    pub has_spaces: bool,
    /// The part of the text beyond the bounds, which the fields lack; `None` if there is none.
    pub overflow: Option<&'a str>,
    pub fields: Fields<'r, 'a>,
}

/// Declares the types of records, each with its stream. An activity has its `data` in addition.
macro_rules! fields {
    ($($record:ident of $stream:ident,)+) => {
        /// The fields of a record, by its stream. Borrowed: they are several KB, and are not moved.
        #[derive(Clone, Copy)]
        pub enum Fields<'r, 'a> {
            Activity(&'r Activity<'a>, &'r ActivityData<'a>),
            /// An activity whose `data` is the hit of a rule.
            RuleHit(&'r Activity<'a>, &'r RuleHit<'a>),
            $($record(&'r $record<'a>),)+
        }

        impl<'a> Fields<'_, 'a> {
            /// Visits the values of the record. `data` of an activity is one of them.
            pub fn visit(&self, visitor: &mut impl Visitor<'a>) {
                match self {
                    Self::Activity(activity, _) | Self::RuleHit(activity, _) => activity.visit(visitor),
                    $(Self::$record(record) => record.visit(visitor),)+
                }
            }

            /// Calls `visit` as [`Block::describe`] does.
            pub fn describe(&self, visit: &mut dyn FnMut(&[Member], bool)) {
                fn of<'a, B: Block<'a>>(_: &B, visit: &mut dyn FnMut(&[Member], bool)) {
                    B::describe(&mut Vec::new(), visit);
                }
                match self {
                    Self::Activity(activity, _) | Self::RuleHit(activity, _) => of(*activity, visit),
                    $(Self::$record(record) => of(*record, visit),)+
                }
            }
        }

        /// Reads a record, and calls `map` with its fields, which live only that long.
        ///
        /// # Errors
        /// If the text is not one JSON object.
        pub fn read<'a, T>(
            stream: Stream,
            text: &'a str,
            map: impl FnOnce(&Record<'_, 'a>) -> T,
        ) -> Result<T, JsonError> {
            let mut reader = Reader::new(text);
            match stream {
                Stream::Activities => read_activity(text, reader, map),
                $(Stream::$stream => lend(Fields::$record(&$record::read(&mut reader)?), text, &mut reader, map),)+
            }
        }
    };
}

fields! {
    Threat of Threats,
    Agent of Agents,
    Alert of Alerts,
    Group of Groups,
    UnifiedAlert of UnifiedAlerts,
    Vulnerability of Vulnerabilities,
}

fn read_activity<'a, T>(
    text: &'a str,
    mut reader: Reader<'a>,
    map: impl FnOnce(&Record<'_, 'a>) -> T,
) -> Result<T, JsonError> {
    let activity = Activity::read(&mut reader)?;
    let data: ActivityData<'_> = data_of(&activity);
    if is_hit(&activity, &data) {
        lend(Fields::RuleHit(&activity, &data_of(&activity)), text, &mut reader, map)
    } else {
        lend(Fields::Activity(&activity, &data), text, &mut reader, map)
    }
}

/// Reads `data` of an activity, which is empty unless it is an object.
fn data_of<'a, B: Block<'a> + ReadBlock<'a>>(activity: &Activity<'a>) -> B {
    match activity.data.kind() {
        Kind::Object => read_inside::<Activity<'a>, B>(activity.data.raw()).unwrap_or_default(),
        _ => B::default(),
    }
}

fn lend<'a, T>(
    fields: Fields<'_, 'a>,
    text: &'a str,
    reader: &mut Reader<'a>,
    map: impl FnOnce(&Record<'_, 'a>) -> T,
) -> Result<T, JsonError> {
    reader.end()?;
    Ok(map(&Record { text, has_spaces: reader.has_spaces(), overflow: None, fields }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Returns the keys on the path to each field of a stream's records. `data` of an activity is one of them.
    fn fields(stream: Stream) -> Vec<Vec<&'static str>> {
        let mut found = Vec::new();
        let mut add = |path: &[Member], is_block: bool| {
            if !is_block {
                found.push(path.iter().map(|(_, key)| *key).collect());
            }
        };
        read(stream, "{}", |record| record.fields.describe(&mut add)).unwrap();
        found
    }

    /// The manuals, and test records with any choice of keys, are made from the probes.
    #[test]
    fn the_probes_have_every_key_of_the_records() {
        let probes: Value = serde_json::from_str(include_str!("../tests/data/probes.json")).unwrap();
        for stream in Stream::ALL {
            let records: Vec<&Value> = match &probes[stream.name()] {
                Value::Array(kinds) => kinds.iter().map(|kind| &kind["record"]).collect(),
                record => vec![record],
            };
            let has = |path: &[&str]| {
                records.iter().any(|record| !path.iter().fold(*record, |value, key| &value[*key]).is_null())
            };
            let missing: Vec<String> =
                fields(stream).iter().filter(|path| !has(path)).map(|path| path.join(".")).collect();
            assert!(missing.is_empty(), "tests/data/probes.json has no {stream} with {missing:?}");
        }
    }
}
