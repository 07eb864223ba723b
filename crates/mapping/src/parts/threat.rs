//! The file, the process and the engines of a threat.

use s1_forwarder_record::Value;

use super::Acting;
use crate::common::account::{Account, ProcessUser};
use crate::common::image::Image;
use crate::common::missing::is_set;
use crate::common::remote_origin::RemoteOrigin;
use crate::common::words::Words;

/// The file of a threat. If there is no file, the console writes the name of a process in place of the file's name.
#[derive(Debug, Clone, Copy, Default)]
pub struct DetectedFile<'a> {
    /// The path of the file; without a path, the name that the console shows.
    pub image: Option<Image<'a>>,
    /// The process whose name is in the field for the file's name.
    pub process: Option<Image<'a>>,
    pub path: Value<'a>,
    pub display_name: Value<'a>,
    /// The name of the threat: usually the name of the file.
    pub threat_name: Value<'a>,
    pub extension: Value<'a>,
    pub is_executable: bool,
    pub size: Value<'a>,
    /// MD5, SHA-1, SHA-256
    pub hashes: [Value<'a>; 3],
    /// Hashes of a command line, and not of a file.
    pub hashes_of_command_line: [Value<'a>; 3],
    /// The console's word for whether the file is signed.
    pub verification: Value<'a>,
    pub publisher: Value<'a>,
    pub certificate_id: Value<'a>,
    pub is_valid_certificate: Value<'a>,
    /// Whether the console says that the threat has no file.
    pub is_fileless: bool,
}

/// The state of a file's signature, by the console's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    None,
    /// The file has a signature. The word does not say whether its certificate is valid.
    Signed,
    Expired,
    Revoked,
    Untrusted,
}

impl Signature {
    pub fn exists(self) -> bool {
        self != Self::None
    }
}

pub const VERIFICATIONS: Words<Signature> = Words {
    field: "file.code_signature.exists",
    rows: &[
        ("notsigned", Signature::None),
        ("not_signed", Signature::None),
        ("unsigned", Signature::None),
        ("*expired", Signature::Expired),
        ("*revoked", Signature::Revoked),
        ("*untrusted", Signature::Untrusted),
        ("signed*", Signature::Signed),
    ],
};

impl<'a> DetectedFile<'a> {
    pub fn sha1(&self) -> Value<'a> {
        self.hashes[1]
    }

    /// Returns the signature of the file; `None` if the console does not say whether it has one.
    pub fn signature(&self) -> Option<Signature> {
        VERIFICATIONS.of(self.verification)
    }

    /// Returns whether the detection is about a process without a file.
    pub fn is_missing(&self) -> bool {
        let is_process = self.image.is_some_and(|image| image.addition.is_some());
        (self.is_fileless || is_process) && !is_set(self.path) && !self.hashes.into_iter().any(is_set)
    }

    /// Returns whether the file itself is malicious. The file of a process with a malicious command line is not.
    pub fn is_malicious(&self) -> bool {
        !self.is_missing() && self.process.is_none() && self.image.is_none_or(|image| image.addition.is_none())
    }

    /// Returns whether there is a file with a path or a name.
    pub fn is_named(&self) -> bool {
        !self.is_missing() && self.image.is_some()
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct DetectedProcess<'a> {
    pub acting: Acting<'a>,
    /// The program that started the process, unless the threat is from another host.
    pub originator: Value<'a>,
    pub arguments: Value<'a>,
    pub user: ProcessUser<'a>,
    /// The text that names the users.
    pub user_text: Value<'a>,
    /// The other host that the threat is from.
    pub origin: Option<RemoteOrigin<'a>>,
}

impl<'a> DetectedProcess<'a> {
    /// Returns the user who came from another host, or the user of the process if there is none.
    pub fn actor(&self) -> Option<Account<'a>> {
        self.origin.and_then(|origin| origin.user).or(self.user.effective)
    }

    /// Returns whether the detection of `file` names a process: it is fileless or has an originator.
    pub fn is_named(&self, file: &DetectedFile<'a>) -> bool {
        self.acting.process.is_some()
            || self.acting.parent.is_some()
            || (file.is_fileless && (is_set(self.arguments) || is_set(self.user_text)))
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
    /// The element of the list, as received.
    pub element: Value<'a>,
}
