//! Names of the console's notifications, by the type of the activity.

use std::borrow::Cow;

use super::facts::Facts;

/// Returns the name that readers compare, or else the activity's own sentence.
pub(super) fn of<'a>(facts: &Facts<'a>) -> Cow<'a, str> {
    compared(facts)
        .or_else(|| facts.first(&["primaryDescription"]))
        .unwrap_or_else(|| Cow::Owned(format!("Activity {}", facts.activity_type)))
}

fn compared<'a>(facts: &Facts<'a>) -> Option<Cow<'a, str>> {
    let host = || facts.host.clone();
    // The user of a login. The activity has no e-mail address, unless a console adds one.
    let user = || facts.email().or_else(|| facts.target()).or_else(|| facts.actor());
    match facts.activity_type {
        19 | 4108 => Some(with("New active threat", " - machine ", host())),
        4003 | 4109 => Some(with("New Suspicious threat detected", " - machine ", host())),
        20 => Some(with("New blocked threat", " - machine ", host())),
        18 => Some(with("New mitigated threat", " - machine ", host())),
        21 => Some(Cow::Borrowed("Threat marked as resolved")),
        23 => Some(match account(facts) {
            Some(account) => Cow::Owned(format!("Administrative information - New user '{account}' added")),
            None => Cow::Borrowed("Administrative information - New user added"),
        }),
        24 => Some(Cow::Borrowed("Administrative information - User Modified")),
        25 => Some(match account(facts) {
            Some(account) => Cow::Owned(format!("Administrative information - User '{account}' Deleted")),
            None => Cow::Borrowed("Administrative information - User Deleted"),
        }),
        27 => Some(with("SentinelOne - New Console Login Activity", " - ", user())),
        33 => Some(with("SentinelOne - New Console Logout Activity", " - ", user())),
        133 => Some(with("SentinelOne - Failed Console Login Activity", " - ", user())),
        37 => {
            let (actor, role, account) = (facts.actor()?, facts.role()?, account(facts)?);
            Some(Cow::Owned(format!("{actor} assigned role \"{role}\" to user {account}")))
        }
        120 => Some(with("Agent enabled", " - Machine ", host())),
        128 => Some(with("Agent disabled", " - Machine ", host())),
        2006 => Some(Cow::Borrowed("Kill failed")),
        2009 => Some(Cow::Borrowed("Quarantine failed")),
        2030 => Some(Cow::Borrowed("Analyst verdict changed")),
        4008 => Some(Cow::Borrowed("Threat status changed")),
        _ => None,
    }
}

fn with<'a>(name: &'static str, joint: &str, subject: Option<Cow<'a, str>>) -> Cow<'a, str> {
    match subject {
        Some(subject) => Cow::Owned(format!("{name}{joint}{subject}")),
        None => Cow::Borrowed(name),
    }
}

/// Returns the user who was acted upon, with the e-mail address if it is known: `Jo Doe (jo@example.com)`.
fn account(facts: &Facts<'_>) -> Option<String> {
    let user = facts.target();
    match (user, facts.email()) {
        (Some(user), Some(email)) => Some(format!("{user} ({email})")),
        (Some(user), None) => Some(user.into_owned()),
        (None, Some(email)) => Some(email.into_owned()),
        (None, None) => None,
    }
}
