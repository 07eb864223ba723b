//! Answers list requests, with injected faults.

use std::borrow::Cow;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};

use super::console::State;
use super::faults::{Fault, RetryAfter};
use super::http::{Answer, Request};
use super::kind::{IdColumn, Kind};
use super::page::{self, Search};
use super::query::Query;
use super::quirks::{Counts, OutOfScope};
use super::store::Row;
use super::time;
use super::token::{Scope, Token};

impl State {
    pub(super) fn list(
        &mut self,
        kind: Kind,
        request: &Request,
        token: &Token,
        now: i64,
        injected: &mut Vec<Fault>,
    ) -> Answer {
        if let Some(refused) = self.permission_error(kind, token) {
            return refused;
        }
        let query = match Query::read(kind, &request.query, &self.quirks) {
            Ok(query) => query,
            Err(refused) => return *refused,
        };
        if kind.description().special.by_scope
            && let Some(error) = self
                .risks_error(&query, token)
                .or_else(|| self.site_fault(&query).and_then(|fault| error_answer(fault, now)))
        {
            return error;
        }
        *injected = self.injector.inject(&token.secret, kind.path(), kind, query.cursor.is_some());
        let faults = &*injected;
        if let Some(answer) = faults.iter().find_map(|fault| error_answer(*fault, now)) {
            return answer;
        }
        if query.conditions.tenant && token.scope != Scope::Global {
            return Answer::forbidden(Some("User does not have required tenant-level permissions."));
        }
        if self.quirks.out_of_scope == OutOfScope::Forbidden && self.requests_out_of_scope(&query, token) {
            return Answer::forbidden(Some(
                "User scope level is account. Please provide a valid account ID or site ID.",
            ));
        }
        for fault in faults {
            if let Fault::LateArrival(max) = fault {
                let max = i64::try_from(max.as_micros()).unwrap_or(i64::MAX);
                let at = now - self.random.within(0..max.max(1));
                self.create(Kind::Activities, at, at);
            }
        }
        let mut answer = self.page(kind, &query, token, faults, now);
        for fault in faults {
            match fault {
                Fault::SlowAnswer(delay) => answer.transmission.delay = *delay,
                Fault::SlowBody(duration) => answer.transmission.body_duration = *duration,
                Fault::Truncated => {
                    answer.transmission.truncate_after = Some(self.random.below(answer.body.len() as u64) as usize)
                }
                Fault::ChangedWhilePaged if kind.description().change.is_some() => self.change_any(kind, now),
                _ => {}
            }
        }
        answer
    }

    pub(super) fn page(&mut self, kind: Kind, query: &Query, token: &Token, faults: &[Fault], now: i64) -> Answer {
        let special = &kind.description().special;
        let mut limit = if query.conditions.unpaged { usize::MAX / 2 } else { query.limit };
        if faults.contains(&Fault::ShortPage) && limit > 1 {
            limit = 1 + self.random.below(limit as u64 - 1) as usize;
        }
        let ends_early = faults.contains(&Fault::EarlyEnd);
        let shown = if ends_early { self.some_of(limit) } else { limit };
        let unlicensed = &self.quirks.unlicensed_sites;
        let licensed = |row: &Row| !special.by_scope || !unlicensed.contains(&row.site);
        let is_listed = !special.above_sites || !matches!(token.scope, Scope::Sites(_));
        let visible = |row: &Row| is_listed && token.scope.covers(kind, row.account, row.site) && licensed(row);
        let search = Search { kind, table: self.table(kind), query, visible: &visible };
        if query.count_only && self.quirks.counts == Counts::Refused {
            return Answer::invalid("countOnly: not supported");
        }
        let mut page = if query.count_only { page::Page::default() } else { search.page(limit) };
        page.rows.truncate(shown);
        if self.quirks.one_by_ids && query.conditions.ids.iter().any(|(column, _)| *column == IdColumn::Record) {
            page.rows.truncate(1);
        }
        let total = if query.skip_count || (query.cursor.is_some() && self.quirks.total_on_first_page_only) {
            0
        } else {
            search.count(token.scope == Scope::Global).min(self.quirks.max_total.unwrap_or(u64::MAX))
        };
        let total = match self.quirks.counts {
            Counts::Off(by) if query.count_only => total.saturating_add_signed(by),
            _ => total,
        };
        let mut pagination = json!({ "totalItems": total });
        let next = match faults.contains(&Fault::RepeatedCursor) {
            true => query.cursor.as_ref().map(|cursor| Value::from(cursor.encode())),
            false if ends_early => Some(Value::Null),
            false => search.next_cursor(&page, &self.quirks),
        };
        if let Some(next) = next {
            pagination["nextCursor"] = next;
        }
        if faults.contains(&Fault::NullData) || self.quirks.empty_is_null && page.rows.is_empty() {
            return Answer::json(StatusCode::OK, &json!({ "data": null, "pagination": pagination }));
        }
        let bodies: Vec<Cow<'_, [u8]>> = match special.shown {
            Some(shown) => page.rows.iter().map(|row| Cow::Owned(shown(&row.body, row.created, now))).collect(),
            None => page.rows.iter().map(|row| Cow::Borrowed(&*row.body)).collect(),
        };
        let mut body = page::write(special.around, &bodies, &pagination, self.quirks.errors_null);
        if faults.contains(&Fault::HarmlessErrors) && !self.quirks.errors_null {
            body.pop();
            body.extend_from_slice(br#","errors":[{}]}"#);
        }
        Answer::of(StatusCode::OK, "application/json", body)
    }

    /// Returns how many records of a page are shown if the list ends too early with this page: often none.
    pub(super) fn some_of(&mut self, page: usize) -> usize {
        if self.random.chance(0.5) { 0 } else { self.random.below(page as u64) as usize }
    }

    pub(super) fn count_matching(&self, kind: Kind, query: &Query, token: &Token) -> u64 {
        let visible = |row: &Row| token.scope.covers(kind, row.account, row.site);
        Search { kind, table: self.table(kind), query, visible: &visible }.count(token.scope == Scope::Global)
    }

    /// Returns whether a scope filter has an id that the token cannot see.
    pub(super) fn requests_out_of_scope(&self, query: &Query, token: &Token) -> bool {
        let kinds =
            [(IdColumn::Account, Kind::Accounts), (IdColumn::Site, Kind::Sites), (IdColumn::Group, Kind::Groups)];
        query.conditions.ids.iter().any(|(column, ids)| {
            let Some((_, kind)) = kinds.iter().find(|(scope, _)| scope == column) else { return false };
            let is_visible = |id: &u64| {
                self.table(*kind).find(*id).is_some_and(|row| match &token.scope {
                    // The account of a visible site is accepted too.
                    Scope::Sites(sites) if *column == IdColumn::Account => {
                        self.table(Kind::Sites).rows().any(|site| sites.contains(&site.id) && site.account == row.id)
                    }
                    scope => scope.covers(*kind, row.account, row.site),
                })
            };
            !ids.iter().all(is_visible)
        })
    }
}

/// Returns the answer that replaces the page, if the fault has one.
pub(super) fn error_answer(fault: Fault, now: i64) -> Option<Answer> {
    Some(match fault {
        Fault::Unauthorized => Answer::unauthorized(),
        Fault::Forbidden => Answer::forbidden(None),
        Fault::NotFound => Answer::not_found(),
        Fault::TooManyRequests(wait) => {
            let answer = Answer::html(StatusCode::TOO_MANY_REQUESTS);
            match wait {
                RetryAfter::Absent => answer,
                RetryAfter::Seconds(seconds) => answer.with(RETRY_AFTER, &seconds.to_string()),
                RetryAfter::Date(seconds) => {
                    answer.with(RETRY_AFTER, &time::print_http(now + i64::from(seconds) * time::SECOND))
                }
            }
        }
        Fault::InternalError => Answer::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            5_000_010,
            "Internal server error",
            Some("Server could not process the request."),
        ),
        Fault::NotSupported => Answer::error(StatusCode::NOT_IMPLEMENTED, 5_010_010, "Not supported", None),
        Fault::BadGateway => Answer::of(StatusCode::BAD_GATEWAY, "text/plain", "Bad Gateway"),
        Fault::Unavailable => Answer::html(StatusCode::SERVICE_UNAVAILABLE),
        Fault::GatewayTimeout => Answer::html(StatusCode::GATEWAY_TIMEOUT),
        Fault::ErrorsOnly => Answer::json(
            StatusCode::OK,
            &json!({ "data": [], "pagination": { "nextCursor": null, "totalItems": 0 }, "errors": [{ "code": 5_000_010,
                "title": "Internal server error", "detail": "Server could not process the request." }] }),
        ),
        Fault::HtmlPage => Answer::html(StatusCode::OK),
        Fault::Dropped => {
            let mut answer = Answer::of(StatusCode::OK, "application/json", "");
            answer.transmission.dropped = true;
            answer
        }
        Fault::RefusedCursor => Answer::invalid("Invalid cursor value received"),
        Fault::LostCursor => Answer::error(StatusCode::NOT_FOUND, 4_040_010, "Not found", Some("cursor not found")),
        Fault::HarmlessErrors
        | Fault::ErrorsWithData
        | Fault::NullData
        | Fault::Truncated
        | Fault::SlowAnswer(_)
        | Fault::SlowBody(_)
        | Fault::RepeatedCursor
        | Fault::ShortPage
        | Fault::EarlyEnd
        | Fault::WrongDate(_)
        | Fault::LateArrival(_)
        | Fault::ChangedWhilePaged => return None,
    })
}
