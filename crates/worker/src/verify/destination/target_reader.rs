//! Asks the destination of a lane. Its answers must not contradict each other.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Hour, Sum};
use s1_forwarder_engine::sink::lookup::{IdentitySorter, Inconclusive, Listed, Lookup, Retention, SortedIdentities};
use s1_forwarder_record::{Identity, Timestamp};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::super::completeness::{split, window};
use super::end::End;

/// Waits between two attempts to ask a destination that is busy.
const WAIT: Duration = Duration::from_secs(2);

/// The destination's answers about one lane.
pub struct TargetReader {
    pub lookup: Arc<dyn Lookup>,
    /// For how long a destination that is busy is asked again.
    patience: Duration,
    /// Number of questions so far.
    pub questions: u64,
    /// An event that the destination has shown.
    known: Option<Identity>,
    /// Identities that the destination has shown in lists by time.
    listed: Option<SortedIdentities>,
}

/// The events of an hour in which the destination's sum is the sum of the delivered events.
#[derive(Debug, Clone, Copy)]
pub struct HasAll {
    pub events: u64,
    pub duplicates: u64,
}

impl TargetReader {
    pub fn new(lookup: Arc<dyn Lookup>, patience: Duration) -> Self {
        Self { lookup, patience, questions: 0, known: None, listed: None }
    }

    /// Returns the beginning of the events that the destination keeps.
    ///
    /// # Errors
    /// If the answer is no proof.
    pub async fn retention(&self) -> Result<Retention, End> {
        until_answered(self.patience, async || self.lookup.retention(self.patience).await).await.map_err(unseen)
    }

    /// Returns the time before which all acknowledged events can be found.
    pub fn settled_at(&self, now: Timestamp) -> Timestamp {
        self.lookup.as_of().unwrap_or(now).min(now).minus(self.lookup.visible_after())
    }

    /// Waits until answers can have all events that have been acknowledged by now.
    ///
    /// # Errors
    /// If no newer copy can be read.
    pub async fn refresh(&self) -> Result<(), End> {
        if self.lookup.as_of().is_none() {
            sleep(self.lookup.visible_after()).await;
        }
        until_answered(self.patience, async || self.lookup.refresh(self.patience).await).await.map_err(unseen)
    }

    /// Takes an event that the destination has shown. Later answers must show it too.
    pub fn has_shown(&mut self, event: Option<Identity>) {
        self.known = event.or(self.known);
    }

    /// Returns the hours of which the destination has exactly the events that were delivered: its list has their sum.
    /// These hours need neither the console nor a question for identities. Another sum proves nothing, since the time
    /// of an event may be in another hour than its creation. The second value is the end of the hours that were
    /// compared.
    ///
    /// # Errors
    /// If a temporary file cannot be used.
    pub async fn agreeing(
        &mut self,
        hours: Range<Hour>,
        delivered: impl Fn(Hour) -> Option<Sum>,
    ) -> Result<(BTreeMap<Hour, HasAll>, Hour), End> {
        let mut agreeing = BTreeMap::new();
        let mut listed_until = hours.end;
        let mut sorter = IdentitySorter::default();
        let most = self.lookup.max_listed() as u64;
        let delivered = |hour: Hour| delivered(hour).filter(|sum| most > 0 && sum.count > 0);
        let mut next = hours.start;
        while next < hours.end {
            let first = next;
            next = next.plus(1);
            let Some(mut events) = delivered(first).map(|sum| sum.count) else { continue };
            // Small hours are asked for together.
            while next < hours.end && delivered(next).is_some_and(|sum| events + sum.count <= most) {
                events += delivered(next).map_or(0, |sum| sum.count);
                next = next.plus(1);
            }
            let Some(listed) = self.list(first..next, events, &mut sorter).await? else {
                listed_until = first;
                break;
            };
            let agrees = |hour: &Hour| {
                let (sum, duplicates) = listed.get(hour).copied()?;
                let has_all = HasAll { events: sum.count, duplicates };
                (delivered(*hour) == Some(sum)).then_some((*hour, has_all))
            };
            agreeing.extend((first.0..next.0).map(Hour).filter_map(|hour| agrees(&hour)));
            // The target has other events too, or they have another time.
            if agreeing.is_empty() {
                break;
            }
        }
        self.listed = Some(sorter.finish().map_err(unsorted)?);
        Ok((agreeing, listed_until))
    }

    /// Returns the sums of the destination's events, and the copies beyond the first. `None` if it gives no list. All
    /// listed identities go to `sorter`.
    async fn list(
        &mut self,
        hours: Range<Hour>,
        events: u64,
        sorter: &mut IdentitySorter,
    ) -> Result<Option<BTreeMap<Hour, (Sum, u64)>>, End> {
        let most = self.lookup.max_listed() as u64;
        let count = if events <= most { 1 } else { events.div_ceil((most / 2).max(1)) };
        let mut sums: BTreeMap<Hour, (Sum, u64)> = BTreeMap::new();
        for part in split(window(&hours), count) {
            let mut listed = match self.list_part(part.from..part.to).await {
                Ok(listed) => listed,
                Err(reason) => {
                    warn!(%reason, "the destination gives no list, and is asked by identity");
                    return Ok(None);
                }
            };
            listed.sort_unstable();
            self.has_shown(listed.last().map(|listed| listed.identity));
            for same in listed.chunk_by(|one, other| one.identity == other.identity) {
                same.iter().take(1).try_for_each(|first| sorter.add(first.identity)).map_err(unsorted)?;
                let Some(hour) = same.first().and_then(|first| Hour::of(first.time)) else { continue };
                let copies: u64 = same.iter().map(|listed| u64::from(listed.occurrences)).sum();
                let (sum, duplicates) = sums.entry(hour).or_default();
                same.iter().take(1).for_each(|first| sum.add(first.identity));
                *duplicates += copies.saturating_sub(1);
            }
        }
        Ok(Some(sums))
    }

    async fn list_part(&mut self, part: Range<Timestamp>) -> Result<Vec<Listed>, Inconclusive> {
        let Self { patience, lookup, questions, .. } = self;
        until_answered(*patience, async || {
            *questions += 1;
            lookup.list(part.clone()).await
        })
        .await
    }

    /// Returns how often each identity is at the destination. `identities` are sorted.
    ///
    /// # Errors
    /// If the answer is no proof.
    pub async fn occurrences(&mut self, identities: &[Identity]) -> Result<Vec<u32>, End> {
        let lookup = self.lookup.clone();
        self.ask(identities, async |identities: &[Identity]| lookup.occurrences(identities).await).await
    }

    /// Returns how often each identity is at the destination. Each answer must also show an event that is known to be
    /// there: clusters behind one address may differ. `identities` are sorted.
    ///
    /// # Errors
    /// If the answer is no proof.
    pub async fn occurrences_with_known(&mut self, identities: &[Identity]) -> Result<Vec<u32>, End> {
        let Some(known) = self.known.filter(|_| self.lookup.as_of().is_none()) else {
            return self.occurrences(identities).await;
        };
        let lookup = self.lookup.clone();
        let asked = async |identities: &[Identity]| {
            let place = identities.binary_search(&known);
            let mut asked = identities.to_vec();
            if let Err(place) = place {
                asked.insert(place, known);
            }
            let mut copies = lookup.occurrences(&asked).await?;
            let (Ok(at) | Err(at)) = place;
            if copies.get(at).is_none_or(|copies| *copies == 0) {
                return Err(lacks(known));
            }
            if place.is_err() {
                copies.remove(at);
            }
            Ok(copies)
        };
        self.ask(identities, asked).await
    }

    /// Fails if a list by time has shown one of these events. An answer by identity that lacks it proves nothing about
    /// other events either. `identities` are sorted.
    ///
    /// # Errors
    /// If a list has shown one of them.
    pub fn refuse_listed(&mut self, identities: &[Identity]) -> Result<(), End> {
        let Some(listed) = &mut self.listed else { return Ok(()) };
        let copies = listed.occurrences(identities).map_err(unsorted)?;
        match identities.iter().zip(copies).find(|(_, copies)| *copies > 0) {
            Some((identity, _)) => Err(unseen(lacks(*identity))),
            None => Ok(()),
        }
    }

    /// Returns where each of `identities` is that is outside the target; `None` if that cannot be seen.
    ///
    /// # Errors
    /// If the answer is no proof, or the destination may have events that no question finds.
    pub async fn find_outside_target(&mut self, identities: &[Identity]) -> Result<Vec<Option<String>>, End> {
        let lookup = self.lookup.clone();
        if !identities.is_empty() {
            until_answered(self.patience, async || lookup.check_findable().await).await.map_err(unseen)?;
        }
        self.ask(identities, async |identities: &[Identity]| lookup.find_outside_target(identities).await).await
    }

    /// Asks in questions of a size that the destination answers.
    async fn ask<T>(
        &mut self,
        identities: &[Identity],
        question: impl AsyncFn(&[Identity]) -> Result<Vec<T>, Inconclusive>,
    ) -> Result<Vec<T>, End> {
        let Self { patience, lookup, questions, .. } = self;
        let asked = async |part: &[Identity]| {
            *questions += 1;
            question(part).await
        };
        in_parts(lookup.max_identities_per_query(), *patience, identities, asked).await.map_err(unseen)
    }
}

fn unseen(inconclusive: Inconclusive) -> End {
    End::Unseen(inconclusive.to_string())
}

fn unsorted(error: io::Error) -> End {
    End::Unseen(format!("a temporary file: {error}"))
}

/// Answers about one target do not contradict each other.
fn lacks(identity: Identity) -> Inconclusive {
    Inconclusive::NoProof(format!(
        "an answer lacks the event {identity}, which an earlier one had: do several clusters answer, or does the target \
         not find its own events by identity?"
    ))
}

/// A destination that is busy is asked again, for as long as `patience`.
///
/// # Errors
/// If an error of `question` is final, or is the last one within `patience`.
pub async fn until_answered<T>(
    patience: Duration,
    mut question: impl AsyncFnMut() -> Result<T, Inconclusive>,
) -> Result<T, Inconclusive> {
    let give_up = Instant::now() + patience;
    loop {
        match question().await {
            Err(Inconclusive::Later { reason, retry_after }) if Instant::now() < give_up => {
                warn!(%reason, "the destination is asked again");
                let wait = retry_after.unwrap_or(WAIT).max(WAIT);
                sleep(wait.min(give_up.saturating_duration_since(Instant::now()))).await;
            }
            answer => return answer,
        }
    }
}

/// Asks about `most` identities at a time, and about fewer where the destination takes no more.
///
/// # Errors
/// As [`until_answered`], and [`Inconclusive::NoProof`] if an answer has another number of parts than its question.
pub async fn in_parts<T>(
    mut most: usize,
    patience: Duration,
    identities: &[Identity],
    mut question: impl AsyncFnMut(&[Identity]) -> Result<Vec<T>, Inconclusive>,
) -> Result<Vec<T>, Inconclusive> {
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
                return Err(Inconclusive::NoProof(reason.to_owned()));
            }
            Err(Inconclusive::TooLarge(_)) if part.len() > 1 => most = part.len() / 2,
            Err(inconclusive) => return Err(inconclusive),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination may name any wait.
    #[tokio::test(start_paused = true)]
    async fn a_busy_destination_is_asked_no_longer_than_the_patience() {
        for (retry_after, expected) in
            [(None, 6), (Some(Duration::from_secs(5)), 3), (Some(Duration::from_hours(10)), 2)]
        {
            let started_at = Instant::now();
            let mut questions = 0;
            let answer: Result<(), _> = until_answered(Duration::from_secs(10), async || {
                questions += 1;
                Err(Inconclusive::Later { reason: "429".to_owned(), retry_after })
            })
            .await;
            assert!(answer.is_err());
            assert_eq!((questions, started_at.elapsed()), (expected, Duration::from_secs(10)), "{retry_after:?}");
        }
    }
}
