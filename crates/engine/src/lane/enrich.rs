//! Fetches the enrichments of the records of a page, within a bound of requests and bytes. They are the notes and
//! timeline of each threat, or the threats that activities are about.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use s1_forwarder_record as record;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::Meter;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::known_threats::{self, KnownThreats, read_item};
use super::remembered::LaneMemory;
use crate::console::{Client, ConsoleError, SecretRedactor};
use crate::source::{Enrichment, PullSettings, PulledPage, Request, ThreatInclude, read_list};

/// Maximum threats of a page with lists. With more requests in a row, the lane would seem to be stalled.
const PAGE_WITH_LISTS: usize = 25;
/// Maximum activities of a page with threats.
const PAGE_WITH_THREATS: usize = 500;
/// Maximum threats of one request. Their ids make an address of about 2 KB.
const THREATS: usize = 100;
/// Maximum bytes of an answer for one record, if the budget allows it.
const MAX_ADDED: usize = 256 * 1024;
/// Maximum bytes of an answer with threats, if the budget allows it.
const MAX_ADDED_WITH_THREATS: usize = 2 * 1024 * 1024;
/// Number of copies of an answer in memory: an enriched event has one of its own.
const COPIES: usize = 2;
/// Attempts for one answer; after them the record goes without it.
const ATTEMPTS: u32 = 3;
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Fetches the enrichments of the records of a page.
#[derive(Debug)]
pub struct Enricher<'a> {
    pub client: &'a Client,
    pub addition: Enrichment<'a>,
    pub meter: &'a Meter,
    pub memory: &'a LaneMemory,
}

impl Enricher<'_> {
    /// Returns the maximum number of records in a page.
    pub fn page(&self) -> usize {
        match self.addition {
            Enrichment::Lists(_) => PAGE_WITH_LISTS,
            Enrichment::Threats => PAGE_WITH_THREATS,
        }
    }

    /// Returns the bytes to reserve in addition to the page itself, for its number of `records` and a lane whose fair
    /// share is `share` bytes.
    pub fn reserve(&self, share: usize, records: usize) -> usize {
        match self.addition {
            Enrichment::Lists(include) => include.len() * PAGE_WITH_LISTS * COPIES * self.largest(share),
            Enrichment::Threats => records * known_threats::MAX_THREAT_BYTES * COPIES + self.largest(share),
        }
    }

    /// Returns the maximum size of an answer in bytes.
    fn largest(&self, share: usize) -> usize {
        match self.addition {
            Enrichment::Lists(include) => {
                (share / 4 / (include.len().max(1) * PAGE_WITH_LISTS * COPIES)).clamp(16 * 1024, MAX_ADDED)
            }
            Enrichment::Threats => (share / 4).clamp(64 * 1024, MAX_ADDED_WITH_THREATS),
        }
    }

    /// Gives each record its enrichment.
    ///
    /// # Errors
    /// If the console refuses the token: no further request would succeed.
    pub async fn enrich(
        &self,
        page: &mut PulledPage,
        known: &mut KnownThreats,
        share: usize,
        random: &mut fastrand::Rng,
    ) -> Result<(), ConsoleError> {
        match self.addition {
            Enrichment::Lists(include) => self.add_lists(include, page, share, random).await,
            Enrichment::Threats => self.add_threats(page, known, share, random).await,
        }
    }

    /// Makes one request for each record and each list. The record's enrichment names the lists that could not be
    /// fetched.
    async fn add_lists(
        &self,
        include: &[ThreatInclude],
        page: &mut PulledPage,
        share: usize,
        random: &mut fastrand::Rng,
    ) -> Result<(), ConsoleError> {
        for record in &mut page.records {
            let mut found = Map::new();
            let mut errors = Vec::new();
            for include in include {
                let request = Request::enrichment(&record.id, *include, self.largest(share));
                match self.ask(&request, random, |body, redactor| read(body, include.limit(), redactor)).await {
                    Ok((items, count)) => {
                        found.insert(include.name().to_owned(), Value::Array(items));
                        found.insert(format!("{}Count", include.name()), Value::from(count));
                    }
                    Err(error) if is_of_token(&error) => return Err(error),
                    Err(error) => errors.push(format!("{}: {error}", include.name())),
                }
            }
            if !errors.is_empty() {
                let errors = errors.join("; ");
                self.meter.not_enriched(&errors, &record.id);
                found.insert("error".to_owned(), Value::String(errors));
            }
            record.enrichment = Some(Bytes::from(Value::Object(found).to_string()));
        }
        Ok(())
    }

    /// Makes one request for up to [`THREATS`] threats that the lane does not know. An activity goes without its threat
    /// if the console does not show the threat, or could not be asked for it.
    async fn add_threats(
        &self,
        page: &mut PulledPage,
        known: &mut KnownThreats,
        share: usize,
        random: &mut fastrand::Rng,
    ) -> Result<(), ConsoleError> {
        known.forget_old(Instant::now(), self.memory);
        let records = page.records.iter();
        let threat_ids: Vec<_> = records.map(|record| threat_of(&page.body[record.range.clone()])).collect();
        let mut found = HashMap::new();
        let mut unknown = Vec::new();
        let mut seen = HashSet::new();
        for id in threat_ids.iter().flatten().filter(|id| seen.insert(*id)) {
            match known.get(id) {
                Some(threat) => {
                    found.insert(id.clone(), threat.clone());
                }
                None => unknown.push(id.clone()),
            }
        }
        let mut failed = HashMap::new();
        let mut parts: Vec<&[CompactString]> = unknown.chunks(THREATS).collect();
        while let Some(ids) = parts.pop() {
            let request = Request::threats(ids, self.largest(share));
            match self.ask(&request, random, known_threats::read).await {
                Ok(threats) => {
                    for (id, threat) in threats {
                        known.remember(&id, &threat, Instant::now(), self.memory);
                        found.insert(id, threat);
                    }
                }
                Err(error) if is_of_token(&error) => return Err(error),
                Err(ConsoleError::TooLarge(_)) if ids.len() > 1 => {
                    let (first, second) = ids.split_at(ids.len() / 2);
                    parts.extend([first, second]);
                }
                Err(error) => failed.extend(ids.iter().map(|id| (id, error.to_string()))),
            }
        }
        for (record, id) in page.records.iter_mut().zip(&threat_ids) {
            let Some(id) = id else { continue };
            record.enrichment = found.get(id).cloned();
            if let Some(error) = failed.get(id) {
                self.meter.not_enriched(error, &record.id);
            }
        }
        Ok(())
    }

    /// Sends a request, and returns what `read` finds in the answer. Tries again a few times if that may help.
    async fn ask<T>(
        &self,
        request: &Request,
        random: &mut fastrand::Rng,
        read: impl Fn(&[u8], &SecretRedactor) -> Result<T, ConsoleError>,
    ) -> Result<T, ConsoleError> {
        let mut waits = FullJitter::new(WAITS.0, WAITS.1, random.fork());
        let mut attempt = 1;
        loop {
            let permit = self.client.permit_for(&self.meter.metrics).await;
            let answer = match request.send(self.client, permit, Some(self.meter)).await {
                Ok(body) => read(&body, self.client.redactor()),
                Err(error) => Err(error),
            };
            match answer {
                Err(ConsoleError::Transient { retry_after, .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep(waits.wait_at_least(retry_after.map(|retry_after| retry_after.min(WAITS.1)))).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Returns whether the error is about the token, so that no further request would succeed.
fn is_of_token(error: &ConsoleError) -> bool {
    matches!(error, ConsoleError::Unauthorized(_) | ConsoleError::NoToken(_))
}

/// Returns the id of the threat that an activity is about; `None` if the console cannot be asked for it.
fn threat_of(activity: &[u8]) -> Option<CompactString> {
    let id = std::str::from_utf8(record::member(activity, "threatId")).ok()?;
    let id = CompactString::from(record::Value::new(id).text()?);
    PullSettings::can_ask_for(std::slice::from_ref(&id)).then_some(id)
}

fn read(body: &[u8], limit: usize, redactor: &SecretRedactor) -> Result<(Vec<Value>, u64), ConsoleError> {
    let page = read_list(body, redactor)?;
    let total = page.total_items.unwrap_or(0).max(page.records.len() as u64);
    let newest = page.records.iter().take(limit).rev();
    let items: Option<Vec<Value>> = newest.map(|item| read_item(item)).collect();
    Ok((items.ok_or_else(|| ConsoleError::transient("the answer holds items that are not JSON"))?, total))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_items_are_kept_in_the_order_of_time_and_all_are_counted() {
        let body = br#"{"data":[{"id":"3"},{"id":"2"},{"id":"1"}],"pagination":{"totalItems":7,"nextCursor":"x"}}"#;
        let read = |body: &[u8]| read(body, 2, &SecretRedactor::default());
        let (items, count) = read(body).unwrap();
        assert_eq!((items, count), (vec![serde_json::json!({"id":"2"}), serde_json::json!({"id":"3"})], 7));
        assert_eq!(read(br#"{"data":null,"errors":null}"#).unwrap(), (Vec::new(), 0));
        assert!(read(b"<html>").is_err());
        let (items, _) = read(br#"{"data":[{"text":"cut \ud83d"}]}"#).unwrap();
        assert_eq!(items, [serde_json::json!({"text": "cut \u{fffd}"})]);
        let error = read(br#"{"data":null,"errors":[{"code":5000010,"title":"Internal"}]}"#).unwrap_err();
        assert!(matches!(error, ConsoleError::Transient { .. }), "a 200 with an error has no items: {error}");
    }
}
