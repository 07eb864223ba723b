//! Filters of unified alerts: fields by their own names, one comparator each.

use serde_json::{Map, Value};

use crate::emulator::query::{at, parse};
use crate::emulator::store::Row;
use crate::emulator::time;

/// Fields that can be filtered by, and where the record has them.
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

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 200 with an error: the field is unknown.
    Field(String),
    /// 400: a variable is of the wrong type.
    Shape(String),
}

/// One filter.
#[derive(Debug)]
pub(super) struct Filter {
    path: &'static str,
    negated: bool,
    test: Test,
}

#[derive(Debug)]
enum Test {
    /// Both ends included unless said otherwise, in milliseconds.
    Times { start: Option<(i64, bool)>, end: Option<(i64, bool)> },
    /// Case counts; null means not set.
    AnyOf(Vec<Value>),
    /// Case does not count.
    Match(String, Vec<String>),
    /// Something is there, or not.
    Exists(bool),
}

/// The fields that can be sorted by.
pub(super) fn sort_path(field: &str) -> Result<&'static str, Refusal> {
    path(field)
}

fn path(field: &str) -> Result<&'static str, Refusal> {
    let known = FIELDS.iter().find(|(known, _)| *known == field);
    known
        .map(|(_, path)| *path)
        .ok_or_else(|| Refusal::Field(format!("Field {field} does not exist or not supported for FILTER API call")))
}

impl Filter {
    /// Reads the argument `filters`.
    pub fn read_all(filters: &Value) -> Result<Vec<Self>, Refusal> {
        match filters {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.iter().map(Self::read).collect(),
            one => Ok(vec![Self::read(one)?]),
        }
    }

    fn read(filter: &Value) -> Result<Self, Refusal> {
        let shape = |what: &str| Refusal::Shape(format!("Variable 'filters' has an invalid value: {what}"));
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
        let test = match name.as_str() {
            "dateTimeRange" => Test::Times { start: bound(entries, "start")?, end: bound(entries, "end")? },
            "stringEqual" | "intEqual" | "longEqual" => {
                Test::AnyOf(vec![entries.get("value").cloned().unwrap_or_default()])
            }
            "stringIn" | "intIn" | "longIn" => {
                let values =
                    entries.get("values").and_then(Value::as_array).ok_or_else(|| shape("values is no list"))?;
                Test::AnyOf(values.clone())
            }
            "booleanEqual" => Test::Exists(entries.get("value").and_then(Value::as_bool).unwrap_or(false)),
            "match" => {
                let operator = entries.get("operator").and_then(Value::as_str).unwrap_or("contains").to_owned();
                let values = entries.get("values").and_then(Value::as_array).into_iter().flatten();
                Test::Match(operator, values.filter_map(Value::as_str).map(str::to_lowercase).collect())
            }
            other => return Err(shape(&format!("field '{other}' is not defined for input type 'FilterInput'"))),
        };
        Ok(Self { path, negated, test })
    }

    /// Whether a record fulfils all of them; it is read only where it must be.
    pub fn all_hold(filters: &[Self], row: &Row) -> bool {
        let tree = std::cell::OnceCell::new();
        filters.iter().all(|filter| filter.holds(row, || tree.get_or_init(|| parse(row))))
    }

    fn holds<'t>(&self, row: &Row, contents: impl FnOnce() -> &'t Value) -> bool {
        let found = match (&self.test, self.path) {
            (Test::Times { start, end }, "updatedAt") => !row.undated && within(row.updated, *start, *end),
            (Test::Times { start, end }, "detectedAt") => within(row.created, *start, *end),
            (test, path) => test.holds(&values(contents(), path)),
        };
        found != self.negated
    }
}

impl Test {
    fn holds(&self, values: &[Value]) -> bool {
        match self {
            Self::Times { start, end } => {
                let moments = values.iter().filter_map(|value| value.as_str().and_then(time::parse));
                moments.into_iter().any(|moment| within(moment, *start, *end))
            }
            Self::AnyOf(wanted) if values.is_empty() => wanted.contains(&Value::Null),
            Self::AnyOf(wanted) => values.iter().any(|value| wanted.contains(value)),
            Self::Exists(wanted) => {
                let there = values.iter().any(|value| *value != Value::Bool(false) && value.as_str() != Some(""));
                there == *wanted
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

/// What stands at a path; lists on the way are walked.
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

/// Compared in milliseconds, as they are shown.
fn within(moment: i64, start: Option<(i64, bool)>, end: Option<(i64, bool)>) -> bool {
    let moment = moment.div_euclid(1_000);
    start.is_none_or(|(start, included)| start < moment || included && start == moment)
        && end.is_none_or(|(end, included)| moment < end || included && moment == end)
}

fn bound(range: &Map<String, Value>, name: &str) -> Result<Option<(i64, bool)>, Refusal> {
    let included = range.get(&format!("{name}Inclusive")).and_then(Value::as_bool).unwrap_or(true);
    match range.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(millis) => Ok(Some((millis, included))),
            None => Err(Refusal::Shape(format!(
                "Variable 'filters' has an invalid value: {name}: Expected a value that can be converted to type 'Long' but it was {value}"
            ))),
        },
    }
}
