//! Times in microseconds, as the console writes them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time in UTC, in microseconds since 1970: the precision of the console's timestamps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// The year 2200, in microseconds since 1970.
const NEVER: i64 = 7_258_118_400_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UTC timestamp of the form 2018-02-27T04:49:26.257525Z")]
pub struct TimestampError;

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns whole milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Rounds down to a whole second.
    pub const fn whole_second(self) -> Self {
        Self(self.0.div_euclid(1_000_000) * 1_000_000)
    }

    /// Rounds down to a multiple of `step` since 1970.
    pub fn aligned_to(self, step: Duration) -> Self {
        let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(self.0.div_euclid(step) * step)
    }

    /// Returns the time of the system clock.
    pub fn now() -> Self {
        Self::from(std::time::SystemTime::now())
    }

    /// Returns the time `duration` earlier, saturating.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the time `duration` later, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the duration from `earlier` to `self`; zero if `self` is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns whether an end at this time means no end. Consoles report a year such as 2999 as the expiry of a token
    /// that never expires.
    pub const fn is_never(self) -> bool {
        self.0 >= NEVER
    }

    /// Reads `2018-02-27T04:49:26Z` with 0 to 9 digits of fraction, `Z` or an offset such as `+00:00`.
    /// Digits beyond the sixth are dropped. A leap second is the second before it.
    ///
    /// # Errors
    /// If the text has another form or is not a valid date and time.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        if let Some(micros) = parse_plain(text.as_bytes()) {
            return Ok(Self(micros));
        }
        let moment: jiff::Timestamp = text.parse().map_err(|_| TimestampError)?;
        Ok(Self(moment.as_microsecond()))
    }

    /// Reads a time as [`Self::parse`] does, from a record: a time without a zone is in UTC.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_of_record(text: &str) -> Result<Self, TimestampError> {
        // Longer ones are no times.
        Self::parse(text).or_else(|error| match text.len() {
            16..=29 => Self::parse(&format!("{text}Z")),
            _ => Err(error),
        })
    }

    /// Reads a time as [`Self::parse`] does, or the beginning of a day in UTC: `2018-02-27`.
    ///
    /// # Errors
    /// As [`Self::parse`]: a time of a day needs its zone.
    pub fn parse_or_day(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text).or_else(|error| match text.len() {
            10 => Self::parse(&format!("{text}T00:00:00Z")),
            _ => Err(error),
        })
    }
}

/// Parses the console's own form, `2018-02-27T04:49:26.257525Z` with 0 to 9 digits of fraction. This fast path pays
/// off, since every record has several such times. `None` leaves the text to the general parser.
fn parse_plain(text: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?.iter().try_fold(0_i64, |number, byte| {
            if byte.is_ascii_digit() { Some(number * 10 + i64::from(byte - b'0')) } else { None }
        })
    };
    const SEPARATORS: [(usize, u8); 5] = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !SEPARATORS.iter().all(|(at, byte)| text.get(*at) == Some(byte)) || !text.ends_with(b"Z") {
        return None;
    }
    let year = number(0, 4)?;
    let month = number(5, 7)?;
    let day = number(8, 10)?;
    let hour = number(11, 13)?;
    let minute = number(14, 16)?;
    let second = number(17, 19)?;
    let digits = text.len().checked_sub(21).filter(|digits| *digits <= 9 && text.get(19) == Some(&b'.'));
    let micros = match digits {
        None if text.len() == 20 => 0,
        None | Some(0) => return None,
        Some(digits @ ..6) => number(20, 20 + digits)? * 10_i64.pow(6 - digits as u32),
        Some(digits) => {
            number(26, 20 + digits)?;
            number(20, 26)?
        }
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day < 1 || day > days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 of a date in the Gregorian calendar, counted in years that begin in March.
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let days = march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400 + day_of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self(0).plus(since),
            Err(before) => Self(0).minus(before.duration()),
        }
    }
}

/// ISO 8601 in UTC with six digits of fraction, the form that the console writes and accepts. `{time:.0}` has none: it
/// is rounded down to a whole second.
impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(6);
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(formatter, "{moment:.digits$}"),
            Err(_) => write!(formatter, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_have_six_digits_of_fraction_or_as_many_as_they_ask_for() {
        for (micros, expected) in [(1_999_999, "01"), (0, "00"), (-1, "59")] {
            let time = Timestamp::from_micros(micros);
            let text = format!("{time:.0}");
            assert!(text.ends_with(&format!(":{expected}Z")), "{text}");
            assert_eq!(Timestamp::parse(&text), Ok(time.whole_second()));
        }
        assert_eq!(Timestamp::from_micros(1_500_000).to_string(), "1970-01-01T00:00:01.500000Z");
    }

    #[test]
    fn any_number_of_digits_and_offsets_are_read() {
        let at = |text: &str| Timestamp::parse(text).map(Timestamp::micros);
        assert_eq!(at("1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert_eq!(at("2018-02-27T04:49:26.25Z"), Ok(1_519_706_966_250_000));
        assert_eq!(at("2018-02-27T04:49:26.257525999Z"), Ok(1_519_706_966_257_525));
        assert_eq!(at("2018-02-27T06:49:26.257525+02:00"), at("2018-02-27T04:49:26.257525Z"));
        for text in [
            "",
            "2018-02-27",
            "2018-02-30T00:00:00Z",
            "2018-02-27T24:00:00Z",
            "2018-02-27T04:49:26.Z",
            "n/a",
            "2018-02-27T04:49:26",
        ] {
            assert_eq!(at(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn a_record_s_time_without_a_zone_is_in_utc_and_a_leap_second_is_the_one_before() {
        let at = |text: &str| Timestamp::parse_of_record(text).map(|time| time.to_string());
        let expected = |text: &str| Ok(text.to_owned());
        for text in ["2026-11-28T10:00:00.123456Z", "2026-11-28T10:00:00.123456", "2026-11-28 10:00:00.123456"] {
            assert_eq!(at(text), expected("2026-11-28T10:00:00.123456Z"), "{text}");
        }
        assert_eq!(at("2026-11-28T10:00:00.123456+02:00"), expected("2026-11-28T08:00:00.123456Z"));
        for text in ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60", "2017-01-01T00:59:60+01:00"] {
            assert_eq!(at(text), expected("2016-12-31T23:59:59.000000Z"), "{text}");
        }
        for text in [
            "",
            "2026-11-28",
            "2026-11-28Z",
            "soon",
            "a text of twenty-two b",
            "2026-02-30T10:00:00",
            "2016-12-31T23:59:61Z",
        ] {
            assert_eq!(at(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn a_day_begins_in_utc_and_a_time_of_a_day_needs_its_zone() {
        assert_eq!(Timestamp::parse_or_day("2018-02-27"), Timestamp::parse("2018-02-27T00:00:00Z"));
        for text in ["2018-02-30", "2018-2-27", "20180227", "2018-02-27T04:49:26", "2018-02-27 04:49", "yesterday!"] {
            assert_eq!(Timestamp::parse_or_day(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn what_ends_in_centuries_never_does() {
        assert!(Timestamp::parse("2999-12-31T00:00:00Z").unwrap().is_never());
        assert!(Timestamp::parse("2200-01-01T00:00:00Z").unwrap().is_never());
        assert!(!Timestamp::parse("2199-12-31T23:59:59Z").unwrap().is_never());
    }

    proptest! {
        #[test]
        fn the_plain_form_is_read_as_the_general_parser_does(micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let text = Timestamp::from_micros(micros).to_string();
            prop_assert_eq!(parse_plain(text.as_bytes()), Some(micros));
            let general: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(general.as_microsecond(), micros);
        }
    }
}
