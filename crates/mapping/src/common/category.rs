//! What an event is about.

/// The subject of an event. It may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Authentication,
    Configuration,
    Email,
    File,
    Host,
    /// Users, their roles and their rights.
    Iam,
    Intrusion,
    Malware,
    Network,
    /// Software that is installed.
    Package,
    Process,
    /// The time for which a user is logged in.
    Session,
}

impl Category {
    /// Reads a word of the table of activity types.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "authentication" => Some(Self::Authentication),
            "configuration" => Some(Self::Configuration),
            "email" => Some(Self::Email),
            "file" => Some(Self::File),
            "host" => Some(Self::Host),
            "iam" => Some(Self::Iam),
            "intrusion_detection" => Some(Self::Intrusion),
            "malware" => Some(Self::Malware),
            "network" => Some(Self::Network),
            "package" => Some(Self::Package),
            "process" => Some(Self::Process),
            "session" => Some(Self::Session),
            _ => None,
        }
    }
}
