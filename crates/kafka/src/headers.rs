//! Headers of the records of a checkpoint topic.

use std::collections::HashMap;
use std::str::FromStr;

use rdkafka::message::{Header, Headers, OwnedHeaders};

/// The newest format of records that this release reads and writes.
pub(super) const FORMAT: u32 = 1;

/// Returns the headers of a record, the format included.
pub(super) fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let format = FORMAT.to_string();
    let insert = |headers: OwnedHeaders, key, value| headers.insert(Header { key, value: Some(value) });
    let first = insert(OwnedHeaders::new_with_capacity(pairs.len() + 1), "format", format.as_str());
    pairs.iter().fold(first, |headers, (key, value)| insert(headers, key, value))
}

/// The headers of a record that was read. A missing one is empty, or zero.
#[derive(Debug)]
pub(super) struct RecordHeaders(HashMap<String, String>);

impl RecordHeaders {
    pub(super) fn of<H: Headers>(headers: Option<&H>) -> Self {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let all = headers.into_iter().flat_map(Headers::iter);
        Self(all.map(|header| (header.key.to_owned(), text(header.value))).collect())
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn number<T: FromStr + Default>(&self, name: &str) -> T {
        self.0.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}
