//! The way to the emulated console: what may happen to a request and to its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use s1_forwarder::console::{self, Transport, TransportError, TruncatedBody, within};
use s1_forwarder::emulator::{self, Kind};
use s1_forwarder::record::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::sleep;

use crate::plan::Counts;
use crate::shared::{Point, Simulation, about};

/// The client takes the list to be at its end after five.
const MAX_EMPTY_PAGES: u32 = 3;

pub struct Wire {
    pub simulation: Arc<Simulation>,
    pub random: std::sync::Mutex<fastrand::Rng>,
    /// In a row, window by window.
    pub empty_pages: std::sync::Mutex<BTreeMap<String, u32>>,
    /// How often the list of a time has ended too early, by the end of that time.
    pub ended_early: std::sync::Mutex<BTreeMap<String, u32>>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wire")
    }
}

impl Wire {
    /// The answer to a query of a list.
    fn list(&self, asked: &mut emulator::Request, random: &mut fastrand::Rng) -> emulator::Answer {
        let simulation = &self.simulation;
        let plan = &simulation.plan.console;
        let unrest = if simulation.is_calm() { 0.0 } else { plan.unrest };
        let is_count_of_part = is_count_of_part(asked);
        asked.query = capped(&asked.query, plan.page_cap);
        asked.body = capped_body(&asked.body, plan.page_cap);
        let early_end = self.early_end(asked, random);
        if let Some(shown) = early_end {
            asked.query = capped(&asked.query, shown.max(1));
        }
        simulation.model.happen_by_chance(unrest, simulation.now());
        let mut answer = simulation.model.console.answer(asked, simulation.now().micros());
        if answer.status == 200 && is_count_of_part {
            return self.miscount(asked, answer, random);
        }
        simulation.model.happen_by_chance(unrest, simulation.now());
        if answer.status == 200 && !asked.body.is_empty() {
            return self.alerts(asked, answer, random);
        }
        let paged = answer.status == 200 && asked.query.contains("sortBy=") && !asked.query.contains("countOnly");
        if let (Some(shown), true) = (early_end, paged) {
            answer.body = last_page(&answer.body, shown);
            return answer;
        }
        let window: Vec<_> = asked.query.split('&').filter(|pair| pair.contains("__")).collect();
        let mut in_a_row = crate::shared::lock(&self.empty_pages);
        let in_a_row = in_a_row.entry(format!("{}{window:?}", asked.path)).or_default();
        if paged && !simulation.is_calm() && *in_a_row < MAX_EMPTY_PAGES && random.f64() < plan.empty_pages {
            *in_a_row += 1;
            let cursor = same_place(asked, random.u32(..));
            answer.body = format!(r#"{{"data":[],"pagination":{{"nextCursor":"{cursor}","totalItems":0}}}}"#).into();
        } else if paged {
            *in_a_row = 0;
        }
        answer
    }

    /// How many records a page shows that ends its list too early. Only activities are sure to be missed then: of what
    /// has changed meanwhile, the console counts fewer records than the lane knows. The list of a time ends too early
    /// once, and up to three times where the console's counts say what is missing: a list that ends before that again
    /// and again has no rest.
    fn early_end(&self, asked: &emulator::Request, random: &mut fastrand::Rng) -> Option<usize> {
        let plan = &self.simulation.plan.console;
        let can_be_found = matches!(plan.counts, Counts::Exact | Counts::Refused | Counts::Failing);
        let follows_cursor = asked.path.ends_with("/activities") && asked.query.contains("cursor=");
        if !can_be_found || !follows_cursor || self.simulation.is_calm() {
            return None;
        }
        if random.f64() >= plan.early_ends {
            return None;
        }
        let to = asked.query.split('&').find(|pair| pair.contains("__lte="))?;
        let mut ended_early = crate::shared::lock(&self.ended_early);
        let ends = ended_early.entry(to.to_owned()).or_default();
        *ends += 1;
        let most = if plan.counts == Counts::Exact { 3 } else { 1 };
        (*ends <= most).then(|| random.usize(..plan.page_cap.min(10)))
    }

    /// The answer to a count of a part of the open time. Other counts are exact: where a list ends with `data: null`,
    /// nothing else can tell whether there are records.
    fn miscount(
        &self,
        asked: &emulator::Request,
        mut answer: emulator::Answer,
        random: &mut fastrand::Rng,
    ) -> emulator::Answer {
        let Ok(mut page) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
        let place = if asked.body.is_empty() { "/pagination/totalItems" } else { "/data/alerts/totalCount" };
        let Some(total) = page.pointer_mut(place).filter(|total| total.is_u64()) else { return answer };
        let exact = total.as_u64().unwrap_or_default();
        let counted = match self.simulation.plan.console.counts {
            Counts::Exact => exact,
            Counts::Off(by) => exact.saturating_add_signed(by),
            Counts::OffByChance => (exact + random.u64(..4)).saturating_sub(2),
            Counts::Late(by) => {
                let then = self.simulation.now().minus(by).micros();
                exact.saturating_sub(self.simulation.model.visible_since(kind_asked(asked), part(asked), then))
            }
            Counts::Capped(most) => exact.min(most),
            Counts::Refused | Counts::Failing => {
                let refused = self.simulation.plan.console.counts == Counts::Refused;
                let status = if refused { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
                answer.status = status;
                answer.body = r#"{"errors":[{"code":4000010,"title":"Validation Error"}]}"#.into();
                return answer;
            }
        };
        *total = counted.into();
        answer.body = page.to_string().into();
        answer
    }

    /// The answer to a query for unified alerts: empty now and then, with another cursor to the same place.
    fn alerts(
        &self,
        asked: &emulator::Request,
        mut answer: emulator::Answer,
        random: &mut fastrand::Rng,
    ) -> emulator::Answer {
        let query: Value = serde_json::from_slice(&asked.body).unwrap();
        let mut in_a_row = crate::shared::lock(&self.empty_pages);
        let in_a_row = in_a_row.entry(query["variables"]["filters"].to_string()).or_default();
        let cursor = query["variables"]["after"].as_str().and_then(|cursor| BASE64_STANDARD.decode(cursor).ok());
        let mut page = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let unrest = !self.simulation.is_calm();
        match (cursor, page.pointer_mut("/data/alerts")) {
            (Some(mut cursor), Some(list))
                if unrest
                    && list["edges"].is_array()
                    && *in_a_row < MAX_EMPTY_PAGES
                    && random.f64() < self.simulation.plan.console.empty_pages =>
            {
                *in_a_row += 1;
                cursor.push(b' ');
                list["edges"] = Value::Array(Vec::new());
                list["pageInfo"] =
                    serde_json::json!({ "hasNextPage": true, "endCursor": BASE64_STANDARD.encode(cursor) });
                answer.body = page.to_string().into();
            }
            _ => *in_a_row = 0,
        }
        answer
    }

    async fn exchange(&self, request: console::Request) -> Result<console::Response, TransportError> {
        let simulation = &self.simulation;
        let mut random = crate::shared::lock(&self.random).fork();
        sleep(about(&mut random, simulation.plan.console.latency)).await;
        let mut headers = HeaderMap::new();
        let token = format!("ApiToken {}", request.token.expose_secret());
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&token).unwrap());
        let mut asked = emulator::Request {
            method: if request.body.is_some() { http::Method::POST } else { http::Method::GET },
            path: request.url.path().to_owned(),
            query: request.url.query().unwrap_or_default().to_owned(),
            headers,
            body: request.body.map(Bytes::from).unwrap_or_default(),
        };
        let answer = self.list(&mut asked, &mut random);
        simulation.note(format_args!(
            "{} {}{}: {} {} bytes {:?}",
            asked.path,
            asked.query,
            variables(&asked.body),
            answer.status,
            answer.body.len(),
            answer.transmission
        ));
        let transmission = answer.transmission;
        sleep(transmission.delay + transmission.body_duration + about(&mut random, simulation.plan.console.latency))
            .await;
        simulation.reach(Point::ConsoleAnswered, None).await;
        if transmission.dropped {
            return Err(TransportError::Connect("reset".to_owned()));
        }
        if answer.body.len() > request.max_bytes {
            simulation.note(format_args!("larger than {}", request.max_bytes));
            return Err(TransportError::TooLarge(TruncatedBody::of(&answer.body, request.max_bytes)));
        }
        let body = match transmission.truncate_after.filter(|cut| *cut < answer.body.len()) {
            // Some proxies end a body that was cut off as if it were whole.
            Some(cut) if random.bool() => answer.body.slice(..cut),
            Some(_) => return Err(TransportError::Broken("cut".to_owned())),
            None => answer.body,
        };
        Ok(console::Response { status: answer.status, headers: answer.headers, body })
    }
}

impl Transport for Wire {
    fn send(&self, request: console::Request) -> BoxFuture<'_, Result<console::Response, TransportError>> {
        Box::pin(within(request.timeout, self.exchange(request)))
    }
}

fn capped(query: &str, cap: usize) -> String {
    let capped = |pair: &str| match pair.strip_prefix("limit=").and_then(|limit| limit.parse::<usize>().ok()) {
        Some(limit) => format!("limit={}", limit.min(cap)),
        None => pair.to_owned(),
    };
    query.split('&').map(capped).collect::<Vec<_>>().join("&")
}

/// Polls count whole seconds, to just before their end. A probe asks for one record of any time.
fn is_count_of_part(asked: &emulator::Request) -> bool {
    if asked.body.is_empty() {
        asked.query.contains("countOnly") && asked.query.contains("__lt=")
    } else {
        let end = part(asked).end;
        variables(&asked.body)["first"] == 1 && end > 0 && end % 1_000_000 == 0
    }
}

fn kind_asked(asked: &emulator::Request) -> Kind {
    let kind = Kind::ALL.into_iter().find(|kind| asked.path.ends_with(kind.path()));
    kind.unwrap_or_else(|| panic!("no records at {}", asked.path))
}

/// The times that are asked for, in microseconds.
fn part(asked: &emulator::Request) -> std::ops::Range<i64> {
    let range = &variables(&asked.body)["filters"][0]["dateTimeRange"];
    if let (Some(start), Some(end)) = (range["start"].as_i64(), range["end"].as_i64()) {
        return start * 1_000..(end + 1) * 1_000;
    }
    let time = |name: &str| {
        let pair = url::form_urlencoded::parse(asked.query.as_bytes()).find(|(key, _)| key.ends_with(name));
        pair.map_or(0, |(_, time)| Timestamp::parse(&time).unwrap().micros())
    };
    time("__gte")..time("__lt")
}

/// What a query for unified alerts asks for.
fn variables(body: &[u8]) -> Value {
    serde_json::from_slice::<Value>(body).map(|mut query| query["variables"].take()).unwrap_or_default()
}

fn capped_body(body: &Bytes, cap: usize) -> Bytes {
    let Ok(mut query) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    let first = query["variables"]["first"].as_u64().unwrap_or_default().min(cap as u64);
    query["variables"]["first"] = first.into();
    query.to_string().into()
}

/// The page with at most this many of its records, of which it has at least one, and without a next one.
fn last_page(body: &Bytes, shown: usize) -> Bytes {
    if shown == 0 {
        return Bytes::from_static(br#"{"data":[],"pagination":{"nextCursor":null,"totalItems":0}}"#);
    }
    let text = String::from_utf8_lossy(body).into_owned();
    let Some((before, after)) = text.split_once(r#""nextCursor":""#) else { return body.clone() };
    let after = after.split_once('"').map_or("", |(_, after)| after);
    format!(r#"{before}"nextCursor":null{after}"#).into()
}

/// Another cursor to the place that was asked for.
fn same_place(asked: &emulator::Request, nonce: u32) -> String {
    let given = url::form_urlencoded::parse(asked.query.as_bytes()).find(|(name, _)| name == "cursor");
    let cursor = given.and_then(|(_, text)| {
        let text = text.replace("%3D", "=");
        serde_json::from_slice::<serde_json::Value>(&BASE64_STANDARD.decode(text).ok()?).ok()
    });
    let table = kind_asked(asked).table();
    let column = asked.query.split('&').find_map(|pair| pair.strip_prefix("sortBy=")).unwrap_or_default();
    let mut cursor = cursor.unwrap_or_else(|| {
        serde_json::json!({
            "id_column": format!("{table}.id"), "id_value": 0, "id_sort_order": "asc",
            "sort_by_column": format!("{table}.{column}"), "sort_by_value": "1970-01-01T00:00:00.000000Z",
            "sort_order": "asc",
        })
    });
    cursor["nonce"] = nonce.into();
    BASE64_STANDARD.encode(cursor.to_string()).replace('=', "%3D")
}
