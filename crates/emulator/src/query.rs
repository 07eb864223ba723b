//! Reads and validates the parameters of list requests.

use std::collections::HashSet;

use serde_json::Value;

use super::cursor::Cursor;
use super::http::Answer;
use super::kind::{Column, Filter, IdColumn, Kind, at};
use super::quirks::{Quirks, UnknownParameters};
use super::store::Row;
use super::time;

/// The smallest id that filters accept.
const MIN_ID: u64 = 100_000_000_000_000_000;

/// A valid list request.
#[derive(Debug)]
pub(super) struct Query {
    pub limit: usize,
    pub skip: usize,
    pub cursor: Option<Cursor>,
    pub count_only: bool,
    pub skip_count: bool,
    pub sort: Column,
    pub sort_name: String,
    pub descending: bool,
    pub conditions: Conditions,
}

/// The filters of a request.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Inclusive bounds in microseconds.
    pub times: Vec<(Column, i64, i64)>,
    pub ids: Vec<(IdColumn, HashSet<u64>)>,
    pub types: Option<HashSet<u32>>,
    pub texts: Vec<(Filter, Vec<String>)>,
    pub include_hidden: bool,
    pub include_removals: bool,
    pub tenant: bool,
    pub unpaged: bool,
    /// Whether records with `isDecommissioned` false, and true, are returned.
    pub decommissioned: [bool; 2],
}

impl Query {
    /// Reads the parameters of a list request.
    ///
    /// # Errors
    /// If the console does not accept the query, with its answer.
    pub fn read(kind: Kind, query: &str, quirks: &Quirks) -> Result<Self, Box<Answer>> {
        let mut read = Self {
            limit: 10,
            skip: 0,
            cursor: None,
            count_only: false,
            skip_count: false,
            sort: Column::Id,
            sort_name: "id".to_owned(),
            descending: false,
            conditions: Conditions { decommissioned: [true, false], ..Conditions::default() },
        };
        let mut cursor = None;
        let mut unknown = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => read.limit = number(&name, &value, 1, kind.max_limit())?,
                "skip" => read.skip = number(&name, &value, 0, 1000)?,
                "cursor" => cursor = Some(value.into_owned()).filter(|value| !value.is_empty()),
                "countOnly" => read.count_only = boolean(&name, &value)?,
                "skipCount" => read.skip_count = boolean(&name, &value)?,
                "sortOrder" => match &*value {
                    "asc" => read.descending = false,
                    "desc" => read.descending = true,
                    _ => return Err(invalid(&format!("sortOrder: \"{value}\" is not a valid choice."))),
                },
                "sortBy" => {
                    read.sort = kind
                        .sort_column(&value)
                        .ok_or_else(|| invalid(&format!("sortBy: \"{value}\" is not a valid choice.")))?;
                    read.sort_name = value.into_owned();
                }
                _ => {
                    if !read.conditions.add(kind, &name, &value, quirks)? {
                        unknown.push(name.into_owned());
                    }
                }
            }
        }
        if !unknown.is_empty() && quirks.unknown_parameters == UnknownParameters::Refused {
            let names: Vec<String> = unknown.iter().map(|name| format!("'{name}'")).collect();
            return Err(invalid(&format!("dict_values([{}]): Unknown field", names.join(", "))));
        }
        if let Some(text) = cursor {
            if read.skip > 0 {
                return Err(invalid("skip: Cannot be used together with cursor."));
            }
            read.cursor = Some(read.read_cursor(kind, &text).ok_or_else(|| invalid("Invalid cursor value received"))?);
        }
        Ok(read)
    }

    /// Returns the console's name of the sort column.
    pub fn sort_column_name(&self, kind: Kind) -> String {
        format!("{}.{}", kind.table(), self.sort_name)
    }

    /// Reads a cursor. Returns `None` if it cannot be decoded, or belongs to another table or sort order.
    fn read_cursor(&self, kind: Kind, text: &str) -> Option<Cursor> {
        let cursor = Cursor::decode(text)?;
        let matches = cursor.id_column == format!("{}.id", kind.table())
            && cursor.sort_column == self.sort_column_name(kind)
            && cursor.descending == self.descending;
        matches.then_some(cursor)
    }
}

impl Conditions {
    /// Adds a filter parameter. Returns false if the endpoint does not have it.
    fn add(&mut self, kind: Kind, name: &str, value: &str, quirks: &Quirks) -> Result<bool, Box<Answer>> {
        if let Some((field, operator)) = name.rsplit_once("__")
            && let Some(column) = kind.time_column(field, operator)
        {
            let (low, high) = bounds(name, operator, value, quirks)?;
            self.times.push((column, low, high));
            return Ok(true);
        }
        let Some(filter) = kind.filter(name) else { return Ok(false) };
        match filter {
            Filter::Ids(column) => {
                let max =
                    if matches!(column, IdColumn::Account | IdColumn::Site | IdColumn::Group) { 500 } else { 5000 };
                let ids = ids(name, value, max)?;
                if kind.description().special.by_scope && ids.len() != 1 {
                    return Err(invalid(&format!("{name}: Length must be 1.")));
                }
                self.ids.push((column, ids));
            }
            Filter::Types => {
                let types =
                    csv(value).map(|item| item.parse().map_err(|_| invalid(&format!("{name}: Not a valid integer."))));
                self.types = Some(types.collect::<Result<_, _>>()?);
            }
            Filter::AnyOf(_) | Filter::NoneOf(_) => {
                self.texts.push((filter, csv(value).map(str::to_lowercase).collect()));
            }
            Filter::Like(_) => self.texts.push((filter, vec![value.to_lowercase()])),
            Filter::Is(_) => self.texts.push((filter, vec![boolean(name, value)?.to_string()])),
            Filter::Decommissioned => {
                self.decommissioned = [false, false];
                for item in csv(value) {
                    self.decommissioned[usize::from(boolean(name, item)?)] = true;
                }
            }
            Filter::IncludeHidden => self.include_hidden = boolean(name, value)?,
            Filter::IncludeRemovals => self.include_removals = boolean(name, value)?,
            Filter::Tenant => self.tenant = boolean(name, value)?,
            Filter::Unpaged => self.unpaged = boolean(name, value)?,
            Filter::Ignored => {}
        }
        Ok(true)
    }

    /// Returns whether a record matches all filters, except bounds over `sorted`, which the index has applied already.
    pub fn match_row(&self, kind: Kind, row: &Row, sorted: &Column) -> bool {
        if (row.hidden && !self.include_hidden)
            || (row.removed && !self.include_removals)
            || !self.decommissioned[usize::from(row.decommissioned)]
            || self.types.as_ref().is_some_and(|types| !types.contains(&row.activity_type))
            || self.ids.iter().any(|(column, ids)| !ids.contains(&row.id_of(*column)) && !has_all_scopes(kind, *column))
        {
            return false;
        }
        let parsed = std::cell::OnceCell::new();
        let contents = || parsed.get_or_init(|| parse(row));
        self.times.iter().filter(|(column, ..)| column != sorted).all(|(column, low, high)| {
            let time = match column {
                Column::Id => None,
                Column::Created => Some(row.created),
                Column::Updated => Some(row.updated),
                Column::Time(path) | Column::Text(path) => {
                    at(contents(), path).and_then(Value::as_str).and_then(time::parse)
                }
            };
            time.is_some_and(|time| *low <= time && time <= *high)
        }) && self.texts.iter().all(|(filter, values)| text_matches(*filter, values, contents()))
    }

    /// Returns whether the only filters are bounds over the indexed column `sorted`, so that counting is cheap.
    pub fn only_bounds_over(&self, sorted: &Column) -> bool {
        self.decommissioned[0]
            && self.ids.is_empty()
            && self.types.is_none()
            && self.texts.is_empty()
            && self.times.iter().all(|(column, ..)| column == sorted)
    }
}

fn text_matches(filter: Filter, values: &[String], contents: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.to_lowercase(),
        // Engines are objects with a key and a title.
        Value::Object(keys) => keys.get("key").and_then(Value::as_str).unwrap_or_default().to_lowercase(),
        other => other.to_string(),
    };
    let found = |path: &str| match at(contents, path) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(one) => vec![text(one)],
    };
    match filter {
        Filter::AnyOf(path) | Filter::Is(path) => found(path).iter().any(|text| values.contains(text)),
        Filter::NoneOf(path) => !found(path).iter().any(|text| values.contains(text)),
        Filter::Like(path) => found(path).iter().any(|text| values.iter().all(|value| text.contains(value))),
        _ => true,
    }
}

/// Returns whether records of this kind pass all filters by this column. A scope filter does not exclude records of the
/// tenant.
fn has_all_scopes(kind: Kind, column: IdColumn) -> bool {
    kind.description().special.of_tenant && matches!(column, IdColumn::Account | IdColumn::Site | IdColumn::Group)
}

/// Returns the parsed record; null if it is invalid.
pub(super) fn parse(row: &Row) -> Value {
    serde_json::from_slice(&row.body).unwrap_or(Value::Null)
}

fn invalid(detail: &str) -> Box<Answer> {
    Box::new(Answer::invalid(detail))
}

fn csv(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn number(name: &str, value: &str, low: usize, high: usize) -> Result<usize, Box<Answer>> {
    let number: i64 = value.parse().map_err(|_| invalid(&format!("{name}: Not a valid integer.")))?;
    match usize::try_from(number) {
        Ok(number) if number > high => Err(invalid(&format!("{name}: Must be less than or equal to {high}."))),
        Ok(number) if number >= low => Ok(number),
        _ => Err(invalid(&format!("{name}: Must be greater than or equal to {low}."))),
    }
}

fn boolean(name: &str, value: &str) -> Result<bool, Box<Answer>> {
    match value {
        "true" | "True" => Ok(true),
        "false" | "False" => Ok(false),
        _ => Err(invalid(&format!("{name}: Not a valid boolean."))),
    }
}

fn ids(name: &str, value: &str, max: usize) -> Result<HashSet<u64>, Box<Answer>> {
    let mut ids = HashSet::new();
    for (index, item) in csv(value).enumerate() {
        let id: u64 = item.parse().map_err(|_| invalid(&format!("{name}: {index}: Not a valid integer.")))?;
        if id < MIN_ID {
            return Err(invalid(&format!("{name}: {index}: Must be greater than or equal to {MIN_ID}.")));
        }
        ids.insert(id);
    }
    if ids.len() > max {
        return Err(invalid(&format!("{name}: Longer than maximum length {max}.")));
    }
    Ok(ids)
}

/// Returns the inclusive bounds of a time filter.
fn bounds(name: &str, operator: &str, value: &str, quirks: &Quirks) -> Result<(i64, i64), Box<Answer>> {
    let read = |text: &str| {
        let time = time::parse_parameter(text).ok_or_else(|| invalid(&format!("{name}: Not a valid datetime.")))?;
        Ok::<_, Box<Answer>>(quirks.rounded_time(time))
    };
    Ok(match operator {
        "gt" => (read(value)?.saturating_add(1), i64::MAX),
        "gte" => (read(value)?, i64::MAX),
        "lt" => (i64::MIN, read(value)?.saturating_sub(1)),
        "lte" => (i64::MIN, read(value)?),
        _ => {
            let (from, to) = value.split_once('-').ok_or_else(|| invalid(&format!("{name}: Not a valid range.")))?;
            (read(from)?, read(to)?)
        }
    })
}
