//! The severity of events, as syslog's priority and CEF's header have it.

use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::Value;

/// In rising order. The mapping writes 21, 47, 73 and 99 for the last four; a program may set any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// No severity, 0, or a value that is not a number.
    Unknown,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Returns the severity of an ECS event.
    pub fn of_ecs(event: Value<'_>) -> Self {
        match number(event.get("event").get("severity")) {
            Some(severity) if severity > 73.0 => Self::Critical,
            Some(severity) if severity > 47.0 => Self::High,
            Some(severity) if severity > 21.0 => Self::Medium,
            Some(severity) if severity > 0.0 => Self::Low,
            _ => Self::Unknown,
        }
    }

    /// Returns the severity in CEF.
    pub fn cef(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Low => "3",
            Self::Medium => "5",
            Self::High => "8",
            Self::Critical => "10",
        }
    }

    /// Returns the severity in syslog: critical 2, error 3, warning 4, informational 6.
    fn syslog(self) -> u8 {
        match self {
            Self::Unknown | Self::Low => INFORMATIONAL,
            Self::Medium => 4,
            Self::High => 3,
            Self::Critical => 2,
        }
    }
}

/// The severity of events that name none.
const INFORMATIONAL: u8 = 6;

/// Returns the event's severity in syslog.
pub(super) fn of_syslog(event: Value<'_>, schema: Schema) -> u8 {
    match schema {
        Schema::Ecs => Severity::of_ecs(event).syslog(),
        Schema::Ocsf => match number(event.get("severity_id")) {
            Some(6.0) => 1,
            Some(5.0) => 2,
            Some(4.0) => 3,
            Some(3.0) => 4,
            Some(2.0) => 5,
            _ => INFORMATIONAL,
        },
        Schema::Raw => INFORMATIONAL,
    }
}

/// Parses a number, or a text that is a number. Both must begin with a digit, so the number is not negative.
fn number(value: Value<'_>) -> Option<f64> {
    let text = value.text()?;
    let text = text.trim();
    let begins_with_digit = text.starts_with(|first: char| first.is_ascii_digit());
    if begins_with_digit { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_a_range_of_numbers() {
        for (severity, cef, syslog) in [
            ("0", "0", 6),
            ("1", "3", 6),
            ("21", "3", 6),
            ("22", "5", 4),
            ("47", "5", 4),
            ("48", "8", 3),
            ("60", "8", 3),
            ("73", "8", 3),
            ("73.5", "10", 2),
            ("74", "10", 2),
            ("99", "10", 2),
            ("100", "10", 2),
            ("1e400", "10", 2),
            (r#""99""#, "10", 2),
            (r#"" 60 ""#, "8", 3),
            (r#""high""#, "0", 6),
            (r#""infinity""#, "0", 6),
            ("-5", "0", 6),
            ("null", "0", 6),
            ("[99]", "0", 6),
            (r#"{"a":99}"#, "0", 6),
        ] {
            let event = format!(r#"{{"event":{{"severity":{severity}}}}}"#);
            let event = Value::new(&event);
            assert_eq!((Severity::of_ecs(event).cef(), of_syslog(event, Schema::Ecs)), (cef, syslog), "{severity}");
        }
        assert_eq!(Severity::of_ecs(Value::new("{}")), Severity::Unknown);
        for (severity, syslog) in [("6", 1), (r#""5""#, 2), ("4", 3), ("3", 4), ("2", 5), ("1", 6), ("99", 6)] {
            let event = format!(r#"{{"severity_id":{severity}}}"#);
            assert_eq!(of_syslog(Value::new(&event), Schema::Ocsf), syslog, "{severity}");
        }
    }
}
