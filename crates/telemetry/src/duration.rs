//! Prints a duration for people.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A duration for people: its two largest units, and whole minutes from ten minutes on.
#[derive(Debug, Clone, Copy)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// Returns a duration from a number of seconds that may come from another worker. An invalid number becomes 0.
    pub fn of_seconds(seconds: f64) -> Self {
        Self(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

impl Display for HumanDuration {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let text = match self.0.as_secs() {
            seconds @ 0..60 => format!("{seconds} s"),
            seconds @ 60..600 => format!("{} min {} s", seconds / 60, seconds % 60),
            seconds @ 600..3_600 => format!("{} min", seconds / 60),
            seconds @ 3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        };
        formatter.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown = |seconds| HumanDuration(Duration::from_secs(seconds)).to_string();
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(60), "1 min 0 s");
        assert_eq!(shown(599), "9 min 59 s");
        assert_eq!(shown(2_960), "49 min");
        assert_eq!(shown(3_600), "1 h 0 min");
        assert_eq!(shown(86_412), "1 d 0 h");
        assert_eq!(shown(2_592_015), "30 d 0 h");
        assert_eq!(HumanDuration::of_seconds(f64::NAN).to_string(), "0 s");
        assert_eq!(HumanDuration::of_seconds(-1.0).to_string(), "0 s");
    }
}
