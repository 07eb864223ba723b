//! Fetches notes and timeline of each threat, within a bound of requests and bytes.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::console::{Client, ConsoleError, Redactor};
use crate::record::repair;
use crate::settings::FullJitter;
use crate::source::{Include, Page, Request, read_list};
use crate::telemetry::Meter;

/// Most threats of one page: with more requests in a row the lane would seem to be stalled.
pub const PAGE: usize = 25;
/// Largest answer for one record, if the budget allows it.
const LARGEST: usize = 256 * 1024;
/// An enriched event has a copy of the answer.
const COPIES: usize = 2;
/// Attempts for one answer; after them the record goes without it.
const ATTEMPTS: u32 = 3;
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Fetches what belongs to the records of a page.
#[derive(Debug)]
pub struct Enricher<'a> {
    pub client: &'a Client,
    pub include: &'a [Include],
    pub meter: &'a Meter,
}

impl Enricher<'_> {
    /// Bytes to reserve in addition to those of a page, for a lane whose fair share is `share`.
    pub fn reserve(&self, share: usize) -> usize {
        self.include.len() * PAGE * COPIES * self.largest(share)
    }

    fn largest(&self, share: usize) -> usize {
        (share / 4 / (self.include.len().max(1) * PAGE * COPIES)).clamp(16 * 1024, LARGEST)
    }

    /// One request for each record and each list. The record's enrichment names the lists that could not be fetched.
    ///
    /// # Errors
    /// When the console refuses the token: no further request would succeed.
    pub async fn enrich(&self, page: &mut Page, share: usize, random: &mut fastrand::Rng) -> Result<(), ConsoleError> {
        for record in &mut page.records {
            let mut found = Map::new();
            let mut errors = Vec::new();
            for include in self.include {
                match self.fetch(&record.id, *include, self.largest(share), random).await {
                    Ok((items, count)) => {
                        found.insert(include.name().to_owned(), Value::Array(items));
                        found.insert(format!("{}Count", include.name()), Value::from(count));
                    }
                    Err(error @ (ConsoleError::Unauthorized(_) | ConsoleError::NoToken(_))) => return Err(error),
                    Err(error) => errors.push(format!("{}: {error}", include.name())),
                }
            }
            if !errors.is_empty() {
                found.insert("error".to_owned(), Value::String(errors.join("; ")));
            }
            record.enrichment = Some(Bytes::from(Value::Object(found).to_string()));
        }
        Ok(())
    }

    /// The newest items, oldest first, and how many the console has.
    async fn fetch(
        &self,
        id: &str,
        include: Include,
        largest: usize,
        random: &mut fastrand::Rng,
    ) -> Result<(Vec<Value>, u64), ConsoleError> {
        let request = Request::enrichment(id, include, largest);
        let mut waits = FullJitter::new(WAITS.0, WAITS.1, random.fork());
        let mut attempt = 1;
        loop {
            let permit = self.client.permit_for(&self.meter.lane).await;
            let answer = match request.send(self.client, permit, Some(self.meter)).await {
                Ok(body) => read(&body, include.limit(), self.client.redactor()),
                Err(error) => Err(error),
            };
            match answer {
                Err(ConsoleError::Transient { after, .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep(waits.wait_at_least(after.map(|after| after.min(WAITS.1)))).await;
                }
                answer => return answer,
            }
        }
    }
}

fn read(body: &[u8], limit: usize, redactor: &Redactor) -> Result<(Vec<Value>, u64), ConsoleError> {
    let page = read_list(body, redactor)?;
    let total = page.total_items.unwrap_or(0).max(page.records.len() as u64);
    let newest = page.records.iter().take(limit).rev();
    let items: Option<Vec<Value>> = newest.map(|item| read_item(item)).collect();
    Ok((items.ok_or_else(|| ConsoleError::transient("the answer holds items that are not JSON"))?, total))
}

/// Notes are texts that people paste: an item that is not JSON is repaired as a record is.
fn read_item(item: &[u8]) -> Option<Value> {
    serde_json::from_slice(item).ok().or_else(|| serde_json::from_str(&repair(item)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_items_are_kept_in_the_order_of_time_and_all_are_counted() {
        let body = br#"{"data":[{"id":"3"},{"id":"2"},{"id":"1"}],"pagination":{"totalItems":7,"nextCursor":"x"}}"#;
        let read = |body: &[u8]| read(body, 2, &Redactor::default());
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
