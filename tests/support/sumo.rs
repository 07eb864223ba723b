//! An HTTP source of Sumo Logic.

use serde_json::Value;

use super::double::{Contract, Received, Refusal, Reply, lines, only_post};

/// A source under this code, and with this token where it wants one: 1 MB before compression, 200 without a body.
pub struct Sumo {
    pub code: &'static str,
    pub token: Option<&'static str>,
}

impl Contract for Sumo {
    fn encodings(&self) -> &'static [&'static str] {
        &["gzip", "zstd"]
    }

    fn admit(&mut self, request: &Received) -> Result<(), Reply> {
        only_post(request)
    }

    fn answer(&mut self, request: &Received) -> Reply {
        self.read(request).into()
    }
}

impl Sumo {
    fn read(&self, request: &Received) -> Result<Vec<Value>, Refusal> {
        if request.path != format!("/receiver/v1/http/{}", self.code) {
            return Err((401, ""));
        }
        if self.token.is_some_and(|token| request.header("x-sumo-token") != token) {
            return Err((401, ""));
        }
        if request.header("content-type").starts_with("application/vnd.sumologic") {
            return Err((400, "these are metrics"));
        }
        if request.body.len() > 1_000_000 {
            return Err((413, ""));
        }
        if request.body.lines().any(|line| line.len() > 64 * 1024) {
            return Err((400, "a message that would be split"));
        }
        lines(&request.body)
    }
}
