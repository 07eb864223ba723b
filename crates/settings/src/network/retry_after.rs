//! Reads the header `Retry-After` of a response.

use std::time::{Duration, SystemTime};

use http::HeaderName;
use http::header::{DATE, HeaderMap, RETRY_AFTER};

/// Longest wait. A longer `Retry-After` is shortened to this.
const MAX: Duration = Duration::from_mins(10);

/// Returns how long a response's `Retry-After` asks to wait, in seconds or as a date, ten minutes at most. A date is
/// compared with the response's own `Date`, since the clocks may differ. `now` is used if there is none.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |name: &HeaderName| httpdate::parse_http_date(text(name)?).ok();
    let wait = match text(&RETRY_AFTER)?.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(&RETRY_AFTER)?.duration_since(date(&DATE).unwrap_or(now)).unwrap_or_default(),
    };
    Some(wait.min(MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let date = (DATE, "Fri, 20 Nov 2026 06:30:00 GMT");
        let own_clock = httpdate::parse_http_date("Fri, 20 Nov 2026 06:30:10 GMT").unwrap();
        for (pairs, seconds) in [
            (vec![], None),
            (vec![(RETRY_AFTER, "7")], Some(7)),
            (vec![(RETRY_AFTER, " 0 ")], Some(0)),
            (vec![(RETRY_AFTER, "86400")], Some(600)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:30:42 GMT"), date.clone()], Some(42)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:30:42 GMT")], Some(32)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:30:42 GMT"), (DATE, "today")], Some(32)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2026 06:29:00 GMT"), date.clone()], Some(0)),
            (vec![(RETRY_AFTER, "Fri, 20 Nov 2099 06:30:00 GMT")], Some(600)),
            (vec![(RETRY_AFTER, "soon")], None),
            (vec![(RETRY_AFTER, "-1")], None),
        ] {
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            assert_eq!(retry_after(&headers, own_clock), seconds.map(Duration::from_secs), "{pairs:?}");
        }
    }
}
