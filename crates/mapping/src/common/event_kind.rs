//! The types of events of Deep Visibility, in the spellings of the console's API (`PROCESSCREATION`), of its search
//! (`Process Creation`) and of alerts (`WINLOGONATTEMPT`).

use s1_forwarder_record::Value;

use super::category::EventType;
use super::word::Word;
use super::words::Words;

/// The kind of event that a detection rule matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    ProcessCreation,
    Process(EventType),
    File(EventType),
    Registry(EventType),
    /// A scheduled task.
    Task(EventType),
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
    /// Reads a type. Returns `None` if nothing is certain about it.
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

/// Words without separators. Consoles spell the end of some words in several ways.
pub const EVENT_KINDS: Words<EventKind> = Words {
    field: "event.type",
    rows: &[
        ("processcreation", EventKind::ProcessCreation),
        ("processexit", EventKind::Process(EventType::End)),
        ("processtermination", EventKind::Process(EventType::End)),
        ("processmodification", EventKind::Process(EventType::Change)),
        // One process acts on another; it does not end itself.
        ("remotethread", EventKind::Process(EventType::Change)),
        ("remotethreadcreation", EventKind::Process(EventType::Change)),
        ("remoteprocesstermination", EventKind::Process(EventType::Change)),
        ("scripts", EventKind::Process(EventType::Start)),
        ("commandscript", EventKind::Process(EventType::Start)),
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
        ("namedpipecreation", EventKind::File(EventType::Creation)),
        ("namedpipeconnection", EventKind::File(EventType::Access)),
        ("maliciousfile", EventKind::Indicator),
        ("preexecutiondetection", EventKind::Indicator),
        ("openprocess*", EventKind::Process(EventType::Access)),
        ("openremoteprocess*", EventKind::Process(EventType::Access)),
        ("duplicate*", EventKind::Process(EventType::Access)),
        ("crossprocess*", EventKind::Process(EventType::Access)),
        ("process*", EventKind::Process(EventType::Info)),
        ("file*", EventKind::File(EventType::Info)),
        // Any operation on a registry accesses it.
        ("registry*", EventKind::Registry(EventType::Access)),
        ("regkey*", EventKind::Registry(EventType::Access)),
        ("regvalue*", EventKind::Registry(EventType::Access)),
        ("schedtask*", EventKind::Task(EventType::Info)),
        ("scheduledtask*", EventKind::Task(EventType::Info)),
        ("task*", EventKind::Task(EventType::Info)),
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
pub const OPERATIONS: Words<EventType> = Words {
    field: "event.type",
    rows: &[
        ("*creat*", EventType::Creation),
        ("*register*", EventType::Creation),
        ("*delet*", EventType::Deletion),
        ("*scan*", EventType::Access),
        ("*export*", EventType::Access),
        ("*modif*", EventType::Change),
        ("*renam*", EventType::Change),
        ("*updat*", EventType::Change),
        ("*import*", EventType::Change),
        ("*security*", EventType::Change),
    ],
};
