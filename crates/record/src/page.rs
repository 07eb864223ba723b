//! Splits the response of a list endpoint into records.

use std::borrow::Cow;

use super::facts::member;
use super::scan;
use super::value::{Kind, Value};

/// One response of a list endpoint: `{"data":[…],"pagination":{…},"errors":…}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// The bytes of each element of `data`, in order; empty for `null`. A `data` object is a single record.
    pub records: Vec<&'a [u8]>,
    /// Whether `data` is `null`: the console has no records, or failed internally.
    pub null_data: bool,
    /// The cursor of the next page. `None` for `null`, an absent key, `""` and the string `"null"`.
    pub next_cursor: Option<Cow<'a, str>>,
    /// `pagination.totalItems`, if it is a number.
    pub total_items: Option<u64>,
    /// The entries of `errors` that are not empty, each as `code: title: detail` with the parts that it has.
    pub errors: Vec<String>,
}

/// The response body is not a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// HTML instead of JSON, for example from a proxy or a login page.
    #[error("the answer is HTML, not JSON")]
    Html,
    #[error("the answer is not JSON (at byte {0})")]
    NotJson(usize),
    /// The connection ended inside the body, or the body is empty.
    #[error("the answer is truncated after {0} bytes")]
    Truncated(usize),
    /// JSON, but not an object, or without `data` and `errors`.
    #[error("the answer is JSON, but not a page of records: {0}")]
    Shape(&'static str),
}

/// Splits a response into records in one pass over its bytes. The grammar inside a record is not checked: an invalid
/// record becomes an error event of its own and does not fail the page.
///
/// # Errors
/// If the body is not a page.
pub fn parse_page(body: &[u8]) -> Result<Page<'_>, PageError> {
    let mut page = Page::default();
    let mut has_data = false;
    let mut at = scan::skip_space(body, 0);
    match body.get(at) {
        None => return Err(PageError::Truncated(body.len())),
        Some(b'{') => at += 1,
        Some(b'<') => return Err(PageError::Html),
        Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            return Err(PageError::Shape("it is not an object"));
        }
        Some(_) => return Err(PageError::NotJson(at)),
    }
    let mut entries = 0;
    loop {
        at = scan::skip_space(body, at);
        let key = match body.get(at) {
            Some(b'}') if entries == 0 => break at += 1,
            Some(b'"') => {
                let end = scan::string_end(body, at).ok_or(PageError::Truncated(body.len()))?;
                let key = &body[at + 1..end - 1];
                at = scan::skip_space(body, end);
                key
            }
            _ => return Err(syntax_error(body, at)),
        };
        if body.get(at) != Some(&b':') {
            return Err(syntax_error(body, at));
        }
        at = scan::skip_space(body, at + 1);
        let start = at;
        if key == b"data" && body.get(at) == Some(&b'[') {
            has_data = true;
            at = split_array(body, at, &mut page.records)?;
        } else {
            at = value_end(body, at)?;
            let value = &body[start..at];
            match key {
                b"data" => match value.first() {
                    Some(b'{') => {
                        has_data = true;
                        page.records = vec![value];
                    }
                    Some(b'n') => (has_data, page.null_data) = (true, true),
                    _ => return Err(PageError::Shape("`data` is neither a list nor an object")),
                },
                b"pagination" => read_pagination(value, &mut page),
                b"errors" => read_errors(value, &mut page.errors),
                _ => {}
            }
        }
        entries += 1;
        at = scan::skip_space(body, at);
        match body.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => break at += 1,
            _ => return Err(syntax_error(body, at)),
        }
    }
    at = scan::skip_space(body, at);
    if at < body.len() {
        return Err(PageError::NotJson(at));
    }
    if !has_data && page.errors.is_empty() {
        return Err(PageError::Shape("it has no `data`"));
    }
    Ok(page)
}

fn syntax_error(body: &[u8], at: usize) -> PageError {
    if at >= body.len() { PageError::Truncated(body.len()) } else { PageError::NotJson(at) }
}

fn value_end(body: &[u8], start: usize) -> Result<usize, PageError> {
    match scan::value_end(body, start) {
        None => Err(PageError::Truncated(body.len())),
        Some(end) if end == start => Err(syntax_error(body, start)),
        Some(end) => Ok(end),
    }
}

/// Splits the array whose bracket is at `open`, and returns the position after it.
pub(super) fn split_array<'a>(body: &'a [u8], open: usize, records: &mut Vec<&'a [u8]>) -> Result<usize, PageError> {
    let mut at = scan::skip_space(body, open + 1);
    if body.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        let end = value_end(body, at)?;
        records.push(&body[at..end]);
        at = scan::skip_space(body, end);
        match body.get(at) {
            Some(b',') => at = scan::skip_space(body, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(syntax_error(body, at)),
        }
    }
}

fn read_pagination<'a>(value: &'a [u8], page: &mut Page<'a>) {
    let text = |name| text_of(member(value, name));
    page.next_cursor = text("nextCursor").filter(|cursor| cursor != "null");
    page.total_items = text("totalItems").and_then(|total| total.parse().ok());
}

/// Returns the text of a scalar; `None` also if it is not UTF-8.
pub(super) fn text_of(value: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(value).ok().and_then(|text| Value::new(text).text())
}

fn read_errors(value: &[u8], errors: &mut Vec<String>) {
    let text = String::from_utf8_lossy(value);
    let value = Value::new(&text);
    let mut read = |entry: Value<'_>| {
        // An entry that is a text has no parts.
        let parts = ["code", "title", "detail"].map(|name| entry.get(name).text()).into_iter().flatten();
        let parts: Vec<_> = entry.text().into_iter().chain(parts).filter(|part| !part.is_empty()).collect();
        if !parts.is_empty() {
            errors.push(parts.join(": "));
        }
    };
    match value.kind() {
        Kind::Array => value.elements().for_each(read),
        _ => read(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(page: &Page<'a>) -> Vec<&'a str> {
        page.records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn a_page_is_split_into_its_records() {
        let body = br#" {"pagination":{"totalItems":3,"nextCursor":"abc%3D"}, "data":[{"a":"]}"},
            {"b":[1,{"c":"\"}"}]} ,{}, 7 ],"errors":null} "#;
        let page = parse_page(body).unwrap();
        assert_eq!(texts(&page), [r#"{"a":"]}"}"#, r#"{"b":[1,{"c":"\"}"}]}"#, "{}", "7"]);
        assert_eq!(page.next_cursor.as_deref(), Some("abc%3D"));
        assert_eq!(page.total_items, Some(3));
        assert!(page.errors.is_empty());
    }

    #[test]
    fn the_last_page_is_recognised_in_four_forms() {
        for pagination in
            [r#"{"nextCursor":null}"#, r#"{}"#, r#"{"nextCursor":""}"#, r#"{"nextCursor":"null"}"#, "null"]
        {
            let body = format!(r#"{{"data":[],"pagination":{pagination}}}"#);
            assert_eq!(parse_page(body.as_bytes()).unwrap().next_cursor, None, "{pagination}");
        }
        assert_eq!(parse_page(br#"{"data":[]}"#).unwrap().next_cursor, None);
    }

    #[test]
    fn null_data_is_an_empty_page_and_an_object_is_one_record() {
        let expected = Page { null_data: true, ..Page::default() };
        assert_eq!(parse_page(br#"{"data":null,"errors":null}"#).unwrap(), expected);
        assert_eq!(texts(&parse_page(br#"{"data":{"id":"1"}}"#).unwrap()), [r#"{"id":"1"}"#]);
    }

    #[test]
    fn empty_errors_are_ignored() {
        let empty = parse_page(br#"{"data":[],"errors":[{},{"type":"object"},null,{"code":null}]}"#).unwrap();
        assert!(empty.errors.is_empty());
        let text = parse_page(br#"{"data":[],"errors":["the search failed",""]}"#).unwrap();
        assert_eq!(text.errors, ["the search failed"]);
        let failed =
            parse_page(br#"{"errors":[{"code":4010010,"title":"Authentication Failed","detail":null}]}"#).unwrap();
        assert_eq!(failed.errors, ["4010010: Authentication Failed"]);
    }

    #[test]
    fn bodies_that_are_not_pages_are_classified() {
        for (body, expected) in [
            (&b"<html><title>429 Too Many Requests</title>"[..], PageError::Html),
            (b"", PageError::Truncated(0)),
            (b"Bad Gateway", PageError::NotJson(0)),
            (br#"{"data":[{"id":"1"#, PageError::Truncated(17)),
            (br#"{"data":[{"id":"1"}"#, PageError::Truncated(19)),
            (br#"{"data":[{"id":"1"},"#, PageError::Truncated(20)),
            (br#"{"data":"#, PageError::Truncated(8)),
            (br#"{"data""#, PageError::Truncated(7)),
            (br#"{"data":[]} trailing"#, PageError::NotJson(12)),
            (br#"{"data":[1 2]}"#, PageError::NotJson(11)),
            (br#"{"data":[],}"#, PageError::NotJson(11)),
            (br#"{"data":5}"#, PageError::Shape("`data` is neither a list nor an object")),
            (br#"[1]"#, PageError::Shape("it is not an object")),
            (br#"{"records":[]}"#, PageError::Shape("it has no `data`")),
            (br#"{}"#, PageError::Shape("it has no `data`")),
        ] {
            assert_eq!(parse_page(body), Err(expected), "{}", String::from_utf8_lossy(body));
        }
    }

    /// The record is invalid, but its end is clear: it becomes an error event and the other records are processed.
    #[test]
    fn an_invalid_record_does_not_fail_its_page() {
        let page = parse_page(b"{\"data\":[{\"a\":NaN},{\"b\":\"\xff\"},{\"c\":1}]}").unwrap();
        assert_eq!(page.records, [&b"{\"a\":NaN}"[..], b"{\"b\":\"\xff\"}", b"{\"c\":1}"]);
    }
}
