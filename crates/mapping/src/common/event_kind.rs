//! The types of events of Deep Visibility, in the spellings of the console's API (`PROCESSCREATION`), of its search
//! (`Process Creation`) and of alerts (`WINLOGONATTEMPT`).

use s1_forwarder_record::Value;

use super::word::Word;
use super::words::Words;

/// The kind of event that a detection rule matched. A word is its `event.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    ProcessCreation,
    Process(&'static str),
    File(&'static str),
    Registry(&'static str),
    /// A scheduled task.
    Task(&'static str),
    Connection,
    Web,
    Dns,
    Login,
    Logout,
    Module,
    Driver,
    Indicator,
}

impl EventKind {
    /// `None` for a type of which nothing is certain.
    pub fn of(event_type: Value<'_>) -> Option<Self> {
        let word = Word::of_value(event_type).joined();
        let word = word.as_str();
        EVENT_KINDS.find(word).or_else(|| Self::of_beginning(word))
    }

    /// Consoles spell the remaining part of these words in several ways.
    fn of_beginning(word: &str) -> Option<Self> {
        let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| word.starts_with(beginning));
        let contains = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
        let operation = Operation::of(word);
        if begins(&["openprocess", "openremoteprocess", "duplicate", "crossprocess"]) {
            Some(Self::Process("access"))
        } else if begins(&["process"]) {
            Some(Self::Process("info"))
        } else if begins(&["file"]) {
            Some(Self::File(operation.or("info")))
        } else if begins(&["registry", "regkey", "regvalue"]) {
            // ECS has no `info` for registries; any operation accesses them.
            Some(Self::Registry(operation.or("access")))
        } else if begins(&["schedtask", "scheduledtask", "task"]) {
            Some(Self::Task(operation.or("info")))
        } else if begins(&["tcpv4", "tcpv6", "ipconnect", "iplisten", "network"]) {
            Some(Self::Connection)
        } else if begins(&["dns"]) {
            Some(Self::Dns)
        } else if begins(&["module"]) {
            Some(Self::Module)
        } else if begins(&["indicator", "behavioralindicator"]) {
            Some(Self::Indicator)
        } else if contains(&["logout", "logoff"]) {
            // Also `userlogin`, `failedlogin`, here and below.
            Some(Self::Logout)
        } else if contains(&["login", "logon"]) {
            Some(Self::Login)
        } else {
            None
        }
    }

    /// For the manual: types and categories.
    pub fn print(&self) -> String {
        let (categories, types) = self.class();
        let list = |words: [&str; 2]| words.join(", ").trim_end_matches(", ").to_owned();
        format!("{} ({})", list(types), list(categories))
    }

    /// Categories and types in addition to `intrusion_detection` and `info`; "" for none.
    pub fn class(self) -> ([&'static str; 2], [&'static str; 2]) {
        let one = |category, kind| ([category, ""], [kind, ""]);
        match self {
            Self::ProcessCreation => one("process", "start"),
            Self::Process(kind) => one("process", kind),
            Self::File(kind) => one("file", kind),
            Self::Registry(kind) => one("registry", kind),
            Self::Task(kind) => one("configuration", kind),
            Self::Connection => one("network", "connection"),
            Self::Web => (["network", "web"], ["protocol", "access"]),
            Self::Dns => one("network", "protocol"),
            Self::Login => one("authentication", "start"),
            Self::Logout => one("authentication", "end"),
            Self::Module => one("library", "start"),
            Self::Driver => one("driver", "start"),
            Self::Indicator => one("malware", "info"),
        }
    }
}

/// Words without separators. Others are known by how they begin.
pub const EVENT_KINDS: Words<EventKind> = Words {
    field: "event.type",
    rows: &[
        ("processcreation", EventKind::ProcessCreation),
        ("processexit", EventKind::Process("end")),
        ("processtermination", EventKind::Process("end")),
        ("processmodification", EventKind::Process("change")),
        // One process acts on another; it does not end itself.
        ("remotethread", EventKind::Process("change")),
        ("remotethreadcreation", EventKind::Process("change")),
        ("remoteprocesstermination", EventKind::Process("change")),
        ("scripts", EventKind::Process("start")),
        ("commandscript", EventKind::Process("start")),
        ("http", EventKind::Web),
        ("url", EventKind::Web),
        ("get", EventKind::Web),
        ("post", EventKind::Web),
        ("put", EventKind::Web),
        ("delete", EventKind::Web),
        ("head", EventKind::Web),
        ("options", EventKind::Web),
        ("connect", EventKind::Web),
        ("winlogonattempt", EventKind::Login),
        ("moduleload", EventKind::Module),
        ("driverload", EventKind::Driver),
        ("namedpipecreation", EventKind::File("creation")),
        ("namedpipeconnection", EventKind::File("access")),
        ("maliciousfile", EventKind::Indicator),
        ("preexecutiondetection", EventKind::Indicator),
    ],
};

/// The operation that a word names.
#[derive(Clone, Copy)]
enum Operation {
    Creation,
    Change,
    Deletion,
    Access,
    Other,
}

impl Operation {
    fn of(word: &str) -> Self {
        let contains = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
        if contains(&["creat", "register"]) {
            Self::Creation
        } else if contains(&["delet"]) {
            Self::Deletion
        } else if contains(&["scan", "export"]) {
            Self::Access
        } else if contains(&["modif", "renam", "updat", "import", "security"]) {
            Self::Change
        } else {
            Self::Other
        }
    }

    /// Its `event.type`.
    fn or(self, other: &'static str) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::Change => "change",
            Self::Deletion => "deletion",
            Self::Access => "access",
            Self::Other => other,
        }
    }
}
