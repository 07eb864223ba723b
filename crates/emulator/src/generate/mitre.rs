//! Indicators of behavioural engines, with their tactics.

use serde_json::{Value, json};

use crate::random::Random;

/// Category, description, indicator id, tactic, technique.
const INDICATORS: &[(&str, &str, u32, &str, &str)] = &[
    ("General", "Detected by the Static Engine", 43, "", ""),
    ("Exploitation", "Document behaves abnormally", 62, "Initial Access", "T1566"),
    ("Evasion", "Indirect command was executed", 427, "Defense Evasion", "T1202"),
    ("Evasion", "Office program ran macro", 434, "Execution", "T1204"),
    ("Persistence", "Autorun key was written", 197, "Persistence", "T1547"),
    ("Ransomware", "Shadow copies were deleted", 228, "Impact", "T1490"),
    ("InfoStealer", "Browser credentials were read", 311, "Credential Access", "T1555"),
    ("Injection", "Code was injected into a remote process", 92, "Privilege Escalation", "T1055"),
];

pub(super) fn indicators(random: &mut Random) -> Value {
    let several = random.below(4) as usize;
    (0..several)
        .map(|_| {
            let (category, description, id, tactic, technique) = *random.choose(INDICATORS);
            let tactics = match tactic {
                "" => json!([]),
                _ => json!([{ "name": tactic, "source": "MITRE", "techniques": [{ "name": technique,
                    "link": format!("https://attack.mitre.org/techniques/{technique}/") }] }]),
            };
            json!({ "category": category, "categoryId": id / 100, "description": description, "ids": [id], "tactics": tactics })
        })
        .collect()
}
