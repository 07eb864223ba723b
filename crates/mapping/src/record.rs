//! The one place that reads records by their stream.

use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::agent::Agent;
use s1_forwarder_record::alert::Alert;
use s1_forwarder_record::group::Group;
use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::vulnerability::Vulnerability;
use s1_forwarder_record::{JsonError, Reader, Stream};

/// A record with the text that it was read from.
pub struct Record<'a> {
    pub text: &'a str,
    /// There is white space between the tokens of the text.
    pub has_spaces: bool,
    pub fields: Fields<'a>,
}

/// The fields of a record, by its stream. One is on the stack at a time; boxing it would allocate.
pub enum Fields<'a> {
    Threat(Threat<'a>),
    Activity(Activity<'a>),
    Agent(Agent<'a>),
    Alert(Alert<'a>),
    Group(Group<'a>),
    UnifiedAlert(UnifiedAlert<'a>),
    Vulnerability(Vulnerability<'a>),
}

impl<'a> Record<'a> {
    /// # Errors
    /// When the text is not one JSON object.
    pub fn read(stream: Stream, text: &'a str) -> Result<Self, JsonError> {
        let mut reader = Reader::new(text);
        let fields = match stream {
            Stream::Threats => Fields::Threat(Threat::read(&mut reader)?),
            Stream::Activities => Fields::Activity(Activity::read(&mut reader)?),
            Stream::Agents => Fields::Agent(Agent::read(&mut reader)?),
            Stream::Alerts => Fields::Alert(Alert::read(&mut reader)?),
            Stream::Groups => Fields::Group(Group::read(&mut reader)?),
            Stream::UnifiedAlerts => Fields::UnifiedAlert(UnifiedAlert::read(&mut reader)?),
            Stream::Vulnerabilities => Fields::Vulnerability(Vulnerability::read(&mut reader)?),
        };
        reader.end()?;
        Ok(Self { text, has_spaces: reader.has_spaces(), fields })
    }
}
