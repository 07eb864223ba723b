//! `threat.tactic`, `threat.technique` and their kin from the indicators of a threat.

use super::classification::normal;
use super::event::Event;
use crate::record::{Escaped, Value};

/// Writes the tactics and techniques into the `threat` object that is open. Lists run in parallel: the reference of a
/// technique is the link of its first mention.
pub(super) fn write(event: &mut Event<'_>, indicators: Value<'_>) {
    let mut tactics = List::default();
    let mut techniques = List::default();
    let mut subtechniques = List::default();
    let mut names = List::default();
    for tactic in indicators.elements().flat_map(|indicator| indicator.get("tactics").elements()) {
        if let Some(name) = tactic.get("name").escaped() {
            tactics.add(name, None);
        }
        for technique in tactic.get("techniques").elements() {
            let Some(name) = technique.get("name").escaped() else { continue };
            let link = technique.get("link").escaped();
            match technique_ids(name) {
                Some((parent, None)) => techniques.add(parent, link),
                Some((parent, Some(full))) => {
                    techniques.add(parent, link);
                    subtechniques.add(full, link);
                }
                None => names.add(name, link),
            }
        }
    }
    if tactics.0.is_empty() && techniques.0.is_empty() && names.0.is_empty() {
        return;
    }
    event.json.word("framework", "MITRE ATT&CK");
    let open = event.open("tactic");
    list(event, "name", tactics.texts());
    list(event, "id", tactics.texts().filter_map(|name| tactic_id(&normal(&name.decode()))).map(Escaped::plain));
    event.close(open);
    let open = event.open("technique");
    list(event, "id", techniques.texts());
    list(event, "name", names.texts());
    list(event, "reference", techniques.links().chain(names.links()));
    let sub = event.open("subtechnique");
    list(event, "id", subtechniques.texts());
    list(event, "reference", subtechniques.links());
    event.close(sub);
    event.close(open);
}

/// Texts without doubles, each with the link of its first mention.
#[derive(Default)]
struct List<'a>(Vec<(Escaped<'a>, Option<Escaped<'a>>)>);

impl<'a> List<'a> {
    fn add(&mut self, text: Escaped<'a>, link: Option<Escaped<'a>>) {
        if !self.0.iter().any(|(known, _)| *known == text) {
            self.0.push((text, link));
        }
    }

    fn texts(&self) -> impl Iterator<Item = Escaped<'a>> {
        self.0.iter().map(|(text, _)| *text)
    }

    fn links(&self) -> impl Iterator<Item = Escaped<'a>> {
        self.0.iter().filter_map(|(_, link)| *link)
    }
}

fn list<'a>(event: &mut Event<'_>, name: &str, texts: impl Iterator<Item = Escaped<'a>>) {
    let list = event.json.open_list(name);
    let mut seen = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
            event.json.element(text);
        }
    }
    event.json.close(list);
}

/// `T1059` and `T1059.001`: the technique's id, and the whole of a sub-technique's.
fn technique_ids(name: Escaped<'_>) -> Option<(Escaped<'_>, Option<Escaped<'_>>)> {
    let text = name.trim().raw();
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (parent, sub) = text.split_once('.').map_or((text, None), |(parent, sub)| (parent, Some(sub)));
    if !parent.starts_with('T') || !digits(&parent[1..], 4) || !sub.is_none_or(|sub| digits(sub, 3)) {
        return None;
    }
    Some((Escaped::plain(parent), sub.map(|_| Escaped::plain(text))))
}

/// Also the two that ATT&CK 19 made of defence evasion.
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
