//! The classification of activity types in ECS and OCSF, compiled into the program: `../data/activity-categories.csv`
//! has the types whose meaning is published. `../data/activity-groups.csv` has the other types of the console's API.

use std::sync::LazyLock;

use super::category::{Category, EventType};
use super::classification::EventOutcome;
use super::severity::Severity;

/// A row of the table.
#[derive(Debug, Clone)]
pub struct ActivityType {
    pub id: u32,
    /// Whether the activity reports a detection.
    pub is_alert: bool,
    pub categories: Vec<Category>,
    pub types: Vec<EventType>,
    pub action: &'static str,
    /// `None` if the type has no outcome.
    pub outcome: Option<EventOutcome>,
    pub severity: Severity,
    /// For a type that switches something on or off: the severity of switching it off.
    pub off_severity: Option<Severity>,
    /// `None` if only the record names the object.
    pub object: Option<Object>,
    pub ocsf: OcsfType,
}

/// The kind of object that an activity is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Agent,
    CisScan,
    CloudAccount,
    Console,
    Credential,
    /// An entry of a list of exclusions or of a blocklist.
    Exclusion,
    FullDiskScan,
    Group,
    InventoryScan,
    Location,
    MarketplaceApp,
    OnDemandScan,
    Organization,
    Package,
    Password,
    Policy,
    Role,
    Rule,
    Script,
    Site,
    Tag,
    Token,
    User,
}

impl Object {
    /// Reads a cell of the table.
    fn of_cell(cell: &str) -> Option<Self> {
        let object = match cell {
            "agent" => Self::Agent,
            "CIS scan" => Self::CisScan,
            "cloud account" => Self::CloudAccount,
            "console" => Self::Console,
            "credential" => Self::Credential,
            "exclusion" => Self::Exclusion,
            "full disk scan" => Self::FullDiskScan,
            "group" => Self::Group,
            "inventory scan" => Self::InventoryScan,
            "location" => Self::Location,
            "marketplace app" => Self::MarketplaceApp,
            "on-demand scan" => Self::OnDemandScan,
            "organization" => Self::Organization,
            "package" => Self::Package,
            "password" => Self::Password,
            "policy" => Self::Policy,
            "role" => Self::Role,
            "rule" => Self::Rule,
            "script" => Self::Script,
            "site" => Self::Site,
            "tag" => Self::Tag,
            "token" => Self::Token,
            "user" => Self::User,
            _ => return None,
        };
        Some(object)
    }
}

/// The class of a type in OCSF.
#[derive(Debug, Clone, Copy, Default)]
pub struct OcsfType {
    pub class: u32,
    pub activity: u8,
    /// `None` if the type has no status.
    pub status: Option<u16>,
    pub disposition: Option<u16>,
}

pub fn find(id: u32) -> Option<&'static ActivityType> {
    static TYPES: LazyLock<Vec<ActivityType>> = LazyLock::new(types);
    TYPES.binary_search_by_key(&id, |row| row.id).ok().map(|index| &TYPES[index])
}

/// Returns the action of a type whose number, and perhaps group, is all that is published. The subject of such an
/// activity would be a guess.
pub fn unpublished_action(id: u32) -> Option<&'static str> {
    static ACTIONS: LazyLock<Vec<(u32, &'static str)>> = LazyLock::new(unpublished_actions);
    ACTIONS.binary_search_by_key(&id, |row| row.0).ok().map(|index| ACTIONS[index].1)
}

const TABLE: &str = include_str!("../data/activity-categories.csv");

fn types() -> Vec<ActivityType> {
    rows(TABLE, |cell| ActivityType {
        id: 0,
        is_alert: cell("ecs_event_kind") == "alert",
        categories: words(cell("ecs_event_category")).filter_map(Category::of_word).collect(),
        types: words(cell("ecs_event_type")).filter_map(EventType::of_word).collect(),
        action: cell("ecs_event_action"),
        outcome: EventOutcome::of_cell(cell("ecs_event_outcome")),
        severity: Severity::of_id(cell("severity_id").parse().unwrap_or(0)),
        off_severity: cell("off_severity_id").parse().ok().map(Severity::of_id),
        object: Object::of_cell(cell("object")),
        ocsf: ocsf(cell),
    })
}

fn unpublished_actions() -> Vec<(u32, &'static str)> {
    let lines = include_str!("../data/activity-groups.csv").lines();
    let mut actions: Vec<(u32, &str)> = lines
        .filter_map(|line| line.split_once(','))
        .filter_map(|(id, action)| Some((id.parse().ok()?, action)))
        .collect();
    actions.sort_unstable();
    actions
}

fn ocsf(cell: &dyn Fn(&str) -> &'static str) -> OcsfType {
    OcsfType {
        class: cell("ocsf_class_uid").parse().unwrap_or_default(),
        activity: cell("ocsf_activity_id").parse().unwrap_or_default(),
        status: cell("ocsf_status_id").parse().ok(),
        disposition: cell("ocsf_disposition_id").parse().ok(),
    }
}

fn rows(table: &'static str, read: impl Fn(&dyn Fn(&str) -> &'static str) -> ActivityType) -> Vec<ActivityType> {
    let mut lines = table.lines().map(cells);
    let names = lines.next().unwrap_or_default();
    let mut rows: Vec<ActivityType> = lines
        .filter_map(|cells| {
            let cell = |name: &str| {
                names.iter().position(|known| *known == name).and_then(|index| cells.get(index)).copied().unwrap_or("")
            };
            let id = cell("activity_type_id").parse().ok()?;
            Some(ActivityType { id, ..read(&cell) })
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    rows
}

fn words(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('|').filter(|word| !word.is_empty())
}

/// Returns the cells of a CSV line; a cell in quotes may contain commas.
fn cells(line: &'static str) -> Vec<&'static str> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let (cell, remaining) = match rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some((cell, remaining)) => (cell, remaining.strip_prefix(',')),
            None => match rest.split_once(',') {
                Some((cell, remaining)) => (cell, Some(remaining)),
                None => (rest, None),
            },
        };
        cells.push(cell);
        match remaining {
            Some(remaining) => rest = remaining,
            None => return cells,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_complete() {
        let types = types();
        assert_eq!(types.len(), 422);
        for row in &types {
            assert!(!row.categories.is_empty() && !row.types.is_empty() && !row.action.is_empty(), "{row:?}");
        }
        // A word without a variant would be lost.
        rows(TABLE, |cell| {
            let row = find(cell("activity_type_id").parse().unwrap()).unwrap();
            assert_eq!(cell("ecs_event_outcome").is_empty(), row.outcome.is_none(), "{row:?}");
            assert_eq!(cell("ecs_event_kind"), if row.is_alert { "alert" } else { "event" }, "{row:?}");
            assert_eq!(words(cell("ecs_event_type")).count(), row.types.len(), "{row:?}");
            assert_eq!(words(cell("ecs_event_category")).count(), row.categories.len(), "{row:?}");
            assert_eq!(cell("object").is_empty(), row.object.is_none(), "{row:?}");
            row.clone()
        });
        assert!(types.windows(2).all(|pair| pair[0].id < pair[1].id));
        let actions = unpublished_actions();
        assert_eq!(actions.len(), 102);
        for (id, action) in actions {
            assert!(find(id).is_none() && action.ends_with(&format!("-activity-{id}")), "{id} {action}");
        }
    }

    #[test]
    fn rows_are_found_by_number() {
        let login = find(27).unwrap();
        assert_eq!(
            (login.is_alert, login.action, login.outcome),
            (false, "user-logged-in", Some(EventOutcome::Success))
        );
        assert_eq!(
            (&login.categories[..], &login.types[..]),
            (&[Category::Authentication, Category::Session][..], &[EventType::Start][..])
        );
        // The note is in quotes and contains commas.
        let hit = find(3608).unwrap();
        assert_eq!((hit.is_alert, hit.severity), (true, Severity::Medium));
        assert!(find(1234).is_none() && find(u32::MAX).is_none());
    }
}
