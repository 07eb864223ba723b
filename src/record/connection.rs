//! A page of a GraphQL response.

use std::borrow::Cow;

use super::page::{Page, PageError};
use super::scan;
use super::value::{Kind, Value};

/// One response to a query for a GraphQL connection named `field`:
/// `{"data":{FIELD:{"totalCount":…,"pageInfo":…,"edges":[…]}},"errors":[…]}`. The data is valid only if `errors` is
/// empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The nodes and the cursor of the next page. Its `null_data` is set if the response is not clearly a page: a
    /// failed field made `edges` or `pageInfo` null.
    pub page: Page<'a>,
    /// Edges that are null, or whose node is null.
    pub null_nodes: usize,
    /// `hasNextPage` is true, but there is no `endCursor`.
    pub cursor_missing: bool,
    /// The message of each error.
    pub errors: Vec<String>,
}

/// Reads a response; nodes are slices of `body`.
///
/// # Errors
/// When the body is not a GraphQL response.
pub fn parse_connection<'a>(body: &'a [u8], field: &str) -> Result<Connection<'a>, PageError> {
    let start = scan::skip_space(body, 0);
    match body.get(start) {
        None => return Err(PageError::Truncated(body.len())),
        Some(b'{') => {}
        Some(b'<') => return Err(PageError::Html),
        Some(_) => return Err(PageError::NotJson(start)),
    }
    let end = scan::value_end(body, start).ok_or(PageError::Truncated(body.len()))?;
    if scan::skip_space(body, end) < body.len() {
        return Err(PageError::NotJson(end));
    }
    let text =
        std::str::from_utf8(&body[start..end]).map_err(|error| PageError::NotJson(start + error.valid_up_to()))?;
    let answer = Value::new(text);
    let mut connection = Connection::default();
    let errors = answer.get("errors");
    for error in errors.elements() {
        let message = error.get("message").text().or_else(|| error.text());
        connection.errors.push(message.map_or_else(|| error.raw().to_owned(), Cow::into_owned));
    }
    let data = answer.get("data");
    if data.kind() == Kind::Absent && connection.errors.is_empty() {
        return Err(PageError::Shape("it has no `data`"));
    }
    let alerts = data.get(field);
    let (edges, info) = (alerts.get("edges"), alerts.get("pageInfo"));
    connection.page.total_items = alerts.get("totalCount").text().and_then(|total| total.parse().ok());
    // A failed field is null. Without `edges` or `hasNextPage` the response does not say whether the list ends here.
    let is_empty = edges.kind() == Kind::Null
        && connection.errors.is_empty()
        && connection.page.total_items.is_none_or(|total| total == 0);
    let says_end = matches!(info.get("hasNextPage").raw(), "true" | "false");
    connection.page.null_data = alerts.is_empty() || !says_end || !(edges.kind() == Kind::Array || is_empty);
    for edge in edges.elements() {
        let node = edge.get("node");
        match node.kind() {
            Kind::Absent | Kind::Null => connection.null_nodes += 1,
            _ => connection.page.records.push(node.raw().as_bytes()),
        }
    }
    if info.get("hasNextPage").raw() == "true" {
        connection.page.next_cursor = info.get("endCursor").text();
        connection.cursor_missing = connection.page.next_cursor.is_none();
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_and_null_nodes_are_counted() {
        let body = br#" {"data":{"alerts":{"totalCount":9,"pageInfo":{"hasNextPage":true,"endCursor":"Yw=="},
            "edges":[{"cursor":"a","node":{"id":"1"}},null,{"node":null},{"node":{"id":"2","x":[{"node":7}]}}]}}} "#;
        let found = parse_connection(body, "alerts").unwrap();
        let texts: Vec<_> = found.page.records.iter().map(|node| std::str::from_utf8(node).unwrap()).collect();
        assert_eq!(texts, [r#"{"id":"1"}"#, r#"{"id":"2","x":[{"node":7}]}"#]);
        assert_eq!((found.null_nodes, found.page.total_items, found.cursor_missing), (2, Some(9), false));
        assert_eq!(
            (found.page.next_cursor.as_deref(), found.errors.len(), found.page.null_data),
            (Some("Yw=="), 0, false)
        );
    }

    #[test]
    fn errors_last_pages_and_other_bodies_are_distinguished() {
        let of = |body: &'static str| parse_connection(body.as_bytes(), "alerts");
        let refused = of(r#"{"errors":[{"message":"Unknown type 'X'"},{"code":1},"text"],"data":null}"#).unwrap();
        assert_eq!(refused.errors, ["Unknown type 'X'", r#"{"code":1}"#, "text"]);
        assert!(refused.page.null_data);
        let end = r#"{"data":{"alerts":{"edges":null,"pageInfo":{"hasNextPage":false,"endCursor":"x"}}},"errors":[]}"#;
        let end = of(end).unwrap();
        assert!(end.page.next_cursor.is_none() && !end.page.null_data && end.errors.is_empty() && !end.cursor_missing);
        assert!(
            of(r#"{"data":{"alerts":{"edges":[],"pageInfo":{"hasNextPage":true,"endCursor":null}}}}"#)
                .unwrap()
                .cursor_missing
        );
        assert_eq!(of("<html>"), Err(PageError::Html));
        assert_eq!(of(""), Err(PageError::Truncated(0)));
        assert_eq!(of(r#"{"data":{"#), Err(PageError::Truncated(9)));
        assert_eq!(of("{}"), Err(PageError::Shape("it has no `data`")));
        assert!(of("Bad Gateway").is_err() && of("{} x").is_err());
    }

    #[test]
    fn a_response_that_does_not_say_whether_the_list_ends_is_no_page() {
        let of = |body: &'static str| parse_connection(body.as_bytes(), "alerts").unwrap().page.null_data;
        for unclear in [
            r#"{"data":{"alerts":{"edges":null,"pageInfo":null}},"errors":[{"message":"a resolver is down"}]}"#,
            r#"{"data":{"alerts":{"edges":null,"pageInfo":{"hasNextPage":false}}},"errors":[{"message":"down"}]}"#,
            r#"{"data":{"alerts":{"totalCount":7,"edges":null,"pageInfo":{"hasNextPage":false}}}}"#,
            r#"{"data":{"alerts":{"edges":[{"node":{"id":"1"}}],"pageInfo":null}},"errors":[{"message":"down"}]}"#,
            r#"{"data":{"alerts":{"edges":[{"node":{"id":"1"}}],"pageInfo":{"hasNextPage":null}}}}"#,
        ] {
            assert!(of(unclear), "{unclear}");
        }
        assert!(!of(r#"{"data":{"alerts":{"totalCount":0,"edges":null,"pageInfo":{"hasNextPage":false}}}}"#));
        assert!(!of(r#"{"data":{"alerts":{"edges":[],"pageInfo":{"hasNextPage":false}}},"errors":[{"message":"x"}]}"#));
    }
}
