//! Tests the connections of valid pipelines without delivering anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::{Check, Finding};
use crate::console::{Client, ConsoleError, Endpoint, Limiters};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Timestamp};
use crate::sink::{Probe, SharedSinkResources};
use crate::source::Request;

/// Pipelines that are tested concurrently.
const CONCURRENCY: usize = 16;
/// Consoles report a year such as 2999 for a token that never expires.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// A token that expires within this time gets a hint.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// Larger than one record of any stream.
const ONE_RECORD: usize = 4 * 1024 * 1024;

/// Tests the connections of each pipeline, in the given order. Paused pipelines are tested too.
pub async fn check_all(pipelines: &[Arc<Pipeline>]) -> Vec<Vec<Finding>> {
    let limiters = Limiters::default();
    let shared = SharedSinkResources::default();
    let checks = pipelines.iter().map(|pipeline| check(pipeline, &limiters, &shared));
    stream::iter(checks).buffered(CONCURRENCY).collect().await
}

async fn check(pipeline: &Pipeline, limiters: &Limiters, shared: &SharedSinkResources) -> Vec<Finding> {
    let mut findings = console(pipeline, limiters).await;
    for sink in &pipeline.sinks {
        let subject = format!("sink {}", sink.name());
        let Some(context) = pipeline.sink_context(sink, shared.clone()) else { continue };
        let (check, detail) = match sink.build(&context) {
            Ok(sink) => match sink.probe().await {
                Probe::Verified(detail) => (Check::Verified, detail),
                Probe::Reached(detail) => (Check::Reached, detail),
                Probe::Failed(detail) => (Check::Failed, detail),
            },
            Err(error) => (Check::Failed, error.to_string()),
        };
        findings.push(Finding { subject, check, detail });
    }
    findings
}

/// Requests that need no permission come first, and only permissions that the pipeline needs are tested. So the test
/// works for every role.
async fn console(pipeline: &Pipeline, limiters: &Limiters) -> Vec<Finding> {
    let pulls = pipeline.streams.pulls();
    let rest = ["token".to_owned(), "scope".to_owned()].into_iter();
    let rest: Vec<String> = rest.chain(pulls.iter().map(|pull| format!("stream {}", pull.stream))).collect();
    let client = match client(pipeline, limiters) {
        Ok(client) => client,
        Err(detail) => return stopped("console", detail, rest),
    };
    let mut findings = Vec::new();
    match client.object("system/status").await {
        Ok(_) => findings.push(verified("console", format!("{} responds", pipeline.console.url))),
        // Some deployments hide this endpoint. Any response shows that the console is reachable.
        Err(error @ (ConsoleError::Forbidden(_) | ConsoleError::Missing(_) | ConsoleError::Unauthorized(_))) => {
            findings.push(verified("console", format!("{} responds ({error})", pipeline.console.url)));
        }
        Err(error) => return stopped("console", error.to_string(), rest),
    }
    match client.token_expiry().await {
        Ok(expiry) => findings.push(expires(expiry, client.token_in_use())),
        Err(error @ ConsoleError::Unauthorized(_)) => {
            let skipped = rest.into_iter().skip(1).collect();
            findings.extend(stopped("token", error.to_string(), skipped));
            return findings;
        }
        Err(error @ (ConsoleError::Forbidden(_) | ConsoleError::Missing(_))) => {
            findings.push(reached("token", format!("the console does not report it: {error}")));
        }
        Err(error) => findings.push(failed("token", error.to_string())),
    }
    match client.object("user").await {
        Ok(body) => findings.push(scope(&body)),
        // A role without permission to read its own user can still pull records.
        Err(error) => findings.push(reached("scope", format!("the console does not report it: {error}"))),
    }
    for pull in pulls {
        let subject = format!("stream {}", pull.stream);
        let probe = Request::probe(pull.stream, ONE_RECORD);
        findings.push(match probe.send(&client, client.permit().await, None).await {
            Ok(_) => verified(&subject, "can be read".to_owned()),
            Err(error @ ConsoleError::Forbidden(_)) => {
                let permission = Endpoint::permission(pull.stream);
                let advice = "give it to the token's role, or correct `accounts`, `sites` and `groups`";
                failed(&subject, format!("{error}; the permission is \"{permission}\": {advice}"))
            }
            Err(error) => failed(&subject, error.to_string()),
        });
    }
    findings
}

fn client(pipeline: &Pipeline, limiters: &Limiters) -> Result<Client, String> {
    pipeline.console.token.iter().try_for_each(|token| token.read().map(drop)).map_err(|error| error.to_string())?;
    Client::connect(&pipeline.console, limiters, Clock::System).map_err(|error| error.to_string())
}

fn expires(expiry: Option<Timestamp>, in_use: usize) -> Finding {
    let now = Timestamp::now();
    let mut finding = match expiry {
        None => verified("token", "valid; the console does not report when it expires".to_owned()),
        Some(expiry) if expiry <= now => failed("token", format!("expired at {expiry}")),
        Some(expiry) if expiry.since(now) > NEVER => verified("token", "valid, never expires".to_owned()),
        Some(expiry) => {
            let left = expiry.since(now);
            let soon = if left < SOON { " (soon: create a new token)" } else { "" };
            verified("token", format!("valid until {expiry}, {} days{soon}", left.as_secs() / 86_400))
        }
    };
    if in_use > 0 {
        finding.detail += "; this is the second token, the first is refused";
    }
    finding
}

/// The token's scope and roles, from the response of `/user`.
fn scope(body: &[u8]) -> Finding {
    let user: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |pointer: &str| user.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
    let Some(scope) = text("/data/scope") else {
        return reached("scope", "the console does not report it".to_owned());
    };
    let roles = user.pointer("/data/scopeRoles").and_then(serde_json::Value::as_array);
    let names: Vec<_> =
        roles.into_iter().flatten().filter_map(|role| role.get("name").and_then(serde_json::Value::as_str)).collect();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    verified("scope", format!("{scope}{names}"))
}

fn stopped(subject: &str, detail: String, rest: Vec<String>) -> Vec<Finding> {
    let skipped = |subject| Finding { subject, check: Check::Skipped, detail: String::new() };
    std::iter::once(failed(subject, detail)).chain(rest.into_iter().map(skipped)).collect()
}

fn verified(subject: &str, detail: String) -> Finding {
    Finding { subject: subject.to_owned(), check: Check::Verified, detail }
}

fn reached(subject: &str, detail: String) -> Finding {
    Finding { subject: subject.to_owned(), check: Check::Reached, detail }
}

fn failed(subject: &str, detail: String) -> Finding {
    Finding { subject: subject.to_owned(), check: Check::Failed, detail }
}
