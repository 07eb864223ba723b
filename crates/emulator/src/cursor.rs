//! Keyset cursors: base64 of JSON with the last record's sort value and id. The console keeps no state for them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The position after the last record of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Names the table of the cursor, for example `Activity.id`.
    pub id_column: String,
    pub id: u64,
    /// For example `Activity.createdAt`.
    pub sort_column: String,
    /// The last record's sort value: a number, a text or a timestamp.
    pub value: Value,
    pub descending: bool,
}

impl Cursor {
    /// Returns the value of `pagination.nextCursor`, with percent-encoded padding.
    pub fn encode(&self) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        let mut text = format!(
            r#"{{"id_column": "{}", "id_value": {}, "id_sort_order": "{order}", "sort_by_column": "{}", "sort_by_value": {}, "sort_order": "{order}"}}"#,
            self.id_column, self.id, self.sort_column, self.value
        );
        if text.len() % 3 == 0 {
            // Every cursor has padding, so that a client that mishandles it always fails.
            text.push(' ');
        }
        STANDARD.encode(text).replace('=', "%3D")
    }

    /// Reads a `cursor` parameter after query decoding. Clients send the value as it is (`%3D` in the URL) or encode it
    /// again (`%253D`). In the second case it still contains percent signs.
    pub fn decode(text: &str) -> Option<Self> {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
        let bytes = STANDARD.decode(decoded.as_bytes()).ok()?;
        let object: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            id_column: object.get("id_column")?.as_str()?.to_owned(),
            id: object.get("id_value")?.as_u64()?,
            sort_column: object.get("sort_by_column")?.as_str()?.to_owned(),
            value: object.get("sort_by_value")?.clone(),
            descending: object.get("sort_order")?.as_str()? == "desc",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_read() {
        for id in [7_u64, 10, 100, 225_494_730_938_493_804] {
            let cursor = Cursor {
                id_column: "Activity.id".into(),
                id,
                sort_column: "Activity.createdAt".into(),
                value: Value::from("2018-02-27T04:49:26.257525Z"),
                descending: false,
            };
            let text = cursor.encode();
            assert!(text.ends_with("%3D") && !text.contains('='));
            assert_eq!(Cursor::decode(&text).as_ref(), Some(&cursor));
            assert_eq!(Cursor::decode(&text.replace("%3D", "=")), Some(cursor));
        }
        assert_eq!(Cursor::decode("test"), None);
        assert_eq!(Cursor::decode("YWdlbnRfaWQ6NTgwMjkzODE="), None);
    }
}
