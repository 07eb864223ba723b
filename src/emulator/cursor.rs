//! Keyset cursors: base64 of JSON that names the last record's sort value and id, so that the console remembers nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Such as `Activity.id`: the table that the cursor belongs to.
    pub id_column: String,
    /// The last record's id.
    pub id: u64,
    /// Such as `Activity.createdAt`.
    pub sort_column: String,
    /// The last record's sort value: a number, a text or a timestamp.
    pub value: Value,
    /// Descending order.
    pub descending: bool,
}

impl Cursor {
    /// The form of `pagination.nextCursor`: the padding is percent-encoded already.
    pub fn encode(&self) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        let mut text = format!(
            r#"{{"id_column": "{}", "id_value": {}, "id_sort_order": "{order}", "sort_by_column": "{}", "sort_by_value": {}, "sort_order": "{order}"}}"#,
            self.id_column, self.id, self.sort_column, self.value
        );
        if text.len() % 3 == 0 {
            // Every cursor has padding, so that a client that mishandles it fails at once and not once in a while.
            text.push(' ');
        }
        STANDARD.encode(text).replace('=', "%3D")
    }

    /// Reads a `cursor` parameter after query decoding. Clients send the value verbatim (`%3D` in the URL) or encode it
    /// once more (`%253D`): in the second case the percent signs are still there.
    pub fn decode(text: &str) -> Option<Self> {
        let once = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
        let bytes = STANDARD.decode(once.as_bytes()).ok()?;
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
