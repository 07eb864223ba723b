//! List requests: what goes wrong with them, and the pages when nothing does.

use std::borrow::Cow;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};

use super::console::State;
use super::faults::{Mishap, RetryAfter};
use super::http::{Answer, Request};
use super::kind::Kind;
use super::page::{self, Search};
use super::query::Query;
use super::quirks::OutOfScope;
use super::risks;
use super::store::{IdColumn, Row};
use super::time;
use super::token::{Scope, Token};

impl State {
    pub(super) fn list(
        &mut self,
        kind: Kind,
        request: &Request,
        token: &Token,
        now: i64,
        struck: &mut Vec<Mishap>,
    ) -> Answer {
        if let Some(refused) = self.permitted(kind, token) {
            return refused;
        }
        let query = match Query::read(kind, &request.query, &self.quirks) {
            Ok(query) => query,
            Err(refused) => return *refused,
        };
        if kind == Kind::Vulnerabilities
            && let Some(refused) = self.refused_risks(&query, token)
        {
            return refused;
        }
        *struck = self.trouble.strike(&token.secret, kind.path(), kind, query.cursor.is_some());
        let mishaps = &*struck;
        if let Some(instead) = mishaps.iter().find_map(|mishap| instead(*mishap, now)) {
            return instead;
        }
        if query.conditions.tenant && token.scope != Scope::Global {
            return Answer::forbidden(Some("User does not have required tenant-level permissions."));
        }
        if self.quirks.out_of_scope == OutOfScope::Forbidden && self.asks_beyond(&query, token) {
            return Answer::forbidden(Some(
                "User scope level is account. Please provide a valid account ID or site ID.",
            ));
        }
        for mishap in mishaps {
            if let Mishap::LateArrival(most) = mishap {
                let most = i64::try_from(most.as_micros()).unwrap_or(i64::MAX);
                let at = now - self.random.within(0..most.max(1));
                self.appear(Kind::Activities, at, at);
            }
        }
        let mut answer = self.page(kind, &query, token, request, mishaps, now);
        for mishap in mishaps {
            match mishap {
                Mishap::SlowAnswer(delay) => answer.travel.delay = *delay,
                Mishap::SlowBody(takes) => answer.travel.body_takes = *takes,
                Mishap::Truncated => {
                    answer.travel.cut_after = Some(self.random.below(answer.body.len() as u64) as usize)
                }
                Mishap::ChangedWhilePaged
                    if !matches!(kind, Kind::Activities | Kind::Sites | Kind::Accounts | Kind::Users) =>
                {
                    self.change_any(kind, now);
                }
                _ => {}
            }
        }
        answer
    }

    pub(super) fn page(
        &mut self,
        kind: Kind,
        query: &Query,
        token: &Token,
        request: &Request,
        mishaps: &[Mishap],
        now: i64,
    ) -> Answer {
        let mut limit = query.limit;
        if kind == Kind::Alerts && request.query.contains("disablePagination=true") {
            limit = usize::MAX / 2;
        }
        if mishaps.contains(&Mishap::ShortPage) && limit > 1 {
            limit = 1 + self.random.below(limit as u64 - 1) as usize;
        }
        let unlicensed = &self.quirks.unlicensed_sites;
        let licensed = |row: &Row| kind != Kind::Vulnerabilities || !unlicensed.contains(&row.site);
        let visible = |row: &Row| token.scope.covers(kind, row.account, row.site) && licensed(row);
        let search = Search { kind, table: self.table(kind), query, visible: &visible };
        let page = if query.count_only { page::Page::default() } else { search.page(limit) };
        let total = if query.skip_count || (query.cursor.is_some() && self.quirks.total_on_first_page_only) {
            0
        } else {
            search.count(token.scope == Scope::Global).min(self.quirks.total_cap.unwrap_or(u64::MAX))
        };
        let mut pagination = json!({ "totalItems": total });
        let next = match mishaps.contains(&Mishap::RepeatedCursor) {
            true => query.cursor.as_ref().map(|cursor| Value::from(cursor.encode())),
            false => search.next_cursor(&page, &self.quirks),
        };
        if let Some(next) = next {
            pagination["nextCursor"] = next;
        }
        if mishaps.contains(&Mishap::NullData) {
            return Answer::json(StatusCode::OK, &json!({ "data": null, "pagination": pagination }));
        }
        let bodies: Vec<Cow<'_, [u8]>> = match kind {
            Kind::Vulnerabilities => page.rows.iter().map(|row| Cow::Owned(risks::as_of(row, now))).collect(),
            _ => page.rows.iter().map(|row| Cow::Borrowed(&*row.body)).collect(),
        };
        let mut body = page::write(kind, &bodies, &pagination, self.quirks.errors_null);
        if mishaps.contains(&Mishap::HarmlessErrors) && !self.quirks.errors_null {
            body.pop();
            body.extend_from_slice(br#","errors":[{}]}"#);
        }
        Answer::of(StatusCode::OK, "application/json", body)
    }

    pub(super) fn counted(&self, kind: Kind, query: &Query, token: &Token) -> u64 {
        let visible = |row: &Row| token.scope.covers(kind, row.account, row.site);
        Search { kind, table: self.table(kind), query, visible: &visible }.count(token.scope == Scope::Global)
    }

    /// Whether a scope filter names something that the token cannot see.
    pub(super) fn asks_beyond(&self, query: &Query, token: &Token) -> bool {
        let kinds =
            [(IdColumn::Account, Kind::Accounts), (IdColumn::Site, Kind::Sites), (IdColumn::Group, Kind::Groups)];
        query.conditions.ids.iter().any(|(column, ids)| {
            let Some((_, kind)) = kinds.iter().find(|(scope, _)| scope == column) else { return false };
            let seen = |id: &u64| {
                self.table(*kind).find(*id).is_some_and(|row| match (&token.scope, kind) {
                    // The account of a site is not below it, but naming it asks for nothing more.
                    (Scope::Sites(sites), Kind::Accounts) => {
                        self.table(Kind::Sites).rows().any(|site| sites.contains(&site.id) && site.account == row.id)
                    }
                    (scope, kind) => scope.covers(*kind, row.account, row.site),
                })
            };
            !ids.iter().all(seen)
        })
    }
}

/// What is answered instead of a page.
pub(super) fn instead(mishap: Mishap, now: i64) -> Option<Answer> {
    Some(match mishap {
        Mishap::Unauthorized => Answer::unauthorized(),
        Mishap::Forbidden => Answer::forbidden(None),
        Mishap::NotFound => Answer::not_found(),
        Mishap::TooManyRequests(wait) => {
            let answer = Answer::html(StatusCode::TOO_MANY_REQUESTS);
            match wait {
                RetryAfter::Absent => answer,
                RetryAfter::Seconds(seconds) => answer.with(RETRY_AFTER, &seconds.to_string()),
                RetryAfter::Date(seconds) => {
                    answer.with(RETRY_AFTER, &time::print_http(now + i64::from(seconds) * time::SECOND))
                }
            }
        }
        Mishap::InternalError => Answer::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            5_000_010,
            "Internal server error",
            Some("Server could not process the request."),
        ),
        Mishap::NotSupported => Answer::error(StatusCode::NOT_IMPLEMENTED, 5_010_010, "Not supported", None),
        Mishap::BadGateway => Answer::of(StatusCode::BAD_GATEWAY, "text/plain", "Bad Gateway"),
        Mishap::Unavailable => Answer::html(StatusCode::SERVICE_UNAVAILABLE),
        Mishap::GatewayTimeout => Answer::html(StatusCode::GATEWAY_TIMEOUT),
        Mishap::ErrorsInside => Answer::json(
            StatusCode::OK,
            &json!({ "data": [], "pagination": { "nextCursor": null, "totalItems": 0 }, "errors": [{ "code": 5_000_010,
                "title": "Internal server error", "detail": "Server could not process the request." }] }),
        ),
        Mishap::HtmlPage => Answer::html(StatusCode::OK),
        Mishap::Dropped => {
            let mut answer = Answer::of(StatusCode::OK, "application/json", "");
            answer.travel.dropped = true;
            answer
        }
        Mishap::RefusedCursor => Answer::invalid("Invalid cursor value received"),
        Mishap::HarmlessErrors
        | Mishap::ErrorsBesideData
        | Mishap::NullData
        | Mishap::Truncated
        | Mishap::SlowAnswer(_)
        | Mishap::SlowBody(_)
        | Mishap::RepeatedCursor
        | Mishap::ShortPage
        | Mishap::WrongDate(_)
        | Mishap::LateArrival(_)
        | Mishap::ChangedWhilePaged => return None,
    })
}
