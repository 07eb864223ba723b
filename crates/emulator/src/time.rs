//! Times in microseconds since 1970, and the text forms of the console, which match Python's `isoformat`.

/// In microseconds.
pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Returns the time of the system clock in microseconds since 1970.
pub fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Prints a time as `2018-02-27T04:49:26.257525Z`. A whole second has no fraction, which strict parsers do not accept.
pub fn print(micros: i64) -> String {
    let Ok(moment) = jiff::Timestamp::from_microsecond(micros) else { return micros.to_string() };
    if micros % SECOND == 0 { format!("{moment:.0}") } else { format!("{moment:.6}") }
}

/// Prints a time as `2025-03-16T21:05:52.096Z`, rounded down.
pub fn print_millis(micros: i64) -> String {
    let millis = micros.div_euclid(1_000);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| micros.to_string(), |moment| format!("{moment:.3}"))
}

/// Reads an ISO 8601 time.
pub fn parse(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// Reads a time parameter of a request: ISO 8601, or milliseconds since 1970.
pub fn parse_parameter(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1_000);
    }
    parse(text)
}

/// Prints a time in the form of the `Date` header, in whole seconds.
pub fn print_http(micros: i64) -> String {
    let seconds = u64::try_from(micros.div_euclid(SECOND)).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_the_console_forms() {
        let moment = 1_519_706_966_257_525;
        assert_eq!(print(moment), "2018-02-27T04:49:26.257525Z");
        assert_eq!(print(moment - 257_525), "2018-02-27T04:49:26Z");
        assert_eq!(parse("2018-02-27T04:49:26.257525Z"), Some(moment));
        assert_eq!(parse("2018-02-27T04:49:26.25Z"), Some(moment - 7_525));
        assert_eq!(parse_parameter("1519706966257"), Some(moment - 525));
        assert_eq!(parse_parameter("yesterday"), None);
        assert_eq!(print_http(moment), "Tue, 27 Feb 2018 04:49:26 GMT");
    }
}
