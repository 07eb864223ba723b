//! Reads the accounts, or else the sites, that a token has. The console wants findings to be asked for by one of them
//! when the token has several.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};

use super::pager::{Next, Pager};
use super::requests::Request;
use super::responses::read_page;
use crate::console::{ConsoleError, Redactor};
use crate::record::{Kind, Level, Scope, Stream, Timestamp, Value};

/// The accounts, or the sites, page by page.
#[derive(Debug)]
pub(super) struct ScopeList {
    level: Level,
    pager: Pager,
    scopes: BTreeMap<CompactString, Arc<Scope>>,
    /// How many the console counts.
    total: Option<u64>,
}

/// What the console's answer means for the list.
#[derive(Debug)]
pub(super) enum ListedScopes {
    /// There is more to ask for.
    Continue(ScopeList),
    Complete(Vec<Arc<Scope>>),
}

impl ScopeList {
    pub fn of(level: Level) -> Self {
        Self { level, pager: Pager::from(Timestamp::default()), scopes: BTreeMap::new(), total: None }
    }

    /// The next page.
    pub fn request(&self) -> Request {
        Request::scopes(self.level, self.pager.cursor.as_deref())
    }

    /// Takes an answer. Accounts that the token may not list, or of which it has none, are followed by its sites.
    ///
    /// # Errors
    /// With the list to go on with, unless the console refuses: an answer without scopes never means that there are
    /// none.
    pub fn answered(
        mut self,
        answer: Result<bytes::Bytes, ConsoleError>,
        redactor: &Redactor,
    ) -> Result<ListedScopes, (ConsoleError, Self)> {
        let body = match answer {
            Ok(body) => body,
            Err(ConsoleError::Forbidden(_)) if self.level == Level::Account => {
                return Ok(ListedScopes::Continue(Self::of(Level::Site)));
            }
            Err(error @ ConsoleError::BadCursor(_)) => return Err((error, Self::of(self.level))),
            Err(error) => return Err((error, self)),
        };
        match self.add(&body, redactor) {
            Ok(false) => Ok(ListedScopes::Continue(self)),
            Ok(true) if !self.scopes.is_empty() => Ok(ListedScopes::Complete(self.scopes.into_values().collect())),
            // Consoles answer so in place of 403.
            Ok(true) if self.level == Level::Account => Ok(ListedScopes::Continue(Self::of(Level::Site))),
            Ok(true) => {
                let reason = "the console wants application findings to be asked for by account or site, and lists \
                              neither for this token: name them in `console.sites` or `console.accounts`";
                Err((ConsoleError::Forbidden(reason.to_owned()), self))
            }
            Err(error) => Err((error, Self::of(self.level))),
        }
    }

    /// Adds the scopes of a page; true when it is the last one.
    fn add(&mut self, body: &[u8], redactor: &Redactor) -> Result<bool, ConsoleError> {
        // Lists of scopes have the same frame as those of records.
        let page = read_page(Stream::Vulnerabilities, body, redactor)?;
        if page.null_data {
            return Err(ConsoleError::transient("the console answered 200 with `data: null`"));
        }
        if self.pager.cursor.is_none() {
            self.total = page.total_items;
        }
        let before = self.scopes.len();
        for record in page.records {
            let record = Value::new(std::str::from_utf8(record).unwrap_or_default());
            // Sites are a list within an object.
            match record.get("sites") {
                sites if sites.kind() == Kind::Array => sites.elements().try_for_each(|site| self.add_scope(site))?,
                _ => self.add_scope(record)?,
            }
        }
        match self.pager.follow(page.next_cursor.as_deref(), self.scopes.len() - before) {
            Next::Page => Ok(false),
            Next::Nothing => Ok(true),
            Next::Unclear if self.total.is_some_and(|total| total > 0 && total <= self.scopes.len() as u64) => Ok(true),
            Next::Unclear => Err(ConsoleError::transient("the console's list of accounts or sites has no clear end")),
        }
    }

    fn add_scope(&mut self, scope: Value<'_>) -> Result<(), ConsoleError> {
        let Some(id) = scope.get("id").text().map(|id| id.to_compact_string()) else {
            return Err(ConsoleError::transient("the console's list of accounts or sites has an entry without an id"));
        };
        let name = scope.get("name").text().map(|name| name.to_compact_string());
        self.scopes.insert(id.clone(), Arc::new(Scope { level: self.level, id, name }));
        Ok(())
    }
}
