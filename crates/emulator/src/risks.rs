//! Special rules of `/application-management/risks`.

use http::StatusCode;

use super::console::State;
use super::faults::Fault;
use super::http::Answer;
use super::kind::IdColumn;
use super::query::Query;
use super::token::{Scope, Token};

impl State {
    /// Returns the error for sites without a licence, several scopes, or a page that is too large.
    pub fn risks_error(&self, query: &Query, token: &Token) -> Option<Answer> {
        let scopes = [IdColumn::Account, IdColumn::Site, IdColumn::Group];
        let mut scope_filters = query.conditions.ids.iter().filter(|(column, _)| scopes.contains(column)).peekable();
        let several = match &token.scope {
            Scope::Global => false,
            Scope::Accounts(ids) | Scope::Sites(ids) => ids.len() > 1,
        };
        let unavailable = || Answer::forbidden(Some("Feature Application Risk is not available for the scope"));
        if scope_filters.peek().is_none()
            && let Scope::Sites(ids) = &token.scope
            && ids.iter().all(|id| self.quirks.unlicensed_sites.contains(id))
        {
            return Some(unavailable());
        }
        if scope_filters.peek().is_none() && several && self.quirks.risks_require_one_scope {
            return Some(Answer::forbidden(Some("Action is not allowed for multi-scopes users")));
        }
        let unlicensed = |(column, ids): &(IdColumn, std::collections::HashSet<u64>)| {
            *column == IdColumn::Site && ids.iter().any(|id| self.quirks.unlicensed_sites.contains(id))
        };
        if scope_filters.any(unlicensed) {
            return Some(unavailable());
        }
        let too_large = self.quirks.risks_timeout_above.is_some_and(|max| query.limit > max);
        too_large.then(|| Answer::html(StatusCode::GATEWAY_TIMEOUT))
    }

    /// Returns the fault of a site that the request names.
    pub fn site_fault(&self, query: &Query) -> Option<Fault> {
        let sites = query.conditions.ids.iter().filter(|(column, _)| *column == IdColumn::Site);
        let is_named = |site: &u64| sites.clone().any(|(_, ids)| ids.contains(site));
        let faults = self.injector.faults.sites.iter();
        faults.filter(|(site, _)| is_named(site)).map(|(_, fault)| *fault).next()
    }
}
