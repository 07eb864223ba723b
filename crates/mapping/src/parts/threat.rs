//! The file, the process and the engines of a threat.

use s1_forwarder_record::{Escaped, Value};

use crate::common::account::{Account, ProcessUser};
use crate::common::placeholder::{first_scalar, is_set};
use crate::common::remote_origin::{self, RemoteOrigin};
use crate::common::threat::{extension, is_file_name, is_program};
use crate::common::words::Words;

/// The file of a threat. Where there is none, the console writes the name of a process in the place of that of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct DetectedFile<'a> {
    pub path: Value<'a>,
    pub display_name: Value<'a>,
    /// The name of the threat: most often that of the file.
    pub threat_name: Value<'a>,
    pub extension: Value<'a>,
    pub is_executable: bool,
    pub size: Value<'a>,
    /// MD5, SHA-1, SHA-256
    pub hashes: [Value<'a>; 3],
    /// The console's word for whether it is signed.
    pub verification: Value<'a>,
    pub publisher: Value<'a>,
    pub certificate_id: Value<'a>,
    pub is_valid_certificate: Value<'a>,
    /// The console says that the threat has no file.
    pub is_fileless: bool,
}

/// Whether a file has a signature, by the console's word.
pub const VERIFICATIONS: Words<bool> = Words {
    field: "file.code_signature.exists",
    rows: &[("signed*", true), ("notsigned", false), ("not_signed", false), ("unsigned", false)],
};

impl<'a> DetectedFile<'a> {
    pub fn sha1(&self) -> Value<'a> {
        self.hashes[1]
    }

    /// Whether the file has a signature; `None` if the console does not say it.
    pub fn is_signed(&self) -> Option<bool> {
        VERIFICATIONS.of(self.verification)
    }

    /// Whether the detection is about a process that has no file of its own.
    pub fn is_missing(&self) -> bool {
        self.is_fileless && !is_set(self.path) && !self.hashes.into_iter().any(is_set)
    }

    /// The name that the console shows, which is that of a process if the file is missing.
    pub fn shown_name(&self) -> Option<Escaped<'a>> {
        remote_origin::name_of(first_scalar([self.display_name, self.threat_name]))
    }

    /// Whether there is a file with a path or a name.
    pub fn is_named(&self) -> bool {
        !self.is_missing() && (is_set(self.path) || self.shown_name().is_some())
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DetectedProcess<'a> {
    /// What started the process, unless the threat is from another host.
    pub originator: Value<'a>,
    pub arguments: Value<'a>,
    pub user: ProcessUser<'a>,
    /// The text that names the users.
    pub user_text: Value<'a>,
    /// The other host that the threat is from.
    pub origin: Option<RemoteOrigin<'a>>,
}

impl<'a> DetectedProcess<'a> {
    /// The user who came from another host, else the one of the process.
    pub fn actor(&self) -> Option<Account<'a>> {
        self.origin.and_then(|origin| origin.user).or(self.user.effective)
    }

    /// The process of a detection without a file: `cmd.exe` of `cmd.exe (interactive session)`. Other words are no
    /// name, and one word may be that of a threat: it is a process if it is the originator, or has the extension of a
    /// program.
    pub fn without_file(&self, file: &DetectedFile<'a>) -> Option<Escaped<'a>> {
        if !file.is_missing() {
            return None;
        }
        let text = file.shown_name()?.trim();
        let name = match text.raw().strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
            Some((name, _)) => Escaped::plain(name).trim(),
            None => text,
        };
        let has_session = name != text;
        let is_process = has_session
            || self.originator.escaped() == Some(name)
            || !name.raw().contains(' ') && extension(name).is_some_and(is_program);
        (is_process && is_file_name(name.raw())).then_some(name)
    }

    /// Whether the detection of `file` names a process: it is fileless or has an originator.
    pub fn is_named(&self, file: &DetectedFile<'a>) -> bool {
        (is_set(self.originator) && self.origin.is_none())
            || (file.is_fileless && (is_set(self.arguments) || is_set(self.user_text)))
            || self.without_file(file).is_some()
    }
}

/// The engines that detected a threat: keys and titles, or only titles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Engines<'a> {
    /// `detected` reads the list.
    pub list: Value<'a>,
    /// A list of titles.
    pub titles: Value<'a>,
}

/// An engine, by its key, its title or both.
#[derive(Debug, Clone, Copy, Default)]
pub struct Engine<'a> {
    pub key: Value<'a>,
    pub title: Value<'a>,
    /// As received.
    pub element: Value<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threat_without_a_file_names_a_process() {
        let process = |name: &str| {
            let raw = format!("\"{name}\"");
            let file = DetectedFile { threat_name: Value::new(&raw), is_fileless: true, ..DetectedFile::default() };
            DetectedProcess::default().without_file(&file).map(|name| name.raw().to_owned())
        };
        assert_eq!(process("cmd.exe (interactive session)").as_deref(), Some("cmd.exe"));
        assert_eq!(process("My Tool.exe (CLI 1a2b)").as_deref(), Some("My Tool.exe"));
        assert_eq!(process("powershell.exe").as_deref(), Some("powershell.exe"));
        for name in ["Suspicious activity detected", "(interactive session)", "", "N/A", "Meterpreter", "Win32.Agent"] {
            assert_eq!(process(name), None, "{name}");
        }
    }
}
