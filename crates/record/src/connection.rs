//! A page of a GraphQL response.

use std::borrow::Cow;

use super::facts::member;
use super::page::{Page, PageError, split_array, text_of};
use super::scan;
use super::value::Value;

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
    /// Whether `hasNextPage` is true, but there is no `endCursor`.
    pub cursor_missing: bool,
    /// The message of each error.
    pub errors: Vec<String>,
}

/// Reads a response; nodes are slices of `body`.
///
/// # Errors
/// If the body is not a GraphQL response.
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
    let answer = &body[start..end];
    let mut connection = Connection::default();
    let errors = String::from_utf8_lossy(member(answer, "errors"));
    for error in Value::new(&errors).elements() {
        let message = error.get("message").text().or_else(|| error.text());
        connection.errors.push(message.map_or_else(|| error.raw().to_owned(), Cow::into_owned));
    }
    let data = member(answer, "data");
    if data.is_empty() && connection.errors.is_empty() {
        return Err(PageError::Shape("it has no `data`"));
    }
    let alerts = member(data, field);
    let edges = member(alerts, "edges");
    let info = member(alerts, "pageInfo");
    let has_next_page = member(info, "hasNextPage");
    connection.page.total_items = text_of(member(alerts, "totalCount")).and_then(|total| total.parse().ok());
    // A failed field is null. Without `edges` or `hasNextPage` the response does not say whether the list ends here.
    let is_empty =
        edges == b"null" && connection.errors.is_empty() && connection.page.total_items.is_none_or(|total| total == 0);
    let is_list = edges.first() == Some(&b'[');
    let says_end = matches!(has_next_page, b"true" | b"false");
    connection.page.null_data = !says_end || !(is_list || is_empty);
    let mut list = Vec::new();
    if is_list {
        let place = edges.as_ptr() as usize - body.as_ptr() as usize;
        split_array(body, place, &mut list)?;
    }
    for edge in list {
        match member(edge, "node") {
            b"" | b"null" => connection.null_nodes += 1,
            node => connection.page.records.push(node),
        }
    }
    if has_next_page == b"true" {
        connection.page.next_cursor = text_of(member(info, "endCursor"));
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

    /// The node is no text, but its end is clear: the page is read, and the record is repaired later.
    #[test]
    fn a_node_that_is_not_utf_8_does_not_fail_its_page() {
        let body = b"{\"data\":{\"alerts\":{\"pageInfo\":{\"hasNextPage\":true,\"endCursor\":\"x\"},\"edges\":[{\"node\":{\"a\":\"\xed\xa0\xbd\"}},{\"node\":{\"b\":NaN}}]}}}";
        let page = parse_connection(body, "alerts").unwrap().page;
        assert_eq!(page.records, [&b"{\"a\":\"\xed\xa0\xbd\"}"[..], b"{\"b\":NaN}"]);
        assert_eq!((page.next_cursor.as_deref(), page.null_data), (Some("x"), false));
        let malformed = br#"{"data":{"alerts":{"pageInfo":{"hasNextPage":false},"edges":[{"node":{}} {"node":{}}]}}}"#;
        assert_eq!(parse_connection(malformed, "alerts"), Err(PageError::NotJson(73)));
    }

    #[test]
    fn errors_last_pages_and_other_bodies_are_distinguished() {
        let parsed = |body: &'static str| parse_connection(body.as_bytes(), "alerts");
        let refused = parsed(r#"{"errors":[{"message":"Unknown type 'X'"},{"code":1},"text"],"data":null}"#).unwrap();
        assert_eq!(refused.errors, ["Unknown type 'X'", r#"{"code":1}"#, "text"]);
        assert!(refused.page.null_data);
        let end = r#"{"data":{"alerts":{"edges":null,"pageInfo":{"hasNextPage":false,"endCursor":"x"}}},"errors":[]}"#;
        let end = parsed(end).unwrap();
        assert!(end.page.next_cursor.is_none() && !end.page.null_data && end.errors.is_empty() && !end.cursor_missing);
        assert!(
            parsed(r#"{"data":{"alerts":{"edges":[],"pageInfo":{"hasNextPage":true,"endCursor":null}}}}"#)
                .unwrap()
                .cursor_missing
        );
        assert_eq!(parsed("<html>"), Err(PageError::Html));
        assert_eq!(parsed(""), Err(PageError::Truncated(0)));
        assert_eq!(parsed(r#"{"data":{"#), Err(PageError::Truncated(9)));
        assert_eq!(parsed("{}"), Err(PageError::Shape("it has no `data`")));
        assert!(parsed("Bad Gateway").is_err() && parsed("{} x").is_err());
    }

    #[test]
    fn a_response_that_does_not_say_whether_the_list_ends_is_no_page() {
        let null_data = |body: &'static str| parse_connection(body.as_bytes(), "alerts").unwrap().page.null_data;
        for unclear in [
            r#"{"data":{"alerts":{"edges":null,"pageInfo":null}},"errors":[{"message":"a resolver is down"}]}"#,
            r#"{"data":{"alerts":{"edges":null,"pageInfo":{"hasNextPage":false}}},"errors":[{"message":"down"}]}"#,
            r#"{"data":{"alerts":{"totalCount":7,"edges":null,"pageInfo":{"hasNextPage":false}}}}"#,
            r#"{"data":{"alerts":{"edges":[{"node":{"id":"1"}}],"pageInfo":null}},"errors":[{"message":"down"}]}"#,
            r#"{"data":{"alerts":{"edges":[{"node":{"id":"1"}}],"pageInfo":{"hasNextPage":null}}}}"#,
        ] {
            assert!(null_data(unclear), "{unclear}");
        }
        assert!(!null_data(r#"{"data":{"alerts":{"totalCount":0,"edges":null,"pageInfo":{"hasNextPage":false}}}}"#));
        assert!(!null_data(
            r#"{"data":{"alerts":{"edges":[],"pageInfo":{"hasNextPage":false}}},"errors":[{"message":"x"}]}"#
        ));
    }
}
