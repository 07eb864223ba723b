//! An HTTP source of Sumo Logic.

use super::intake::{Contract, lines};

/// A source under this code, and with this token where it wants one: 1 MB before compression, 200 without a body.
pub fn contract(code: &'static str, token: Option<&'static str>) -> Contract {
    Box::new(move |seen| {
        if seen.path.split('?').next() != Some(&format!("/receiver/v1/http/{code}")) {
            return Err((401, ""));
        }
        if token.is_some_and(|token| seen.header("x-sumo-token") != token) {
            return Err((401, ""));
        }
        if seen.header("content-type").starts_with("application/vnd.sumologic") {
            return Err((400, "these are metrics"));
        }
        if seen.body.len() > 1_000_000 {
            return Err((413, ""));
        }
        if seen.body.lines().any(|line| line.len() > 64 * 1024) {
            return Err((400, "a message that would be cut into pieces"));
        }
        Ok((lines(&seen.body)?, ""))
    })
}
