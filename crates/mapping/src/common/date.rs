//! Reads dates that devices write. Some of them are not a time.

use s1_forwarder_record::Timestamp;

const SECONDS_OF_A_DAY: i64 = 86_400;

/// The last second of a file time of 64 bits that counts nanoseconds since 1601: `2185-07-21T23:34:33Z`. All bits are
/// set if there is no time. No event is later.
const LAST_FILE_TIME: i64 = 6_802_270_473;

/// The time in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Date {
    At(Timestamp),
    /// A zero, a time up to the first day of 1970, or a time that no event has, such as one in the year 9999.
    Missing,
    Invalid,
}

/// Returns whether a valid date has the form of [`Timestamp`], with any number of digits. Every receiver reads this
/// form. A leap second does not have it, because OpenSearch refuses leap seconds.
pub fn is_plain(text: &str) -> bool {
    let at = |place: usize| text.as_bytes().get(place).copied();
    text.ends_with('Z')
        && [at(10), at(13), at(16)] == [Some(b'T'), Some(b':'), Some(b':')]
        && matches!(at(19), Some(b'.' | b'Z'))
        && text.get(17..19) != Some("60")
}

/// Returns whether a valid time has no zone, so that UTC is a guess.
pub fn is_without_zone(text: &str) -> bool {
    !is_plain(text) && text.parse::<i64>().is_err() && Timestamp::parse(text).is_err()
}

/// Reads ISO 8601, or seconds or milliseconds since 1970.
pub fn read(text: &str) -> Date {
    let time = match text.parse::<i64>() {
        Ok(number) if (1_000_000_000..100_000_000_000).contains(&number) => {
            Ok(Timestamp::from_micros(number * 1_000_000))
        }
        Ok(number) if (100_000_000_000..100_000_000_000_000).contains(&number) => {
            Ok(Timestamp::from_micros(number * 1_000))
        }
        // Some records have a zero for an event that has not happened.
        Ok(0) => return Date::Missing,
        _ => Timestamp::parse_of_record(text),
    };
    match time {
        Ok(time) if !(SECONDS_OF_A_DAY..LAST_FILE_TIME).contains(&time.seconds()) => Date::Missing,
        Ok(time) => Date::At(time),
        Err(_) => Date::Invalid,
    }
}
