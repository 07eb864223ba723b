//! `threat.tactic.*`, `threat.technique.*` and `event.reason`, from the indicators of a threat or an alert.

use s1_forwarder_record::Escaped;

use crate::common::attack::{self, Attack, Technique, is_tactic_id};
use crate::common::missing::is_missing_word;
use crate::common::text_set::TextSet;
use crate::json::Json;
use crate::streams::threat::{Indication, ThreatParts};
use crate::streams::unified_alert::UnifiedParts;

/// Buffers that are reused for the next record.
#[derive(Debug, Clone, Default)]
pub(super) struct AttackBuffers {
    descriptions: TextSet,
    tactic_ids: TextSet,
    tactics: TextSet,
    /// Names of tactics without an id.
    other_tactics: TextSet,
    ids: TextSet,
    names: TextSet,
    /// Names of techniques without an id.
    other_names: TextSet,
    sub_ids: TextSet,
    sub_names: TextSet,
}

/// Tactics and techniques of the indicators of a record, without duplicates, in order of appearance. The lists of ids,
/// names and references of an event match by position; entries without an id come last.
pub(super) struct Techniques<'s>(&'s mut AttackBuffers);

impl<'s> Techniques<'s> {
    fn new(attack_buffers: &'s mut AttackBuffers) -> Self {
        let AttackBuffers {
            descriptions,
            tactic_ids,
            tactics,
            other_tactics,
            ids,
            names,
            other_names,
            sub_ids,
            sub_names,
        } = attack_buffers;
        for set in [descriptions, tactic_ids, tactics, other_tactics, ids, names, other_names, sub_ids, sub_names] {
            set.clear();
        }
        Self(attack_buffers)
    }

    pub fn of_threat(attack_buffers: &'s mut AttackBuffers, threat: &ThreatParts<'_>) -> Self {
        let mut techniques = Self::new(attack_buffers);
        threat.each_indication(|indication| match indication {
            Indication::Description(text) => techniques.0.descriptions.add_value(text),
            Indication::Tactic(name) => techniques.add_tactic(name, None),
            Indication::Technique(attack) => techniques.add(&attack),
            Indication::TacticEnd => {}
        });
        techniques
    }

    pub fn of_alert(attack_buffers: &'s mut AttackBuffers, alert: &UnifiedParts<'_>) -> Self {
        let mut techniques = Self::new(attack_buffers);
        for attack in alert.attacks() {
            techniques.add_tactic(attack.tactic, attack.tactic_id);
            techniques.add(&attack);
        }
        techniques
    }

    /// Writes the descriptions as `event.reason`.
    pub fn write_reason(&self, json: &mut Json<'_>) {
        let mut descriptions = self.0.descriptions.iter();
        let Some(first) = descriptions.next() else { return };
        json.name("reason");
        json.raw(b"\"");
        json.raw(first.raw().as_bytes());
        for text in descriptions {
            json.raw(b"; ");
            json.raw(text.raw().as_bytes());
        }
        json.raw(b"\"");
    }

    /// Writes the tactics and techniques that were read into the open `threat` object.
    pub fn write(&self, json: &mut Json<'_>) {
        let sets = [&self.0.tactic_ids, &self.0.other_tactics, &self.0.ids, &self.0.other_names];
        if sets.into_iter().all(TextSet::is_empty) {
            return;
        }
        json.word("framework", "MITRE ATT&CK");
        let open = json.open("tactic");
        write_ids(json, &self.0.tactic_ids);
        write_names(json, &self.0.tactics, &self.0.other_tactics);
        json.close(open);
        let open = json.open("technique");
        write_ids(json, &self.0.ids);
        write_names(json, &self.0.names, &self.0.other_names);
        let sub = json.open("subtechnique");
        write_ids(json, &self.0.sub_ids);
        self.0.sub_names.write(json, "name");
        json.close(sub);
        json.close(open);
    }

    /// Adds a tactic with ATT&CK's name and id. The id as received is used for a tactic that ATT&CK added later.
    fn add_tactic(&mut self, name: Option<Escaped<'_>>, id: Option<Escaped<'_>>) {
        let [name, id] = [name, id].map(|text| text.filter(|text| !is_missing_word(*text)));
        let Some(name) = name.or(id) else { return };
        match attack::tactic(name).or_else(|| id.and_then(attack::tactic)) {
            Some((known, _)) if !self.0.tactic_ids.add(Escaped::plain(known)) => {}
            Some((_, known)) => self.0.tactics.insert(Escaped::plain(known)),
            None => match id.filter(|id| is_tactic_id(id.raw())) {
                Some(id) if self.0.tactic_ids.add(id) => self.0.tactics.insert(name),
                Some(_) => {}
                None => self.0.other_tactics.insert(name),
            },
        }
    }

    /// Adds a technique by its id, which threats have in place of a name. The id may belong to a tactic.
    fn add(&mut self, attack: &Attack<'_>) {
        let ids = match attack.named() {
            Some(Technique::Known(ids)) => ids,
            Some(Technique::Tactic(id)) => return self.add_tactic(Some(id), Some(id)),
            Some(Technique::Named(text)) => {
                return self.0.other_names.insert(attack.technique_name.unwrap_or(text));
            }
            None => return,
        };
        // With a sub-technique, the received name is the sub-technique's name.
        let own_name = || attack.name().filter(|_| ids.sub.is_none());
        let known = |id| attack::technique_name(id).map(Escaped::plain);
        let id = Escaped::plain(ids.technique);
        let sub = ids.sub.map(Escaped::plain);
        if self.0.ids.add(id) && !self.0.names.add(known(ids.technique).or_else(own_name).unwrap_or(id)) {
            self.0.names.insert(id);
        }
        let Some(sub) = sub.filter(|sub| self.0.sub_ids.add(*sub)) else { return };
        let name = known(sub.raw()).or_else(|| attack.name()).unwrap_or(sub);
        // Sub-techniques of different techniques may have the same name.
        if !self.0.sub_names.add(name) {
            let own = known(ids.technique).unwrap_or(id);
            self.0.sub_names.insert(Escaped::plain(&format!("{}: {}", own.raw(), name.raw())));
        }
    }
}

fn write_ids(json: &mut Json<'_>, ids: &TextSet) {
    ids.write(json, "id");
    let list = json.open_list("reference");
    ids.iter().for_each(|id| attack::write_reference(json, id.raw()));
    json.close(list);
}

fn write_names(json: &mut Json<'_>, names: &TextSet, others: &TextSet) {
    let list = json.open_list("name");
    for name in names.iter().chain(others.iter().filter(|other| !names.contains(*other))) {
        json.element(name);
    }
    json.close(list);
}
