//! Advice about refusals of a console, by cause. Lanes and `check` print the same.

use std::fmt::Display;

use http::StatusCode;
use s1_forwarder_record::{Stream, Timestamp};
use s1_forwarder_settings::wants_tls;

use super::Endpoint;

/// Returns the end of a message that gives this advice.
pub fn suffix(advice: Option<impl Display>) -> String {
    advice.map(|advice| format!("; {advice}")).unwrap_or_default()
}

/// Returns the advice for an answer whose status does not depend on the stream.
pub(super) fn of_status(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        300..=399 => Some(IS_IT_THE_CONSOLE),
        429 => Some("others use this token too, or `requests_per_second` is too high"),
        501 => None,
        500..=599 => {
            Some("the console, or a proxy before it, is not available now: if this lasts, ask the console's operator")
        }
        _ => None,
    }
}

/// Advice for an answer from elsewhere.
pub const IS_IT_THE_CONSOLE: &str = "is `console.url` the console's own address?";
/// Advice for a port that got a request without TLS.
const WANTS_TLS: &str = "the port wants TLS: write https:// in `console.url`";

/// Returns the advice for a body that no console writes. It concerns the address, not the token or a stream.
pub fn of_foreign_body(body: &[u8]) -> &'static str {
    if wants_tls(body) { WANTS_TLS } else { IS_IT_THE_CONSOLE }
}

/// Returns whether a text ends with the advice for an answer from elsewhere. Such a text needs no other advice.
pub fn is_from_elsewhere(reason: &str) -> bool {
    reason.ends_with(IS_IT_THE_CONSOLE) || reason.ends_with(WANTS_TLS)
}

/// Returns the text without the advice about the console's address.
pub(super) fn without_address(reason: String) -> String {
    let stripped = reason.strip_suffix(IS_IT_THE_CONSOLE).and_then(|reason| reason.strip_suffix("; "));
    stripped.map(str::to_owned).unwrap_or(reason)
}

/// Replaces the advice about the console's address with the hint that a proxy or firewall may have refused.
pub(super) fn with_firewall(reason: String) -> String {
    if !is_from_elsewhere(&reason) {
        return reason;
    }
    format!("{}; no console writes this answer: a proxy or firewall may refuse this", without_address(reason))
}

/// Returns the advice for records of a stream that the token may not read.
pub(super) fn of_permission(stream: Stream) -> String {
    let permission = Endpoint::permission(stream);
    format!(
        "the permission is \"{permission}\": give it to the token's role, or correct `accounts`, `sites` and `groups`"
    )
}

/// Returns the advice for a list that the console does not have. With `has_answered`, the console has shown the list
/// before. Then the console lost the list, or an account, site or group that narrowed it.
pub(super) fn of_missing(has_answered: bool, has_scope: bool) -> &'static str {
    match (has_answered, has_scope) {
        (false, false) => "the console does not have this stream: remove it",
        (false, true) => {
            "the console does not have this stream, or not what `accounts`, `sites` and `groups` name: remove the \
             stream, or correct them"
        }
        (true, false) => "the console had this stream before: ask its operator",
        (true, true) => {
            "the console had this stream before: was an account, site or group deleted that the file names? then \
             correct `accounts`, `sites` and `groups`"
        }
    }
}

/// Advice for a token that is refused while its source has another one, which is not used either.
pub const OF_NEW_TOKEN: &str = "the token in use is refused, and so is the new one in its file or Secret, or its user has another scope: correct \
     that one";

/// Returns the advice for a token that is refused. `expiry` is the time at which the token ends, if it is known.
pub fn of_token(expiry: Option<Timestamp>, now: Timestamp) -> String {
    const GONE: &str = "it was revoked or replaced, or its user was disabled or deleted";
    match expiry {
        Some(expiry) if expiry <= now => format!("the token expired at {expiry}: create a new one"),
        Some(expiry) if expiry.is_never() => format!("the token never expires: {GONE}"),
        Some(expiry) => format!("the token was valid until {expiry}: {GONE}"),
        None => "the token is wrong, revoked or expired".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_advice() {
        for (status, part) in [
            (302, Some("`console.url`")),
            (400, None),
            (429, Some("`requests_per_second`")),
            (500, Some("a proxy before it")),
            (501, None),
            (503, Some("a proxy before it")),
        ] {
            let advice = of_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(advice.is_some(), part.is_some(), "{status}");
            assert!(part.is_none_or(|part| advice.unwrap().contains(part)), "{status}: {advice:?}");
        }
        let forbidden = of_permission(Stream::Threats);
        assert!(forbidden.contains(&format!("\"{}\"", Endpoint::permission(Stream::Threats))), "{forbidden}");
        for (has_answered, has_scope, says) in [
            (false, false, ["this stream: remove it", ""]),
            (false, true, ["remove the stream, or", "`sites`"]),
            (true, false, ["ask its operator", ""]),
            (true, true, ["deleted", "`sites`"]),
        ] {
            let advice = of_missing(has_answered, has_scope);
            assert!(says.iter().all(|part| advice.contains(part)), "{advice}");
            assert!(has_answered != advice.contains("remove"), "{advice}");
        }
        let past = "2026-01-01T00:00:00Z";
        let now = "2026-01-02T00:00:00Z";
        let later = "2026-01-03T00:00:00Z";
        let at = |text: &str| Timestamp::parse(text).unwrap();
        for (expiry, part) in [
            (Some(past), "create a new one"),
            (Some(later), "revoked or replaced"),
            (Some("2999-12-31T00:00:00Z"), "never expires: it was revoked"),
            (None, "wrong, revoked or expired"),
        ] {
            let advice = of_token(expiry.map(at), at(now));
            assert!(advice.contains(part), "{advice}");
        }
    }
}
