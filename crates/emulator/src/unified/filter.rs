//! Filters of unified alerts. Each has a field and one comparator.

use serde_json::{Map, Value};

use crate::kind::at;
use crate::query::parse;
use crate::store::Row;
use crate::time;

/// Names of the fields in filters, and their paths in the record.
const FIELDS: [(&str, &str); 32] = [
    ("id", "id"),
    ("externalId", "externalId"),
    ("storylineId", "storylineId"),
    ("detectedAt", "detectedAt"),
    ("createdAt", "createdAt"),
    ("updatedAt", "updatedAt"),
    ("firstSeenAt", "firstSeenAt"),
    ("lastSeenAt", "lastSeenAt"),
    ("alertName", "name"),
    ("severity", "severity"),
    ("status", "status"),
    ("analystVerdict", "analystVerdict"),
    ("confidenceLevel", "confidenceLevel"),
    ("classification", "classification"),
    ("result", "result"),
    ("detectionProduct", "detectionSource.product"),
    ("detectionVendor", "detectionSource.vendor"),
    ("analyticsCategory", "analytics.category"),
    ("analyticsName", "analytics.name"),
    ("analyticsType", "analytics.typeValue"),
    ("assetName", "assets.name"),
    ("assetAgentUuid", "assets.agentUuid"),
    ("assetOsType", "assets.osType"),
    ("alertNoteExists", "noteExists"),
    ("ticketIdExists", "ticketId"),
    ("incidentExists", "incident.id"),
    ("labels", "labels"),
    ("dataSources", "dataSources"),
    ("fileSha1", "process.file.sha1"),
    ("fileSha256", "process.file.sha256"),
    ("mitreTactics", "mitreTactics"),
    ("mitreTechniques", "mitreTechniques"),
];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FilterError {
    /// Answered with 200 and an error, for example an unknown field.
    Rejected(String),
    /// Answered with 400: a variable has the wrong type.
    InvalidVariable(String),
}

#[derive(Debug)]
pub(super) struct Filter {
    path: &'static str,
    negated: bool,
    comparator: Comparator,
}

#[derive(Debug)]
enum Comparator {
    /// Bounds in milliseconds, and whether they are included.
    Times { start: Option<(i64, bool)>, end: Option<(i64, bool)> },
    /// Case-sensitive; null matches missing values.
    AnyOf(Vec<Value>),
    /// Operator and values; not case-sensitive.
    Match(String, Vec<String>),
    /// Whether there is a value.
    Exists(bool),
}

/// Returns the path of a sort field.
pub(super) fn sort_path(field: &str) -> Result<&'static str, FilterError> {
    path(field)
}

fn path(field: &str) -> Result<&'static str, FilterError> {
    let known = FIELDS.iter().find(|(known, _)| *known == field);
    known.map(|(_, path)| *path).ok_or_else(|| not_supported(field))
}

fn not_supported(field: &str) -> FilterError {
    FilterError::Rejected(format!("Field {field} does not exist or not supported for FILTER API call"))
}

impl Filter {
    /// Reads the argument `filters` on a console that lacks the `missing` fields.
    ///
    /// # Errors
    /// If a filter is invalid, or names a field that the console does not have.
    pub fn read_all(filters: &Value, missing: &[String]) -> Result<Vec<Self>, FilterError> {
        let named = filters.as_array().map_or(std::slice::from_ref(filters), Vec::as_slice);
        let mut fields = named.iter().filter_map(|filter| filter["fieldId"].as_str());
        if let Some(field) = fields.find(|field| missing.iter().any(|missing| missing == field)) {
            return Err(not_supported(field));
        }
        match filters {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.iter().map(Self::read).collect(),
            one => Ok(vec![Self::read(one)?]),
        }
    }

    fn read(filter: &Value) -> Result<Self, FilterError> {
        let shape =
            |what: &str| FilterError::InvalidVariable(format!("Variable 'filters' has an invalid value: {what}"));
        let entries = filter.as_object().ok_or_else(|| shape("expected an object"))?;
        let field = entries.get("fieldId").and_then(Value::as_str).ok_or_else(|| shape("fieldId is required"))?;
        let negated = entries.get("isNegated").and_then(Value::as_bool).unwrap_or(false);
        let mut comparators = entries
            .iter()
            .filter(|(name, value)| !value.is_null() && !matches!(name.as_str(), "fieldId" | "isNegated"));
        let (Some((name, value)), None) = (comparators.next(), comparators.next()) else {
            return Err(shape("exactly one comparator is required"));
        };
        let entries = value.as_object().ok_or_else(|| shape(&format!("{name} is no object")))?;
        let path = path(field)?;
        let comparator = match name.as_str() {
            "dateTimeRange" => Comparator::Times { start: bound(entries, "start")?, end: bound(entries, "end")? },
            "stringEqual" | "intEqual" | "longEqual" => {
                Comparator::AnyOf(vec![entries.get("value").cloned().unwrap_or_default()])
            }
            "stringIn" | "intIn" | "longIn" => {
                let values =
                    entries.get("values").and_then(Value::as_array).ok_or_else(|| shape("values is no list"))?;
                Comparator::AnyOf(values.clone())
            }
            "booleanEqual" => Comparator::Exists(entries.get("value").and_then(Value::as_bool).unwrap_or(false)),
            "match" => {
                let operator = entries.get("operator").and_then(Value::as_str).unwrap_or("contains").to_owned();
                let values = entries.get("values").and_then(Value::as_array).into_iter().flatten();
                Comparator::Match(operator, values.filter_map(Value::as_str).map(str::to_lowercase).collect())
            }
            other => return Err(shape(&format!("field '{other}' is not defined for input type 'FilterInput'"))),
        };
        Ok(Self { path, negated, comparator })
    }

    /// Returns whether a record matches all filters. Parses its body only if needed.
    pub fn all_match(filters: &[Self], row: &Row) -> bool {
        let tree = std::cell::OnceCell::new();
        filters.iter().all(|filter| filter.matches(row, || tree.get_or_init(|| parse(row))))
    }

    fn matches<'t>(&self, row: &Row, contents: impl FnOnce() -> &'t Value) -> bool {
        let found = match (&self.comparator, self.path) {
            (Comparator::Times { start, end }, "updatedAt") => !row.undated && within(row.updated, *start, *end),
            (Comparator::Times { start, end }, "detectedAt") => within(row.created, *start, *end),
            (comparator, path) => comparator.matches(&values(contents(), path)),
        };
        found != self.negated
    }
}

impl Comparator {
    fn matches(&self, values: &[Value]) -> bool {
        match self {
            Self::Times { start, end } => {
                let times = values.iter().filter_map(|value| value.as_str().and_then(time::parse));
                times.into_iter().any(|time| within(time, *start, *end))
            }
            Self::AnyOf(wanted) if values.is_empty() => wanted.contains(&Value::Null),
            Self::AnyOf(wanted) => values.iter().any(|value| wanted.contains(value)),
            Self::Exists(wanted) => {
                let exists = values.iter().any(|value| *value != Value::Bool(false) && value.as_str() != Some(""));
                exists == *wanted
            }
            Self::Match(operator, wanted) => values.iter().filter_map(Value::as_str).any(|text| {
                let text = text.to_lowercase();
                wanted.iter().any(|wanted| match operator.as_str() {
                    "startsWith" => text.starts_with(wanted),
                    "endsWith" => text.ends_with(wanted),
                    "exactMatch" => text == *wanted,
                    _ => text.contains(wanted),
                })
            }),
        }
    }
}

/// Returns the values at a path, including those in a list on the path.
fn values(contents: &Value, path: &str) -> Vec<Value> {
    if let Some((list, key)) = path.split_once('.')
        && let Some(Value::Array(items)) = contents.get(list)
    {
        return items.iter().filter_map(|item| at(item, key)).filter(|value| !value.is_null()).cloned().collect();
    }
    match at(contents, path) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// Compares milliseconds, the resolution of the timestamps.
fn within(time: i64, start: Option<(i64, bool)>, end: Option<(i64, bool)>) -> bool {
    let time = time.div_euclid(1_000);
    start.is_none_or(|(start, included)| start < time || included && start == time)
        && end.is_none_or(|(end, included)| time < end || included && time == end)
}

fn bound(range: &Map<String, Value>, name: &str) -> Result<Option<(i64, bool)>, FilterError> {
    let included = range.get(&format!("{name}Inclusive")).and_then(Value::as_bool).unwrap_or(true);
    match range.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(millis) => Ok(Some((millis, included))),
            None => Err(FilterError::InvalidVariable(format!(
                "Variable 'filters' has an invalid value: {name}: Expected a value that can be converted to type 'Long' but it was {value}"
            ))),
        },
    }
}
