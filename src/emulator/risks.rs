//! What is particular about `/application-management/risks`.

use http::StatusCode;
use serde_json::{Value, json};

use super::console::State;
use super::http::Answer;
use super::query::{Query, parse};
use super::store::{IdColumn, Row};
use super::time::{self, DAY, HOUR};
use super::token::{Scope, Token};

impl State {
    /// What is answered instead of findings: for a site without licence, a scope that is too wide, a page that is too large.
    pub fn refused_risks(&self, query: &Query, token: &Token) -> Option<Answer> {
        let scopes = [IdColumn::Account, IdColumn::Site, IdColumn::Group];
        let mut named = query.conditions.ids.iter().filter(|(column, _)| scopes.contains(column)).peekable();
        let several = match &token.scope {
            Scope::Global => false,
            Scope::Accounts(ids) | Scope::Sites(ids) => ids.len() > 1,
        };
        if named.peek().is_none() && several && self.quirks.risks_want_one_scope {
            return Some(Answer::forbidden(Some("Action is not allowed for multi-scopes users")));
        }
        let unlicensed = |(column, ids): &(IdColumn, std::collections::HashSet<u64>)| {
            *column == IdColumn::Site && ids.iter().any(|id| self.quirks.unlicensed_sites.contains(id))
        };
        if named.any(unlicensed) {
            return Some(Answer::forbidden(Some("Feature Application Risk is not available for the scope")));
        }
        let too_large = self.quirks.risks_time_out_above.is_some_and(|most| query.limit > most);
        too_large.then(|| Answer::html(StatusCode::GATEWAY_TIMEOUT))
    }
}

/// A finding as it is served at `now`: its age grows by itself, and scans go on.
pub(super) fn as_of(row: &Row, now: i64) -> Vec<u8> {
    let mut record = parse(row);
    if record["status"] != "Removed" {
        record["daysDetected"] = json!(now.saturating_sub(row.created).max(0) / DAY);
        let scanned = now - now.rem_euclid(HOUR);
        if scanned > row.created {
            record["lastScanDate"] = Value::from(time::print(scanned));
        }
    }
    record.to_string().into_bytes()
}
