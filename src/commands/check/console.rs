//! Tests one console in the order in which a person would doubt: address, token, owner, scope, clock, streams with
//! their counts, rate.

use std::time::Duration;

use super::{Check, Finding};
use crate::console::advice::{self, IS_IT_THE_CONSOLE};
use crate::console::{self, Client, ConsoleError, ConsoleSettings, ConsoleUrl, Limiters, ReachError, Reached, reach};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Level, Timestamp};
use crate::settings::{Id, SecretError, UsedProxy};
use crate::source::{PullSettings, Request, SeenScope, TimeField, VisibleScopes, Window, named_scopes, read_page};

/// A token that expires within this time gets a warning.
const SOON: Duration = Duration::from_hours(336);
/// A larger difference between the two clocks gets a warning. The console's `Date` header has whole seconds.
const CLOCK_DIFFERENCE: Duration = Duration::from_mins(1);
/// Connectors quote this rate per token from SentinelOne's documentation.
const CONSOLE_RATE: f64 = 25.0;
/// Names of accounts, sites or groups in one row.
const MAX_NAMES: usize = 10;
/// Larger than one record of any stream.
const ONE_RECORD: usize = 4 * 1024 * 1024;

/// Requests that need no permission come first, and only permissions that the pipeline needs are tested. So the test
/// works for every role.
pub(super) async fn check(pipeline: &Pipeline, limiters: &Limiters) -> Vec<Finding> {
    let settings = &pipeline.console;
    let streams = &pipeline.pulls;
    let tokens = read_tokens(settings);
    let reached = reach(settings).await;
    let mut findings: Vec<Finding> = console::proxy(settings).map(|proxy| via(&proxy, &reached)).into_iter().collect();
    findings.push(address(&settings.url, reached));
    let rest =
        ["token", "owner", "scope"].into_iter().chain(named_scopes(settings).map(|(name, ..)| name)).chain(["clock"]);
    let mut rest: Vec<String> =
        rest.map(str::to_owned).chain(streams.iter().map(|pull| format!("stream {}", pull.stream))).collect();
    let is_down = findings.iter().any(|finding| finding.check == Check::Failed);
    let is_odd = findings.iter().any(|finding| finding.warning.is_some());
    if is_down && tokens.is_ok() {
        return skip(findings, rest);
    }
    rest.remove(0);
    let connect = || Client::connect(settings, limiters, Clock::System).map_err(|error| error.to_string());
    let client = match tokens.map_err(|error| error.to_string()).and_then(|()| connect()) {
        Ok(client) => client,
        Err(reason) => {
            findings.push(failed("token", reason));
            return skip(findings, rest);
        }
    };
    match token(&client).await {
        Ok(finding) => findings.push(finding),
        Err(refused) => {
            findings.push(refused);
            return skip(findings, rest);
        }
    }
    findings.extend(user(&client).await);
    for (name, level, ids) in named_scopes(settings) {
        findings.push(given_scopes(&client, name, level, ids).await);
    }
    findings.extend(client.time().map(|console| clock(console, Timestamp::now())));
    for pull in streams {
        let subject = format!("stream {}", pull.stream);
        let probe = Request::probe(pull.stream, ONE_RECORD);
        let answer = probe.send(&client, client.permit().await, None).await;
        let read = answer.and_then(|body| read_page(pull.stream, &body, client.redactor()).map(drop));
        findings.push(match read {
            Ok(()) => counted(&subject, count(&client, pull).await, settings),
            Err(error) => {
                let advice = match &error {
                    ConsoleError::Missing(reason) if is_odd && !advice::is_from_elsewhere(reason) => {
                        Some(IS_IT_THE_CONSOLE.to_owned())
                    }
                    _ => error.advice(pull.stream, false, named_scopes(settings).next().is_some()),
                };
                failed(&subject, format!("{error}{}", advice::suffix(advice)))
            }
        });
    }
    findings.push(rate(settings));
    findings
}

async fn given_scopes(client: &Client, name: &str, level: Level, ids: &[Id]) -> Finding {
    match SeenScope::of(name, ids, &VisibleScopes::of(client, name, level).await) {
        SeenScope::All(seen) => {
            let names = seen.iter().map(|scope| scope.name.as_deref().unwrap_or(&scope.id));
            let names = names.take(MAX_NAMES).collect::<Vec<_>>().join(", ");
            verified(name, format!("the token sees {}", client.redactor().scrub(&names)))
        }
        SeenScope::Lacks(problem) => failed(name, problem),
        SeenScope::Unknown(reason) => reached(name, format!("not known whether the token sees them: {reason}")),
    }
}

/// Returns the number of all records of the stream in the pipeline's scope.
async fn count(client: &Client, pull: &PullSettings) -> Result<u64, ConsoleError> {
    let window = Window { from: Timestamp::default(), to: client.latest_time(), time: TimeField::Creation };
    pull.count(client, window, None).await
}

fn counted(subject: &str, count: Result<u64, ConsoleError>, settings: &ConsoleSettings) -> Finding {
    let scope = if named_scopes(settings).next().is_some() { "in this scope" } else { "in all that the token sees" };
    match count {
        Ok(0) => verified(subject, "can be read").warn(format!(
            "the console has no record {scope}: is the scope right, and may the role see this kind of record?"
        )),
        Ok(1) => verified(subject, format!("can be read; 1 record {scope}")),
        Ok(count) => verified(subject, format!("can be read; {count} records {scope}")),
        Err(error) => verified(subject, format!("can be read; it is not known how many records there are: {error}")),
    }
}

/// Returns the finding about the proxy on the way to the console. An operator may not know of a proxy that the
/// environment names.
fn via(proxy: &UsedProxy, reached: &Result<Reached, ReachError>) -> Finding {
    let detail = format!("{proxy} on the way to the console");
    match reached {
        Ok(_) => verified("proxy", detail),
        Err(ReachError::Request(problem)) if problem.is_proxys => failed("proxy", detail),
        Err(_) => Finding::new("proxy", Check::Skipped, detail),
    }
}

/// Checks whether a server answers at the console's address. No token is sent.
fn address(url: &ConsoleUrl, reached: Result<Reached, ReachError>) -> Finding {
    match reached {
        Ok(Reached { odd: Some(odd), .. }) => {
            verified("console", format!("{url} responds")).warn(format!("with {odd}: {IS_IT_THE_CONSOLE}"))
        }
        Ok(answer) => {
            let addresses = answer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let addresses = if addresses.is_empty() { String::new() } else { format!(" ({addresses})") };
            verified("console", format!("{url} responds{addresses}"))
        }
        Err(error) => failed("console", error.to_string()),
    }
}

/// Checks whether there are tokens to send, whatever the console does.
fn read_tokens(settings: &ConsoleSettings) -> Result<(), SecretError> {
    settings.token.iter().try_for_each(|token| token.read_token().map(drop))
}

/// Checks the token. The error is the finding for a token that the console refuses.
async fn token(client: &Client) -> Result<Finding, Finding> {
    let mut finding = match client.token_expiry().await {
        Ok(expiry) => {
            let finding = expires(expiry, Timestamp::now());
            if finding.check == Check::Failed {
                return Err(finding);
            }
            finding
        }
        Err(ConsoleError::Unauthorized(reason)) if advice::is_from_elsewhere(&reason) => {
            return Err(failed("token", reason));
        }
        Err(error @ ConsoleError::Unauthorized(_)) => {
            return Err(failed("token", format!("{error}; {}", advice::of_token(None, Timestamp::now()))));
        }
        Err(error @ ConsoleError::NoToken(_)) => return Err(failed("token", error.to_string())),
        Err(error @ (ConsoleError::Forbidden(_) | ConsoleError::Missing(_))) => {
            reached("token", format!("the console does not report when it expires: {error}"))
        }
        Err(error) => failed("token", error.to_string()),
    };
    if client.token_in_use() > 0 {
        finding.detail += "; this is the second token, the first is refused";
    }
    Ok(finding)
}

fn expires(expiry: Option<Timestamp>, now: Timestamp) -> Finding {
    let Some(expiry) = expiry else {
        return verified("token", "valid; the console does not report when it expires");
    };
    let left = expiry.since(now);
    if expiry <= now {
        return failed("token", format!("expired at {expiry}; create a new one in the console"));
    } else if expiry.is_never() {
        return verified("token", "valid, never expires");
    }
    let days = left.as_secs() / 86_400;
    let finding = verified("token", format!("valid until {expiry}, {days} days"));
    if left < SOON { finding.warn("it expires soon: create a new one".to_owned()) } else { finding }
}

/// Returns owner and scope of the token, from the response of `/user`.
async fn user(client: &Client) -> [Finding; 2] {
    let body = match client.object("user").await {
        Ok(body) => body,
        // A role without permission to read its own user can still pull records.
        Err(error) => {
            let detail = format!("the console does not report it: {error}");
            return ["owner", "scope"].map(|subject| reached(subject, detail.clone()));
        }
    };
    let user: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text =
        |pointer: &str| user.pointer(pointer).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    // The console may repeat the token here too.
    let shown = |text: String| client.redactor().scrub(&text);
    let unknown = |subject| reached(subject, "the console does not report it");
    let owner = match (text("/data/fullName"), text("/data/email")) {
        (Some(name), Some(email)) if name != email => verified("owner", shown(format!("{name} ({email})"))),
        (Some(name), _) | (None, Some(name)) => verified("owner", shown(name.to_owned())),
        (None, None) => unknown("owner"),
    };
    let Some(scope) = text("/data/scope") else { return [owner, unknown("scope")] };
    // A role has the name of its account or site, and its own.
    let roles = user.pointer("/data/scopeRoles").and_then(serde_json::Value::as_array).into_iter().flatten();
    let roles: Vec<String> = roles
        .filter_map(|role| {
            let text = |key: &str| role.get(key).and_then(serde_json::Value::as_str);
            let role_name = text("roleName").or_else(|| text("role_name"));
            match (text("name"), role_name) {
                (Some(name), Some(role)) => Some(format!("{name} as {role}")),
                (name, role) => name.or(role).map(str::to_owned),
            }
        })
        .collect();
    let roles = if roles.is_empty() { String::new() } else { format!(": {}", roles.join(", ")) };
    let words = match scope {
        "tenant" | "global" => ": all accounts of this console",
        "account" => ": all sites of the accounts that its user belongs to",
        "site" => ": only the sites that its user belongs to",
        "group" => ": only the groups that its user belongs to",
        _ => "",
    };
    [owner, verified("scope", shown(format!("{scope}{}", if roles.is_empty() { words } else { &roles })))]
}

fn clock(console: Timestamp, local: Timestamp) -> Finding {
    let ahead = console.since(local);
    let behind = local.since(console);
    let difference = ahead.max(behind);
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let finding = verified("clock", format!("the console's is {} s {direction} this host's", difference.as_secs()));
    if difference > CLOCK_DIFFERENCE {
        finding.warn("one of the two is wrong: set it by NTP".to_owned())
    } else {
        finding
    }
}

fn rate(settings: &ConsoleSettings) -> Finding {
    let rate = settings.rate();
    let finding = verified("rate limit", format!("up to {rate} requests per second with this token"));
    if rate > CONSOLE_RATE { finding.warn(format!("consoles allow about {CONSOLE_RATE}")) } else { finding }
}

fn skip(findings: Vec<Finding>, rest: Vec<String>) -> Vec<Finding> {
    let skipped = rest.into_iter().map(|subject| Finding::new(&subject, Check::Skipped, ""));
    findings.into_iter().chain(skipped).collect()
}

fn verified(subject: &str, detail: impl Into<String>) -> Finding {
    Finding::new(subject, Check::Verified, detail)
}

fn reached(subject: &str, detail: impl Into<String>) -> Finding {
    Finding::new(subject, Check::Reached, detail)
}

fn failed(subject: &str, detail: impl Into<String>) -> Finding {
    Finding::new(subject, Check::Failed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn an_expiry_in_the_past_soon_later_and_never() {
        let now = at("2026-01-31T00:00:00Z");
        let found = |expiry: &str| expires(Some(at(expiry)), now);
        assert_eq!(found("2026-01-31T00:00:00Z").check, Check::Failed);
        assert!(found("2026-02-13T23:59:59Z").warning.is_some());
        assert_eq!(
            found("2026-02-14T00:00:00Z"),
            verified("token", "valid until 2026-02-14T00:00:00.000000Z, 14 days")
        );
        assert_eq!(found("2999-12-31T00:00:00Z"), verified("token", "valid, never expires"));
        assert!(expires(None, now).detail.contains("does not report"));
    }

    #[test]
    fn clocks_that_differ_by_more_than_a_minute_are_told() {
        let local = at("2026-01-31T00:10:00Z");
        assert_eq!(
            clock(at("2026-01-31T00:09:58Z"), local),
            verified("clock", "the console's is 2 s behind this host's")
        );
        for console in ["2026-01-31T00:08:59Z", "2026-01-31T00:11:01Z"] {
            assert!(clock(at(console), local).warning.is_some(), "{console}");
        }
    }
}
