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
    /// There is white space between the tokens of the text.
    pub has_spaces: bool,
    /// What the text has beyond the bounds, and the fields have not.
    pub overflow: Option<&'a str>,
    pub fields: Fields<'r, 'a>,
}

/// The fields of a record, by its stream. Lent: they are several KB, and are not moved.
#[derive(Clone, Copy)]
pub enum Fields<'r, 'a> {
    Threat(&'r Threat<'a>),
    /// With its `data`.
    Activity(&'r Activity<'a>, &'r ActivityData<'a>),
    /// An activity whose `data` is the hit of a rule.
    RuleHit(&'r Activity<'a>, &'r RuleHit<'a>),
    Agent(&'r Agent<'a>),
    Alert(&'r Alert<'a>),
    Group(&'r Group<'a>),
    UnifiedAlert(&'r UnifiedAlert<'a>),
    Vulnerability(&'r Vulnerability<'a>),
}

impl<'a> Fields<'_, 'a> {
    /// Visits the values of the record. `data` of an activity is one of them.
    pub fn visit(&self, visitor: &mut impl Visitor<'a>) {
        match self {
            Self::Threat(threat) => threat.visit(visitor),
            Self::Activity(activity, _) | Self::RuleHit(activity, _) => activity.visit(visitor),
            Self::Agent(agent) => agent.visit(visitor),
            Self::Alert(alert) => alert.visit(visitor),
            Self::Group(group) => group.visit(visitor),
            Self::UnifiedAlert(alert) => alert.visit(visitor),
            Self::Vulnerability(finding) => finding.visit(visitor),
        }
    }

    /// See [`Block::describe`].
    pub fn describe(&self, visit: &mut dyn FnMut(&[Member], bool)) {
        fn of<'a, B: Block<'a>>(_: &B, visit: &mut dyn FnMut(&[Member], bool)) {
            B::describe(&mut Vec::new(), visit);
        }
        match self {
            Self::Threat(threat) => of(*threat, visit),
            Self::Activity(activity, _) | Self::RuleHit(activity, _) => of(*activity, visit),
            Self::Agent(agent) => of(*agent, visit),
            Self::Alert(alert) => of(*alert, visit),
            Self::Group(group) => of(*group, visit),
            Self::UnifiedAlert(alert) => of(*alert, visit),
            Self::Vulnerability(finding) => of(*finding, visit),
        }
    }
}

/// Reads a record, and maps it while its fields stand.
///
/// # Errors
/// When the text is not one JSON object.
pub fn read<'a, T>(stream: Stream, text: &'a str, map: impl FnOnce(&Record<'_, 'a>) -> T) -> Result<T, JsonError> {
    let mut reader = Reader::new(text);
    match stream {
        Stream::Threats => lend(Fields::Threat(&Threat::read(&mut reader)?), text, &mut reader, map),
        Stream::Activities => {
            let activity = Activity::read(&mut reader)?;
            let data: ActivityData<'_> = data_of(&activity);
            if is_hit(&activity, &data) {
                lend(Fields::RuleHit(&activity, &data_of(&activity)), text, &mut reader, map)
            } else {
                lend(Fields::Activity(&activity, &data), text, &mut reader, map)
            }
        }
        Stream::Agents => lend(Fields::Agent(&Agent::read(&mut reader)?), text, &mut reader, map),
        Stream::Alerts => lend(Fields::Alert(&Alert::read(&mut reader)?), text, &mut reader, map),
        Stream::Groups => lend(Fields::Group(&Group::read(&mut reader)?), text, &mut reader, map),
        Stream::UnifiedAlerts => lend(Fields::UnifiedAlert(&UnifiedAlert::read(&mut reader)?), text, &mut reader, map),
        Stream::Vulnerabilities => {
            lend(Fields::Vulnerability(&Vulnerability::read(&mut reader)?), text, &mut reader, map)
        }
    }
}

/// Without an object there is nothing in it.
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
