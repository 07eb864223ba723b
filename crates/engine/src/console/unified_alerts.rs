//! Requests for unified alerts, which consoles serve over GraphQL.

use bytes::Bytes;
use s1_forwarder_record::parse_connection;
use s1_forwarder_telemetry::Meter;
use serde_json::{Map, Value, json};

use super::client::ApiCall;
use super::unified_alert_fields::{BRIEF, is_validation};
use super::{Client, ConsoleError, RequestPermit};

/// The fields that a query selects of each alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFields {
    /// Every field that the console has.
    All,
    /// Only the fields that identify the alert.
    Brief,
}

impl Client {
    /// Requests one page of unified alerts. Fields that the console does not know
    /// are left out of this query, and of later ones for `LEFT_OUT_FOR`. The returned body has data, and may have
    /// errors in addition.
    ///
    /// `variables` has all variables of the query except `scope`.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn unified_alerts(
        &self,
        mut permit: RequestPermit,
        mut variables: Map<String, Value>,
        fields: AlertFields,
        max_bytes: usize,
        meter: Option<&Meter>,
    ) -> Result<Bytes, ConsoleError> {
        let url = self.url_of("unifiedalerts/graphql", std::iter::empty());
        variables.insert("scope".to_owned(), self.alert_scope());
        let with_cursor = variables.get("after").is_some_and(|cursor| !cursor.is_null());
        loop {
            let (text, selected) = match fields {
                AlertFields::Brief => (BRIEF.to_owned(), Vec::new()),
                AlertFields::All => self.unknown_fields.query(),
            };
            let body = json!({ "query": text, "variables": variables }).to_string().into_bytes();
            let call = ApiCall { body: Some(body), max_bytes, with_cursor, ..self.call(&url) };
            let answer = self.request(permit, call, meter).await?;
            let connection = parse_connection(&answer, "alerts").map_err(|error| self.redactor.unreadable(&error))?;
            if connection.errors.is_empty() || !connection.page.null_data {
                return Ok(answer);
            }
            if !self.unknown_fields.learn(&connection.errors, &selected) {
                return Err(self.refused_query(&connection.errors, with_cursor));
            }
            permit = self.permit().await;
        }
    }

    /// Returns the scope for GraphQL, which accepts one type of scope: the narrowest that the pipeline names.
    fn alert_scope(&self) -> Value {
        let Some((name, ids)) = self.scope.last() else { return Value::Null };
        let level = match *name {
            "accountIds" => "ACCOUNT",
            "siteIds" => "SITE",
            _ => "GROUP",
        };
        json!({ "scopeType": level, "scopeIds": ids.split(',').collect::<Vec<_>>() })
    }

    /// Returns the error for a query that returned no data.
    fn refused_query(&self, errors: &[String], with_cursor: bool) -> ConsoleError {
        let reason = errors.join("; ");
        let lower = reason.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let reason = format!("the console refused the query: {}", self.redactor.excerpt(&reason));
        if with_cursor && says(&["cursor"]) {
            ConsoleError::BadCursor(reason)
        } else if says(&["permission", "not authorized", "unauthorized", "forbidden", "access denied"]) {
            ConsoleError::Forbidden(reason)
        } else if is_validation(&lower) || says(&["does not exist or not supported"]) {
            ConsoleError::BadRequest(reason)
        } else {
            ConsoleError::transient(reason)
        }
    }
}
