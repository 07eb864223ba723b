//! `threat.tactic.*`, `threat.technique.*` and `event.reason`, from the indicators of a threat or an alert.

use super::classification::Word;
use super::related::TextSet;
use crate::record::{Cursor, Escaped, Value};
use crate::transform::json::Json;

/// Tactics and techniques of the indicators, without duplicates, in order of appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Techniques {
    pub descriptions: TextSet,
    tactics: TextSet,
    tactic_ids: TextSet,
    tactic_references: TextSet,
    ids: TextSet,
    /// Names of techniques without an id.
    names: TextSet,
    /// One for each technique: the link of its first occurrence.
    references: TextSet,
    sub_ids: TextSet,
    sub_references: TextSet,
}

impl Techniques {
    /// Reads the indicators of a threat in one pass.
    pub fn read(&mut self, indicators: Value<'_>) {
        self.clear();
        Cursor::new(indicators).each_element(|cursor| {
            cursor.each_entry(|cursor, key| match key {
                "description" => self.descriptions.add_value(cursor.value()),
                "tactics" => cursor.each_element(|cursor| self.read_tactic(cursor)),
                _ => drop(cursor.value()),
            });
        });
    }

    fn clear(&mut self) {
        let Self { descriptions, tactics, tactic_ids, tactic_references, ids, names, references, .. } = self;
        for set in [descriptions, tactics, tactic_ids, tactic_references, ids, names, references] {
            set.clear();
        }
        self.sub_ids.clear();
        self.sub_references.clear();
    }

    /// Reads the indicators of a unified alert, which contain ids and references.
    pub fn read_attacks(&mut self, indicators: Value<'_>) {
        self.clear();
        for attack in indicators.elements().flat_map(|indicator| indicator.get("attacks").elements()) {
            let (tactic, technique) = (attack.get("tactic"), attack.get("technique"));
            self.tactics.add_value(tactic.get("name"));
            self.tactic_ids.add_value(tactic.get("uid"));
            self.tactic_references.add_value(tactic.get("sourceUrl"));
            if let Some(id) = technique.get("uid").escaped() {
                self.add(id, technique.get("sourceUrl").escaped().unwrap_or(Escaped::plain("")));
            }
            self.names.add_value(technique.get("name"));
        }
    }

    /// Writes the tactics and techniques that were read into the open `threat` object.
    pub fn write(&self, json: &mut Json<'_>) {
        if self.tactics.is_empty() && self.ids.is_empty() && self.names.is_empty() {
            return;
        }
        json.word("framework", "MITRE ATT&CK");
        let open = json.open("tactic");
        self.tactics.write(json, "name");
        self.tactic_ids.write(json, "id");
        self.tactic_references.write(json, "reference");
        json.close(open);
        let open = json.open("technique");
        self.ids.write(json, "id");
        self.names.write(json, "name");
        self.references.write(json, "reference");
        let sub = json.open("subtechnique");
        self.sub_ids.write(json, "id");
        self.sub_references.write(json, "reference");
        json.close(sub);
        json.close(open);
    }

    fn read_tactic(&mut self, cursor: &mut Cursor<'_>) {
        cursor.each_entry(|cursor, key| match key {
            "name" => {
                let Some(name) = cursor.value().escaped() else { return };
                self.tactics.add(name);
                if let Some(id) = tactic_id(Word::of(name).as_str()) {
                    self.tactic_ids.add(Escaped::plain(id));
                }
            }
            "techniques" => cursor.each_element(|cursor| {
                let (mut name, mut link) = (None, None);
                cursor.each_entry(|cursor, key| {
                    let value = cursor.value();
                    match key {
                        "name" => name = value.escaped(),
                        "link" => link = value.escaped(),
                        _ => {}
                    }
                });
                if let Some(name) = name {
                    self.add(name, link.unwrap_or(Escaped::plain("")));
                }
            }),
            _ => drop(cursor.value()),
        });
    }

    fn add(&mut self, name: Escaped<'_>, link: Escaped<'_>) {
        let Some((id, sub_id)) = technique_ids(name) else {
            if self.names.add(name) {
                self.references.add(link);
            }
            return;
        };
        if self.ids.add(id) {
            self.references.add(link);
        }
        if sub_id.is_some_and(|sub_id| self.sub_ids.add(sub_id)) {
            self.sub_references.add(link);
        }
    }
}

/// The id of a technique (`T1059`), and the full id of a sub-technique (`T1059.001`).
fn technique_ids(name: Escaped<'_>) -> Option<(Escaped<'_>, Option<Escaped<'_>>)> {
    let text = name.trim().raw();
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (parent, sub) = text.split_once('.').map_or((text, None), |(parent, sub)| (parent, Some(sub)));
    if !parent.starts_with('T') || !digits(&parent[1..], 4) || !sub.is_none_or(|sub| digits(sub, 3)) {
        return None;
    }
    Some((Escaped::plain(parent), sub.map(|_| Escaped::plain(text))))
}

/// Includes the two tactics into which ATT&CK 19 split defense evasion.
fn tactic_id(name: &str) -> Option<&'static str> {
    Some(match name {
        "reconnaissance" => "TA0043",
        "resource_development" => "TA0042",
        "initial_access" => "TA0001",
        "execution" => "TA0002",
        "persistence" => "TA0003",
        "privilege_escalation" => "TA0004",
        "defense_evasion" | "defence_evasion" | "stealth" => "TA0005",
        "defense_impairment" | "defence_impairment" => "TA0112",
        "credential_access" => "TA0006",
        "discovery" => "TA0007",
        "lateral_movement" => "TA0008",
        "collection" => "TA0009",
        "exfiltration" => "TA0010",
        "command_and_control" => "TA0011",
        "impact" => "TA0040",
        _ => return None,
    })
}
