//! ATT&CK: ids, names and addresses of tactics and techniques. The names are compiled into the program from
//! `../data/attack-techniques.csv`.

use std::sync::LazyLock;

use s1_forwarder_record::Escaped;

use super::missing::is_missing_word;
use super::word::Word;
use super::words::Words;
use crate::json::Json;

/// The id of a technique, and of a sub-technique if the text names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TechniqueId<'a> {
    /// `T1059`
    pub technique: &'a str,
    /// `T1059.001`
    pub sub: Option<&'a str>,
}

impl<'a> TechniqueId<'a> {
    /// Reads an id. An id in another form (`t1059.001`, `T1059/001`) has to be known.
    pub fn of(text: Escaped<'a>) -> Option<Self> {
        let text = text.trim().raw();
        let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        let (technique, number) = match text.split_once(['.', '/']) {
            Some((technique, number)) => (technique, Some(number)),
            None => (text, None),
        };
        let number_of_technique = technique.strip_prefix(['T', 't'])?;
        if !digits(number_of_technique, 4) || !number.is_none_or(|number| digits(number, 3)) {
            return None;
        }
        if text.starts_with('T') && !text.contains('/') {
            return Some(Self { technique, sub: number.map(|_| text) });
        }
        let technique = known(number_of_technique, "")?;
        match number {
            Some(number) => Some(Self { technique, sub: Some(known(number_of_technique, number)?) }),
            None => Some(Self { technique, sub: None }),
        }
    }

    /// Returns the first id in a text such as `T1486 - Data Encrypted for Impact`.
    fn within(text: Escaped<'a>) -> Option<Self> {
        let words = text.raw().split(|character: char| !character.is_ascii_alphanumeric() && character != '.');
        words.map(|word| word.trim_end_matches('.')).find_map(|word| Self::of(Escaped::plain(word)))
    }

    /// Returns the id in the address of a page: `…/techniques/T1059/001/`, formerly `…/wiki/Technique/T1059`.
    fn of_link(link: Escaped<'a>) -> Option<Self> {
        let path = link.raw().split(['#', '?']).next().unwrap_or_default();
        let mut parts = path.split(['/', '\\']).map(str::trim).filter(|part| !part.is_empty());
        parts.find(|part| PAGES.iter().any(|page| page.eq_ignore_ascii_case(part)))?;
        let id = parts.find_map(|part| Self::of(Escaped::plain(part)))?;
        let Some(number) = parts.next().filter(|_| id.sub.is_none()) else { return Some(id) };
        Some(Self { sub: known(id.technique.trim_start_matches('T'), number), ..id })
    }
}

/// Path segments before the id of a technique in the address of its page.
const PAGES: [&str; 2] = ["techniques", "technique"];

/// Ids and names of techniques, in the order of the ids.
static NAMES: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let lines = include_str!("../data/attack-techniques.csv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(',')).collect()
});

/// Returns the id of the technique with this number or, if `sub` is not "", of its sub-technique.
fn known(technique: &str, sub: &str) -> Option<&'static str> {
    let numbers = |id: &'static str| {
        let id = id.trim_start_matches('T');
        id.split_once('.').unwrap_or((id, ""))
    };
    let index = NAMES.binary_search_by(|(id, _)| numbers(id).cmp(&(technique, sub)));
    index.ok().map(|index| NAMES[index].0)
}

/// Returns the name of a technique or sub-technique. `None` if ATT&CK has retired it, or has added it since the table
/// was made.
pub fn technique_name(id: &str) -> Option<&'static str> {
    NAMES.binary_search_by_key(&id, |row| row.0).ok().map(|index| NAMES[index].1)
}

/// Appends the address of the page about a tactic, a technique or a sub-technique to the open list.
pub fn write_reference(json: &mut Json<'_>, id: &str) {
    let folder = if id.starts_with("TA") { "tactics/" } else { "techniques/" };
    let (technique, number) = id.split_once('.').unwrap_or((id, ""));
    let slash = if number.is_empty() { "" } else { "/" };
    json.element_of(&["https://attack.mitre.org/", folder, technique, slash, number, "/"]);
}

/// The values of an indicator about an attack. The id of a technique may be its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attack<'a> {
    pub tactic: Option<Escaped<'a>>,
    pub tactic_id: Option<Escaped<'a>>,
    pub technique: Option<Escaped<'a>>,
    pub technique_name: Option<Escaped<'a>>,
    pub link: Option<Escaped<'a>>,
    pub version: Option<Escaped<'a>>,
}

impl<'a> Attack<'a> {
    /// Returns the name of the technique as received. The console may write it in place of the id.
    pub fn name(&self) -> Option<Escaped<'a>> {
        let is_name = |text: &Escaped<'a>| matches!(Technique::of(*text), Some(Technique::Named(_)));
        self.technique_name.or_else(|| self.technique.filter(is_name))
    }

    /// Returns the technique. Its id may be in the field of the id, in its name or in its link. A text without an id is
    /// its name.
    pub fn named(&self) -> Option<Technique<'a>> {
        let named = [self.technique, self.technique_name].into_iter().flatten().find_map(Technique::of);
        match named {
            None | Some(Technique::Named(_)) => match self.link.and_then(TechniqueId::of_link) {
                Some(id) => Some(Technique::Known(id)),
                None => named,
            },
            Some(Technique::Known(_) | Technique::Tactic(_)) => named,
        }
    }
}

/// The value that the console writes as a technique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Technique<'a> {
    Known(TechniqueId<'a>),
    /// The id of a tactic.
    Tactic(Escaped<'a>),
    Named(Escaped<'a>),
}

impl<'a> Technique<'a> {
    /// Reads a technique. Returns `None` for a placeholder, and for a text that looks like an id but is none, such as a
    /// masked id.
    pub fn of(text: Escaped<'a>) -> Option<Self> {
        if let Some(id) = TechniqueId::of(text) {
            return Some(Self::Known(id));
        }
        let trimmed = text.trim();
        let word = trimmed.raw();
        if is_tactic_id(word) {
            return Some(Self::Tactic(trimmed));
        }
        let digits = word.strip_prefix("TA").or_else(|| word.strip_prefix('T'));
        let is_masked = digits.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
        if is_masked || is_missing_word(text) {
            return None;
        }
        let id = TechniqueId::of_link(text).or_else(|| TechniqueId::within(text));
        Some(id.map_or(Self::Named(text), Self::Known))
    }
}

pub fn is_tactic_id(text: &str) -> bool {
    text.strip_prefix("TA").is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Ids and names of tactics. ATT&CK 19 split defense evasion into stealth and defense impairment.
pub const TACTICS: Words<(&str, &str)> = Words {
    field: "threat.tactic.name",
    rows: &[
        ("reconnaissance", ("TA0043", "Reconnaissance")),
        ("resource_development", ("TA0042", "Resource Development")),
        ("initial_access", ("TA0001", "Initial Access")),
        ("execution", ("TA0002", "Execution")),
        ("persistence", ("TA0003", "Persistence")),
        ("privilege_escalation", ("TA0004", "Privilege Escalation")),
        ("defense_evasion", ("TA0005", "Defense Evasion")),
        ("defence_evasion", ("TA0005", "Defense Evasion")),
        ("stealth", ("TA0005", "Stealth")),
        ("defense_impairment", ("TA0112", "Defense Impairment")),
        ("defence_impairment", ("TA0112", "Defense Impairment")),
        ("credential_access", ("TA0006", "Credential Access")),
        ("discovery", ("TA0007", "Discovery")),
        ("lateral_movement", ("TA0008", "Lateral Movement")),
        ("collection", ("TA0009", "Collection")),
        ("exfiltration", ("TA0010", "Exfiltration")),
        ("command_and_control", ("TA0011", "Command and Control")),
        ("impact", ("TA0040", "Impact")),
    ],
};

/// Returns the id and the name of a tactic, from its name in any spelling or from its id.
pub fn tactic(text: Escaped<'_>) -> Option<(&'static str, &'static str)> {
    let word = Word::of(text);
    let mut tactics = TACTICS.rows.iter().map(|(_, tactic)| *tactic);
    let is_in_text = |id: &str| text.raw().split([' ', ':', '(', ')']).any(|part| part.eq_ignore_ascii_case(id));
    TACTICS.find(word.as_str()).or_else(|| tactics.find(|(id, _)| is_in_text(id)))
}

/// Prints the name and the id of a tactic, for the manual.
pub fn print_tactic((id, name): &(&str, &str)) -> String {
    format!("{name} ({id})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_have_names() {
        assert_eq!(technique_name("T1059"), Some("Command and Scripting Interpreter"));
        assert_eq!(technique_name("T1059.001"), Some("PowerShell"));
        assert_eq!(technique_name("T1001"), Some("Data Obfuscation"));
        assert_eq!(technique_name("T9999"), None);
    }

    #[test]
    fn a_tactic_in_the_place_of_a_technique_is_a_tactic() {
        let technique = |text| Technique::of(Escaped::plain(text));
        assert_eq!(technique("TA0009"), Some(Technique::Tactic(Escaped::plain("TA0009"))));
        assert_eq!(technique("T1202"), Some(Technique::Known(TechniqueId { technique: "T1202", sub: None })));
        assert_eq!(technique("Task Scheduling"), Some(Technique::Named(Escaped::plain("Task Scheduling"))));
        let id = |technique, sub| Some(Technique::Known(TechniqueId { technique, sub }));
        assert_eq!(technique("T1486 - Data Encrypted for Impact"), id("T1486", None));
        assert_eq!(technique("PowerShell (T1059.001)"), id("T1059", Some("T1059.001")));
        let linked = |technique, link| {
            let text = |text| Some(Escaped::plain(text));
            Attack { technique: text(technique), link: text(link), ..Attack::default() }.named()
        };
        assert_eq!(
            linked("PowerShell", "https://attack.mitre.org/techniques/T1059/001/"),
            id("T1059", Some("T1059.001"))
        );
        assert_eq!(linked("PowerShell", r"https:\/\/attack.mitre.org\/techniques\/T1059\/"), id("T1059", None));
        assert_eq!(linked("PowerShell", "https://attack.mitre.org/techniques/T1059/999"), id("T1059", None));
        assert_eq!(linked("T1105", "https://attack.mitre.org/techniques/T1059/001/"), id("T1105", None));
        for link in ["", "https://attack.mitre.org/software/S0002/", "https://x.example/T1059/"] {
            assert_eq!(linked("Mimikatz", link), Some(Technique::Named(Escaped::plain("Mimikatz"))), "{link}");
        }
        for masked in ["T7", "T10599", "TA7", "T1059.1"] {
            assert_eq!(technique(masked), None, "{masked}");
        }
        assert_eq!(tactic(Escaped::plain("TA0009")), Some(("TA0009", "Collection")));
        assert_eq!(tactic(Escaped::plain("Defence evasion")), Some(("TA0005", "Defense Evasion")));
        assert_eq!(tactic(Escaped::plain("TA0002 - Execution")), Some(("TA0002", "Execution")));
        assert_eq!(tactic(Escaped::plain("TA0999")), None);
    }

    #[test]
    fn only_ids_of_techniques_are_ids() {
        let id = |text| TechniqueId::of(Escaped::plain(text));
        assert_eq!(id("T1059"), Some(TechniqueId { technique: "T1059", sub: None }));
        assert_eq!(id(" T1059.001"), Some(TechniqueId { technique: "T1059", sub: Some("T1059.001") }));
        for text in ["t1059.001", "T1059/001", "t1059/001"] {
            assert_eq!(id(text), Some(TechniqueId { technique: "T1059", sub: Some("T1059.001") }), "{text}");
        }
        assert_eq!(id("t1059"), Some(TechniqueId { technique: "T1059", sub: None }));
        for text in
            ["t9999", "T1059/999", "", "T", "T105", "T10599", "T1059.", "T1059.01", "TA0002", "é1059", "T1059.001.1"]
        {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
