//! What is decided about a threat in all schemas.

use s1_forwarder_record::threat::{Threat, ThreatInfo};
use s1_forwarder_record::{Escaped, Timestamp, Value};

use super::classification::Word;
use super::placeholder::{boolean, first_scalar, is_set};
use super::remote_origin;
use super::severity::Severity;

pub fn time(value: Value<'_>) -> Option<Timestamp> {
    value.escaped().and_then(|text| Timestamp::parse(text.raw()).ok())
}

/// Whether a threat or an alert was created and updated within a minute.
pub fn is_new(created: Value<'_>, updated: Value<'_>) -> bool {
    match (time(created), time(updated)) {
        (Some(created), Some(updated)) => created.since(updated).max(updated.since(created)).as_secs_f64() <= 60.0,
        (_, updated) => updated.is_none(),
    }
}

/// A threat is critical if it is still active on an infected endpoint. What an analyst thinks of it changes nothing.
pub fn severity(threat: &Threat<'_>) -> Severity {
    let info = &threat.threat_info;
    let is_active = Word::is(info.mitigation_status, "not_mitigated")
        && boolean(threat.agent_realtime_info.agent_infected) == Some(true);
    Severity::of_confidence(info.confidence_level, info.classification, is_active).unwrap_or(Severity::Informational)
}

/// Whether a detection is about a process that has no file of its own: the console writes the name of the process in
/// the place of that of a file.
pub fn is_without_file(info: &ThreatInfo<'_>) -> bool {
    boolean(info.is_fileless) == Some(true)
        && ![info.file_path, info.md5, info.sha1, info.sha256].into_iter().any(is_set)
}

/// Extensions of what can be a process, or the script that an interpreter runs.
const PROGRAMS: [&str; 20] = [
    "exe", "com", "scr", "dll", "bat", "cmd", "ps1", "vbs", "vbe", "js", "jse", "wsf", "hta", "msi", "cpl", "jar",
    "py", "sh", "bin", "elf",
];

/// The process of a detection without a file: `cmd.exe` of `cmd.exe (interactive session)`. Other words are no name,
/// and one word may be that of a threat: it is a process if it is the originator, or has the extension of a program.
pub fn fileless_process<'a>(info: &ThreatInfo<'a>) -> Option<Escaped<'a>> {
    let text = remote_origin::name_of(first_scalar([info.file_display_name, info.threat_name]))?.trim();
    let name = match text.raw().strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        Some((name, _)) => Escaped::plain(name).trim(),
        None => text,
    };
    let is_program = || {
        let is_known = |end: Escaped<'_>| PROGRAMS.into_iter().any(|known| end.raw().eq_ignore_ascii_case(known));
        !name.raw().contains(' ') && extension(name).is_some_and(is_known)
    };
    let is_name = name != text || info.originator_process.escaped() == Some(name) || is_program();
    (is_name && is_file_name(name.raw())).then_some(name)
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ':', '*', '?', '"', '<', '>', '|'])
}

/// The size of a file. The console has 0 where it has not measured it.
pub fn file_size(value: Value<'_>) -> Value<'_> {
    if value.escaped().is_some_and(|text| text.is("0")) { Value::default() } else { value }
}

/// The name at the end of a path. A root has none.
pub fn file_name(path: Escaped<'_>) -> Option<Escaped<'_>> {
    Some(path.last_segment()).filter(|name| !name.raw().is_empty())
}

/// The extension of a file's name, without the dot.
pub fn extension(name: Escaped<'_>) -> Option<Escaped<'_>> {
    let (stem, extension) = name.raw().rsplit_once('.')?;
    let is_extension =
        (1..=10).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_extension && !stem.is_empty()).then_some(Escaped::plain(extension))
}

/// The id of an alert of a custom rule, if its page can be built.
pub fn alert_page_id(id: Value<'_>) -> Option<Escaped<'_>> {
    id.escaped().filter(|id| !id.raw().is_empty() && id.raw().bytes().all(|byte| byte.is_ascii_digit()))
}

/// The list of alerts in the console, which the id at its end reduces to the alert of a custom rule.
pub const ALERT_PAGE: &str = "/incidents/unified-alerts?alertsTable.filters=externalId__FULLTEXT%3D";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_short_words() {
        let extension = |name| extension(Escaped::plain(name)).map(Escaped::raw);
        assert_eq!(extension("a.tar.gz"), Some("gz"));
        assert_eq!(extension("A.EXE"), Some("EXE"));
        for name in ["a", ".bashrc", "a.", "a.b c", "lib.so.cache-123456"] {
            assert_eq!(extension(name), None, "{name}");
        }
    }

    #[test]
    fn a_threat_without_a_file_names_a_process() {
        let process = |name: &str| {
            let raw = format!("\"{name}\"");
            let mut info = ThreatInfo::default();
            info.threat_name = Value::new(&raw);
            fileless_process(&info).map(|name| name.raw().to_owned())
        };
        assert_eq!(process("cmd.exe (interactive session)").as_deref(), Some("cmd.exe"));
        assert_eq!(process("My Tool.exe (CLI 1a2b)").as_deref(), Some("My Tool.exe"));
        assert_eq!(process("powershell.exe").as_deref(), Some("powershell.exe"));
        for name in ["Suspicious activity detected", "(interactive session)", "", "N/A", "Meterpreter", "Win32.Agent"] {
            assert_eq!(process(name), None, "{name}");
        }
    }
}
