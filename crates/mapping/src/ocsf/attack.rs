//! `attacks[]`: MITRE ATT&CK tactics and techniques.

use s1_forwarder_record::Escaped;

use crate::common::attack::{Attack, Technique, TechniqueId, tactic, technique_name};
use crate::common::missing::is_missing_word;
use crate::common::text_set::TextSet;
use crate::json::Json;
use crate::names::DistinctNames;
use crate::streams::threat::{Indication, ThreatParts};
use crate::streams::unified_alert::UnifiedParts;

/// Buffers that are reused for the next record.
#[derive(Debug, Clone, Default)]
pub(super) struct AttackBuffers {
    json: Vec<u8>,
    /// Pairs of tactic and technique.
    seen: TextSet,
    key: String,
}

/// The attacks of a record: a list that two attributes repeat.
pub(super) struct Attacks<'s>(&'s mut AttackBuffers);

/// Returns the text, unless it is a placeholder.
fn present(text: Option<Escaped<'_>>) -> Option<&str> {
    text.filter(|text| !is_missing_word(*text)).map(Escaped::raw)
}

impl<'s> Attacks<'s> {
    fn new(attack_buffers: &'s mut AttackBuffers) -> Self {
        attack_buffers.json.clear();
        attack_buffers.seen.clear();
        Self(attack_buffers)
    }

    pub fn of_threat(attack_buffers: &'s mut AttackBuffers, threat: &ThreatParts<'_>) -> Self {
        let mut attacks = Self::new(attack_buffers);
        let mut tactic = None;
        let mut has_technique = false;
        threat.each_indication(|indication| match indication {
            Indication::Description(_) => {}
            Indication::Tactic(name) => tactic = name,
            Indication::Technique(attack) => has_technique |= attacks.add_technique(attack),
            Indication::TacticEnd => {
                if !std::mem::take(&mut has_technique) {
                    attacks.add(Attack { tactic, ..Attack::default() });
                }
                tactic = None;
            }
        });
        attacks
    }

    pub fn of_alert(attack_buffers: &'s mut AttackBuffers, alert: &UnifiedParts<'_>) -> Self {
        let mut attacks = Self::new(attack_buffers);
        for attack in alert.attacks() {
            if !attacks.add_technique(attack) {
                attacks.add(Attack { technique: None, technique_name: None, ..attack });
            }
        }
        attacks
    }

    pub fn is_empty(&self) -> bool {
        self.0.json.is_empty()
    }

    pub fn write(&self, json: &mut Json<'_>) {
        let list = json.open_list("attacks");
        json.raw(&self.0.json);
        json.close(list);
    }

    /// Adds an attack if it has a technique. The id of a tactic in place of a technique is added as a separate attack.
    /// Returns whether there is a technique.
    fn add_technique(&mut self, attack: Attack<'_>) -> bool {
        match attack.named() {
            Some(Technique::Known(id)) => {
                let id = id.sub.unwrap_or(id.technique);
                let technique_name = attack.name();
                self.add(Attack { technique: Some(Escaped::plain(id)), technique_name, ..attack });
            }
            Some(Technique::Named(name)) => self.add(Attack { technique: Some(name), ..attack }),
            Some(Technique::Tactic(id)) => {
                self.add(Attack { tactic_id: Some(id), version: attack.version, ..Attack::default() });
                return false;
            }
            None => return false,
        }
        true
    }

    /// Adds an attack, unless the list already has its tactic and technique, or it has neither.
    fn add(&mut self, attack: Attack<'_>) {
        let name = present(attack.tactic);
        let id = present(attack.tactic_id);
        let technique = present(attack.technique).or(present(attack.technique_name));
        if name.or(id).is_none() && technique.is_none() {
            return;
        }
        let known = attack.tactic.and_then(tactic).or_else(|| attack.tactic_id.and_then(tactic));
        let name = known.map(|(_, name)| name).or(name);
        self.0.key.clear();
        for part in [name.or(id).unwrap_or_default(), "\n", technique.unwrap_or_default()] {
            self.0.key.push_str(part);
        }
        if !self.0.seen.add(Escaped::plain(&self.0.key)) {
            return;
        }
        let mut names = DistinctNames::default();
        if !self.0.json.is_empty() {
            self.0.json.push(b',');
        }
        // The comma and the brace are written here, because `Json` begins inside the object.
        self.0.json.push(b'{');
        let mut json = Json::new(&mut self.0.json, &mut names);
        if name.or(id).is_some() {
            let open = json.open("tactic");
            if let Some(name) = name {
                json.word("name", name);
            }
            if let Some(id) = known.map(|(id, _)| id).or(id) {
                json.word("uid", id);
            }
            json.close(open);
        }
        if let Some(technique) = technique {
            write_technique(&mut json, Escaped::plain(technique), present(attack.technique_name), present(attack.link));
        }
        if let Some(version) = present(attack.version) {
            json.word("version", version);
        }
        json.raw(b"}");
    }
}

fn write_technique(json: &mut Json<'_>, text: Escaped<'_>, name: Option<&str>, link: Option<&str>) {
    let Some(ids) = TechniqueId::of(text) else {
        let open = json.open("technique");
        json.escaped("name", text);
        if let Some(link) = link {
            json.word("src_url", link);
        }
        return json.close(open);
    };
    let mut write = |object: &str, id: &str, own_name: Option<&str>, link: Option<&str>| {
        let open = json.open(object);
        json.word("uid", id);
        if let Some(name) = technique_name(id).or(own_name) {
            json.word("name", name);
        }
        if let Some(link) = link {
            json.word("src_url", link);
        }
        json.close(open);
    };
    match ids.sub {
        Some(sub) => {
            write("technique", ids.technique, None, None);
            write("sub_technique", sub, name, link);
        }
        None => write("technique", ids.technique, name, link),
    }
}
