//! The incident status and the verdict that an analyst gave to a threat, in the activity log.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::ActivityData;

use super::placeholder::first_scalar;
use super::word::Word;

/// What was changed, in the words of the console: as a value (`in_progress`) or as its title (`In progress`).
#[derive(Debug, Clone, Copy)]
pub struct IncidentChange<'a> {
    pub status: Value<'a>,
    pub verdict: Value<'a>,
}

impl<'a> IncidentChange<'a> {
    pub fn of(data: &ActivityData<'a>) -> Self {
        Self {
            status: first_scalar([data.new_incident_status, data.new_incident_status_title]),
            verdict: first_scalar([data.new_analyst_verdict, data.new_analyst_verdict_title]),
        }
    }

    pub fn status_word(&self) -> Word {
        Word::of_value(self.status)
    }
}
