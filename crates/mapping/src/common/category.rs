//! Categories and types of events: what an event is about, and what was done.

/// The subject of an event. It may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Authentication,
    Configuration,
    /// A part of the system's kernel.
    Driver,
    Email,
    File,
    Host,
    /// Users, their roles and their rights.
    Iam,
    Intrusion,
    /// Code that a process loads.
    Library,
    Malware,
    Network,
    /// Software that is installed.
    Package,
    Process,
    Registry,
    /// The time for which a user is logged in.
    Session,
    Web,
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

/// What was done. An event may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    Access,
    /// The rights of an administrator are concerned.
    Admin,
    Change,
    Connection,
    Creation,
    Deletion,
    /// The action was prevented.
    Denied,
    End,
    /// Nothing was done, or the action is unknown.
    Info,
    Installation,
    /// Data of a network protocol was exchanged.
    Protocol,
    Start,
    /// A user is concerned.
    User,
}

impl EventType {
    /// Reads a word of the table of activity types.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "access" => Some(Self::Access),
            "admin" => Some(Self::Admin),
            "change" => Some(Self::Change),
            "connection" => Some(Self::Connection),
            "creation" => Some(Self::Creation),
            "deletion" => Some(Self::Deletion),
            "denied" => Some(Self::Denied),
            "end" => Some(Self::End),
            "info" => Some(Self::Info),
            "installation" => Some(Self::Installation),
            "start" => Some(Self::Start),
            "user" => Some(Self::User),
            _ => None,
        }
    }
}
