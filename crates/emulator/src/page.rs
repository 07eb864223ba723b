//! Finds the records of a page and writes the body of the answer.

use std::borrow::Cow;

use serde_json::Value;

use super::cursor::Cursor;
use super::kind::{Column, Kind, at};
use super::query::{Query, parse};
use super::quirks::{LastPage, Quirks};
use super::store::{Entry, Indexed, Row, Table, id_value};
use super::time;

#[derive(Default)]
pub(super) struct Page<'t> {
    pub rows: Vec<&'t Row>,
    /// The last record's sort value, for the cursor of the next page.
    last: Value,
    /// Whether more records follow.
    more: bool,
}

/// A list request over one table; `visible` limits it to what a token can see.
pub(super) struct Search<'t> {
    pub kind: Kind,
    pub table: &'t Table,
    pub query: &'t Query,
    pub visible: &'t dyn Fn(&Row) -> bool,
}

impl<'t> Search<'t> {
    fn matches(&self, row: &Row) -> bool {
        (self.visible)(row) && self.query.conditions.match_row(self.kind, row, &self.query.sort)
    }

    /// Returns at most `limit` records after the cursor.
    pub fn page(&self, limit: usize) -> Page<'t> {
        match indexed(&self.query.sort) {
            Some(column) => self.indexed_page(column, limit),
            None => self.sorted_page(limit),
        }
    }

    fn indexed_page(&self, column: Indexed, limit: usize) -> Page<'t> {
        let mut entries = self.bounded(column);
        if let Some(cursor) = &self.query.cursor {
            let value = match column {
                Indexed::Id => id_value(cursor.id),
                Indexed::Created | Indexed::Updated => cursor.value.as_str().and_then(time::parse).unwrap_or(i64::MIN),
            };
            let key = (value, cursor.id);
            entries = if cursor.descending {
                &entries[..entries.partition_point(|entry| (entry.value, entry.id) < key)]
            } else {
                &entries[entries.partition_point(|entry| (entry.value, entry.id) <= key)..]
            };
        }
        let mut skip = self.query.skip;
        let mut page = Page::default();
        let mut take = |entry: &Entry| {
            let row = self.table.row(entry);
            if !self.matches(row) {
                return true;
            }
            if skip > 0 {
                skip -= 1;
                return true;
            }
            if page.rows.len() == limit {
                page.more = true;
                return false;
            }
            page.last = match column {
                Indexed::Id => Value::from(row.id),
                Indexed::Created | Indexed::Updated => Value::from(entry.value),
            };
            page.rows.push(row);
            true
        };
        if self.query.descending {
            entries.iter().rev().all(&mut take);
        } else {
            entries.iter().all(&mut take);
        }
        if column != Indexed::Id
            && let Some(micros) = page.last.as_i64()
        {
            page.last = Value::from(time::print(micros));
        }
        page
    }

    /// Returns the entries within the time filters over this column.
    fn bounded(&self, column: Indexed) -> &'t [Entry] {
        let index = self.table.index(column);
        let mut low = i64::MIN;
        let mut high = i64::MAX;
        for (_, from, to) in self.query.conditions.times.iter().filter(|(bounded, ..)| *bounded == self.query.sort) {
            low = low.max(*from);
            high = high.min(*to);
        }
        let start = index.partition_point(|entry| entry.value < low);
        let end = index.partition_point(|entry| entry.value <= high);
        index.get(start..end).unwrap_or_default()
    }

    /// Returns a page in the order of a column without an index. It sorts the whole table, which is slow for large
    /// ones.
    fn sorted_page(&self, limit: usize) -> Page<'t> {
        let mut found: Vec<(SortValue, u64, &Row)> = self
            .table
            .rows()
            .filter(|row| self.matches(row))
            .map(|row| (SortValue::of(&self.query.sort, row), row.id, row))
            .collect();
        found.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        if self.query.descending {
            found.reverse();
        }
        if let Some(cursor) = &self.query.cursor {
            let key = (SortValue::from_cursor(&self.query.sort, &cursor.value), cursor.id);
            found.retain(|(value, id, _)| {
                if cursor.descending { (value, id) < (&key.0, &key.1) } else { (value, id) > (&key.0, &key.1) }
            });
        }
        let more = found.len() > self.query.skip + limit;
        let shown: Vec<_> = found.into_iter().skip(self.query.skip).take(limit).collect();
        let last = shown.last().map(|(value, ..)| value.to_json()).unwrap_or_default();
        Page { rows: shown.into_iter().map(|(.., row)| row).collect(), last, more }
    }

    /// Returns the number of matching records on all pages.
    pub fn count(&self, everything_visible: bool) -> u64 {
        let counted = match indexed(&self.query.sort) {
            Some(column) => {
                let entries = self.bounded(column);
                let matching = |rows: &mut dyn Iterator<Item = &Row>| rows.filter(|row| self.matches(row)).count();
                if everything_visible && self.query.conditions.only_bounds_over(&self.query.sort) {
                    let within = |row: &&Row| entries.binary_search(&self.table.entry(column, row)).is_ok();
                    let hidden = || self.table.hidden_by_default().filter(within);
                    entries.len() - hidden().count() + matching(&mut hidden())
                } else {
                    matching(&mut entries.iter().map(|entry| self.table.row(entry)))
                }
            }
            None => self.table.rows().filter(|row| self.matches(row)).count(),
        };
        counted as u64
    }

    /// Returns the page's `nextCursor`; `None` leaves the key out.
    pub fn next_cursor(&self, page: &Page<'_>, quirks: &Quirks) -> Option<Value> {
        match page.rows.last() {
            Some(row) if page.more || quirks.last_page == LastPage::ExtraPage => Some(Value::from(
                Cursor {
                    id_column: format!("{}.id", self.kind.table()),
                    id: row.id,
                    sort_column: self.query.sort_column_name(self.kind),
                    value: page.last.clone(),
                    descending: self.query.descending,
                }
                .encode(),
            )),
            _ => match quirks.last_page {
                LastPage::Null | LastPage::ExtraPage => Some(Value::Null),
                LastPage::Absent => None,
                LastPage::Empty => Some(Value::from("")),
                LastPage::NullText => Some(Value::from("null")),
            },
        }
    }
}

/// Returns the body of the answer. `around` is the text of `data` before and after the records.
pub(super) fn write(around: (&str, &str), bodies: &[Cow<'_, [u8]>], pagination: &Value, errors_null: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(bodies.iter().map(|record| record.len() + 1).sum::<usize>() + 512);
    body.extend_from_slice(br#"{"data":"#);
    body.extend_from_slice(around.0.as_bytes());
    for (index, record) in bodies.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(record);
    }
    body.extend_from_slice(around.1.as_bytes());
    if errors_null {
        body.extend_from_slice(br#","errors":null"#);
    }
    body.extend_from_slice(format!(r#","pagination":{pagination}}}"#).as_bytes());
    body
}

fn indexed(column: &Column) -> Option<Indexed> {
    match column {
        Column::Id => Some(Indexed::Id),
        Column::Created => Some(Indexed::Created),
        Column::Updated => Some(Indexed::Updated),
        Column::Time(_) | Column::Text(_) => None,
    }
}

/// The value of a column without an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SortValue {
    Missing,
    Number(i64),
    Text(String),
}

impl SortValue {
    fn of(column: &Column, row: &Row) -> Self {
        match column {
            Column::Time(path) | Column::Text(path) => {
                at(&parse(row), path).map_or(Self::Missing, |value| Self::from_cursor(column, value))
            }
            Column::Id | Column::Created | Column::Updated => Self::Missing,
        }
    }

    fn from_cursor(column: &Column, value: &Value) -> Self {
        match value {
            Value::Null => Self::Missing,
            Value::Number(number) => Self::Number(number.as_i64().unwrap_or(i64::MAX)),
            Value::String(text) if matches!(column, Column::Time(_)) => {
                time::parse(text).map_or(Self::Missing, Self::Number)
            }
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Text(other.to_string()),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}
