//! Reads the accounts, or else the sites, that a token has. The console wants findings to be asked for by one of them
//! when the token has several.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};
use s1_forwarder_record::{Kind, Level, Scope, Timestamp, Value};

use super::pager::{Next, Pager};
use super::requests::{Answer, Request};
use super::responses::read_list;
use crate::console::{Client, ConsoleError, ScopeFilter, SecretRedactor};

/// Most pages of a list of all scopes that a token can see. A longer list is not read.
const MAX_PAGES: usize = 100;

/// Returns all accounts, sites or groups that the token can see, whatever the pipeline's scope is. Returns `None` if
/// there are too many.
///
/// # Errors
/// If the console fails or refuses: see [`ConsoleError`]. A role may have no permission to list them.
pub async fn visible_scopes(client: &Client, level: Level) -> Result<Option<Vec<Arc<Scope>>>, ConsoleError> {
    let mut list = ScopeList::of(level);
    for _ in 0..MAX_PAGES {
        let request = Request::scopes(level, list.pager.cursor.as_deref(), ScopeFilter::None);
        let body = request.send(client, client.permit().await, None).await?;
        if list.add(&body, client.redactor())? {
            return Ok(Some(list.scopes.into_values().collect()));
        }
    }
    Ok(None)
}

/// The accounts, sites or groups, page by page.
#[derive(Debug)]
pub(super) struct ScopeList {
    level: Level,
    pager: Pager,
    scopes: BTreeMap<CompactString, Arc<Scope>>,
    /// Number of accounts, sites or groups that the console counts.
    total: Option<u64>,
}

impl ScopeList {
    pub fn of(level: Level) -> Self {
        Self { level, pager: Pager::from(Timestamp::default()), scopes: BTreeMap::new(), total: None }
    }

    /// Requests the next page.
    pub fn request(&self) -> Request {
        Request::scopes(self.level, self.pager.cursor.as_deref(), ScopeFilter::Pipeline)
    }

    /// Accepts an answer, and returns the scopes once the list is complete. If the token may not list accounts, or has
    /// none, the list goes on with its sites.
    ///
    /// # Errors
    /// If the answer is an error, with that error. An answer without scopes never means that there are none. The list
    /// is ready to go on.
    pub fn answered(
        &mut self,
        answer: Answer,
        redactor: &SecretRedactor,
    ) -> Result<Option<Vec<Arc<Scope>>>, ConsoleError> {
        let read = match answer {
            Ok(body) => self.add(&body, redactor),
            Err(ConsoleError::Forbidden(_)) if self.level == Level::Account => {
                *self = Self::of(Level::Site);
                return Ok(None);
            }
            Err(error @ ConsoleError::BadCursor(_)) => Err(error),
            Err(error) => return Err(error),
        };
        match read {
            Ok(false) => Ok(None),
            Ok(true) if !self.scopes.is_empty() => Ok(Some(std::mem::take(&mut self.scopes).into_values().collect())),
            // Consoles answer like this in place of 403.
            Ok(true) if self.level == Level::Account => {
                *self = Self::of(Level::Site);
                Ok(None)
            }
            Ok(true) => {
                let reason = "the console wants application findings to be asked for by account or site, and lists \
                              neither for this token: name them in `console.sites` or `console.accounts`";
                Err(ConsoleError::Forbidden(reason.to_owned()))
            }
            Err(error) => {
                *self = Self::of(self.level);
                Err(error)
            }
        }
    }

    /// Adds the scopes of a page. Returns true if it is the last page.
    fn add(&mut self, body: &[u8], redactor: &SecretRedactor) -> Result<bool, ConsoleError> {
        let page = read_list(body, redactor)?;
        if page.null_data {
            return Err(ConsoleError::transient("the console answered 200 with `data: null`"));
        }
        if self.pager.cursor.is_none() {
            self.total = page.total_items;
        }
        let before = self.scopes.len();
        for record in page.records {
            let text = String::from_utf8_lossy(record);
            let record = Value::new(&text);
            // Sites are a list within an object.
            match record.get("sites") {
                sites if sites.kind() == Kind::Array => sites.elements().try_for_each(|site| self.add_scope(site))?,
                _ => self.add_scope(record)?,
            }
        }
        let new = (before..self.scopes.len()).map(|number| number as u64).collect();
        match self.pager.advance(page.next_cursor.as_deref(), new) {
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
