//! Questions about the records that a lane owes.

use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::ledger::Hour;
use s1_forwarder_engine::sink::lookup::Unproven;
use s1_forwarder_record::{Identity, Timestamp};
use tokio::time::{Instant, sleep};
use tracing::warn;

/// Records that are asked for by their ids at a time: the console reads the ids from the URL.
pub const IDS: usize = 100;
/// Waits between two attempts to ask a destination that is busy.
const WAIT: Duration = Duration::from_secs(2);

/// A record that the lane had to deliver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owed {
    pub identity: Identity,
    pub id: CompactString,
    /// The number under which a ledger knows the record.
    pub key: u64,
    pub created: Timestamp,
}

/// A record that may be missing.
#[derive(Clone)]
pub struct Candidate {
    pub owed: Owed,
    pub hour: Hour,
}

/// A destination that is busy is asked again, for as long as `patience`.
///
/// # Errors
/// The last one of `question`, if it is final or the patience has ended.
pub async fn until_answered<T>(
    patience: Duration,
    mut question: impl AsyncFnMut() -> Result<T, Unproven>,
) -> Result<T, Unproven> {
    let give_up = Instant::now() + patience;
    loop {
        match question().await {
            Err(Unproven::Later { reason, after }) if Instant::now() < give_up => {
                warn!(%reason, "the destination is asked again");
                sleep(after.unwrap_or(WAIT).max(WAIT)).await;
            }
            answer => return answer,
        }
    }
}

/// Asks about `most` identities at a time, and about fewer where the destination takes no more.
///
/// # Errors
/// As [`until_answered`], and [`Unproven::NoProof`] if an answer has another number of parts than its question.
pub async fn in_parts<T>(
    mut most: usize,
    patience: Duration,
    identities: &[Identity],
    mut question: impl AsyncFnMut(&[Identity]) -> Result<Vec<T>, Unproven>,
) -> Result<Vec<T>, Unproven> {
    let mut answers = Vec::with_capacity(identities.len());
    let mut rest = identities;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(most.min(rest.len()));
        match until_answered(patience, async || question(part).await).await {
            Ok(answer) if answer.len() == part.len() => {
                answers.extend(answer);
                rest = later;
            }
            Ok(_) => {
                let reason = "an answer has another number of parts than the question";
                return Err(Unproven::NoProof(reason.to_owned()));
            }
            Err(Unproven::TooLarge(_)) if part.len() > 1 => most = part.len() / 2,
            Err(unproven) => return Err(unproven),
        }
    }
    Ok(answers)
}
