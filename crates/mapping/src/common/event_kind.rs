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
        let operation = |other| OPERATIONS.find(word).unwrap_or(other);
        Some(match EVENT_KINDS.find(word)? {
            Self::File(other) => Self::File(operation(other)),
            Self::Registry(other) => Self::Registry(operation(other)),
            Self::Task(other) => Self::Task(operation(other)),
            kind => kind,
        })
    }
}

/// Words without separators. Consoles spell the end of some in several ways.
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
        ("openprocess*", EventKind::Process("access")),
        ("openremoteprocess*", EventKind::Process("access")),
        ("duplicate*", EventKind::Process("access")),
        ("crossprocess*", EventKind::Process("access")),
        ("process*", EventKind::Process("info")),
        ("file*", EventKind::File("info")),
        // ECS has no `info` for registries; any operation accesses them.
        ("registry*", EventKind::Registry("access")),
        ("regkey*", EventKind::Registry("access")),
        ("regvalue*", EventKind::Registry("access")),
        ("schedtask*", EventKind::Task("info")),
        ("scheduledtask*", EventKind::Task("info")),
        ("task*", EventKind::Task("info")),
        ("tcpv4*", EventKind::Connection),
        ("tcpv6*", EventKind::Connection),
        ("ipconnect*", EventKind::Connection),
        ("iplisten*", EventKind::Connection),
        ("network*", EventKind::Connection),
        ("dns*", EventKind::Dns),
        ("module*", EventKind::Module),
        ("indicator*", EventKind::Indicator),
        ("behavioralindicator*", EventKind::Indicator),
        // These rows also match `userlogin` and `failedlogin`.
        ("*logout*", EventKind::Logout),
        ("*logoff*", EventKind::Logout),
        ("*login*", EventKind::Login),
        ("*logon*", EventKind::Login),
    ],
};

/// The operation that a word for a file, a registry or a task names.
pub const OPERATIONS: Words<&str> = Words {
    field: "event.type",
    rows: &[
        ("*creat*", "creation"),
        ("*register*", "creation"),
        ("*delet*", "deletion"),
        ("*scan*", "access"),
        ("*export*", "access"),
        ("*modif*", "change"),
        ("*renam*", "change"),
        ("*updat*", "change"),
        ("*import*", "change"),
        ("*security*", "change"),
    ],
};
