//! Attributes of findings in several streams: state, verdict, confidence, malware.

use s1_forwarder_record::{Escaped, Value};

use super::attack::Attacks;
use super::class::{CLOSE, CREATE, Class, UPDATE};
use super::event::{Event, Profile};
use super::observables::ObservableType;
use super::user::UserType;
use crate::common::account::{Account, is_email};
use crate::common::classification::Outcome;
use crate::common::hash::hash;
use crate::common::image::{without_additions, without_directory};
use crate::common::missing::{is_missing_word, is_set};
use crate::common::severity::Severity;
use crate::common::word::Word;
use crate::common::words::{Choice, Words, print_choice};

pub(super) const INCIDENT_STATUSES: Words<Choice> = Words {
    field: "status",
    rows: &[
        ("unresolved", (1, "New")),
        ("new", (1, "New")),
        ("in_progress", (2, "In Progress")),
        ("resolved", (RESOLVED, "Resolved")),
    ],
};

pub(super) const RESOLVED: u16 = 4;

pub(super) const CONFIDENCE: Words<Choice> = Words {
    field: "confidence",
    rows: &[
        ("malicious", (3, "High")),
        ("high", (3, "High")),
        ("suspicious", (2, "Medium")),
        ("medium", (2, "Medium")),
        ("informational", (1, "Low")),
        ("low", (1, "Low")),
        ("n/a", (0, "Unknown")),
        ("n_a", (0, "Unknown")),
        ("undefined", (0, "Unknown")),
    ],
};

impl Event<'_> {
    /// Writes the state of an incident. A known word has its own number; any other word is the name of the state.
    pub fn incident_status(&mut self, value: Value<'_>) {
        match INCIDENT_STATUSES.of(value) {
            Some((id, _)) => {
                self.status(id);
                self.mark(value);
            }
            None if !is_set(value) => {}
            None => _ = self.other_status(value),
        }
    }

    /// Writes the agent as the sensor of the open analytic.
    pub fn agent_sensor(&mut self) {
        self.json.name("sensor_info_list");
        self.json.raw(br#"[{"name":"SentinelOne Agent","sensor_layer_id":2,"sensor_layer":"Endpoint"}]"#);
    }

    /// Writes the attacks of the event itself.
    pub fn own_attacks(&mut self, attacks: &Attacks<'_>) {
        if !attacks.is_empty() {
            self.using(Profile::SecurityControl);
            attacks.write(&mut self.json);
        }
    }

    pub fn verdict(&mut self, verdict: Verdict) {
        let (id, caption) = verdict.choice();
        self.using(Profile::Incident);
        self.choice("verdict", id, caption);
    }

    /// Writes a verdict that no table has as Other, with its word.
    pub fn other_verdict(&mut self, value: Value<'_>) {
        if self.other_value("verdict", value) {
            self.using(Profile::Incident);
        }
    }

    /// Writes the confidence of a detection. A word that no table has is Other, with its word.
    pub fn confidence(&mut self, value: Value<'_>) {
        let is_written = match CONFIDENCE.of(value) {
            Some((id, caption)) => {
                self.choice("confidence", id, caption);
                self.mark(value);
                true
            }
            None => self.other_value("confidence", value),
        };
        if is_written && self.class != Class::DetectionFinding {
            self.using(Profile::SecurityControl);
        }
    }

    pub fn disposition(&mut self, id: u16) {
        if let Some(caption) = disposition_caption(id) {
            self.using(Profile::SecurityControl);
            self.choice("disposition", id, caption);
        }
    }

    pub fn action(&mut self, action: Action) {
        let (id, caption) = action.choice();
        self.using(Profile::SecurityControl);
        self.choice("action", id, caption);
    }

    /// Writes the user that a finding is assigned to. A user needs an id or a name: without an id, the name is the
    /// local part of the address.
    pub fn assignee(&mut self, id: Value<'_>, full_name: Value<'_>, email: Value<'_>) {
        let account = Account::of(email).filter(|account| !is_set(id) && is_email(account.text));
        if !is_set(id) && account.is_none() {
            return;
        }
        self.using(Profile::Incident);
        let open = self.open("assignee");
        self.text("uid", id);
        self.optional("name", account.map(|account| account.name));
        self.text("full_name", full_name);
        self.email("email_addr", email);
        self.user_type(UserType::Unknown);
        self.close(open);
    }

    pub fn ticket(&mut self, id: Value<'_>) {
        if is_set(id) {
            self.using(Profile::Incident);
            let list = self.open_list("tickets");
            let element = self.open_element();
            self.text("uid", id);
            self.close(element);
            self.close(list);
        }
    }
}

pub(super) const DISPOSITIONS: [Choice; 14] = [
    (1, "Allowed"),
    (2, "Blocked"),
    (3, "Quarantined"),
    (4, "Isolated"),
    (9, "Restored"),
    (10, "Exonerated"),
    (11, "Corrected"),
    (12, "Partially Corrected"),
    (13, "Uncorrected"),
    (14, "Delayed"),
    (15, "Detected"),
    (18, "Tagged"),
    (19, "Alert"),
    (27, "Error"),
];

fn disposition_caption(id: u16) -> Option<&'static str> {
    DISPOSITIONS.into_iter().find(|(known, _)| *known == id).map(|(_, caption)| caption)
}

/// Returns `disposition_id` for the outcome of a detection. Reports of actions may give a more precise one, which takes
/// precedence.
pub(super) fn disposition_of(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Mitigated => 11,
        Outcome::Blocked => 2,
        Outcome::Active => 15,
        Outcome::Benign => 10,
    }
}

/// Prints the number and the caption of a disposition, for the manual.
pub(super) fn print_disposition(id: u16) -> String {
    print_choice((id, disposition_caption(id).unwrap_or_default()))
}

/// Returns the activity of a finding with this incident status.
pub(super) fn activity(is_new: bool, status: Value<'_>) -> u8 {
    if is_new {
        CREATE
    } else if INCIDENT_STATUSES.of(status).is_some_and(|(id, _)| id == RESOLVED) {
        CLOSE
    } else {
        UPDATE
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allowed,
    Denied,
    Observed,
}

impl Action {
    /// Returns the number and caption.
    pub fn choice(self) -> Choice {
        match self {
            Self::Allowed => (1, "Allowed"),
            Self::Denied => (2, "Denied"),
            Self::Observed => (3, "Observed"),
        }
    }
}

/// An analyst's verdict on a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Unknown,
    FalsePositive,
    TruePositive,
    Disregard,
    Suspicious,
    Benign,
    Test,
    InsufficientData,
    SecurityRisk,
    ManagedExternally,
    Duplicate,
}

impl Verdict {
    /// Reads a verdict. Returns `None` for a word that has no number, and if there is no word.
    pub fn of(value: Value<'_>) -> Option<Self> {
        VERDICTS.of(value)
    }

    /// Returns the number and caption.
    pub fn choice(self) -> Choice {
        match self {
            Self::Unknown => (0, "Unknown"),
            Self::FalsePositive => (1, "False Positive"),
            Self::TruePositive => (2, "True Positive"),
            Self::Disregard => (3, "Disregard"),
            Self::Suspicious => (4, "Suspicious"),
            Self::Benign => (5, "Benign"),
            Self::Test => (6, "Test"),
            Self::InsufficientData => (7, "Insufficient Data"),
            Self::SecurityRisk => (8, "Security Risk"),
            Self::ManagedExternally => (9, "Managed Externally"),
            Self::Duplicate => (10, "Duplicate"),
        }
    }

    /// Returns whether the verdict means that there is no malware.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::FalsePositive | Self::Benign)
    }

    /// Returns whether the caption loses nothing of the verdict's word.
    pub fn says(self, word: &str) -> bool {
        let (_, caption) = self.choice();
        self == Self::Unknown || Word::of(Escaped::plain(caption)).as_str() == word
    }

    /// Marks the word of the verdict if the caption loses nothing of it.
    pub fn mark(self, event: &mut Event<'_>, value: Value<'_>) {
        if self.says(Word::of_value(value).as_str()) {
            event.mark(value);
        }
    }
}

pub(super) const VERDICTS: Words<Verdict> = Words {
    field: "verdict",
    rows: &[
        ("undefined", Verdict::Unknown),
        ("suspicious", Verdict::Suspicious),
        ("true_positive_benign_but_suspicious", Verdict::Suspicious),
        ("true_positive_benign", Verdict::Benign),
        ("benign", Verdict::Benign),
        ("true_positive*", Verdict::TruePositive),
        ("false_positive*", Verdict::FalsePositive),
        ("disregard", Verdict::Disregard),
        ("test", Verdict::Test),
        ("insufficient_data", Verdict::InsufficientData),
        ("security_risk", Verdict::SecurityRisk),
        ("managed_externally", Verdict::ManagedExternally),
        ("duplicate", Verdict::Duplicate),
    ],
};

/// Returns OCSF's number of the kind of malware; `None` if the classification is not malware.
fn malware_kind(classification: Value<'_>) -> Option<u16> {
    let word = Word::of_value(classification).joined();
    if is_set(classification) { MALWARE.find(word.as_str()).unwrap_or(Some(99)) } else { None }
}

/// OCSF's numbers of kinds of malware; `None` for words that are not malware.
pub(super) const MALWARE: Words<Option<u16>> = Words {
    field: "malware[].classification_ids",
    rows: &[
        ("adware", Some(1)),
        ("backdoor", Some(2)),
        ("bot", Some(3)),
        ("bootkit", Some(4)),
        ("ddos", Some(5)),
        ("downloader", Some(6)),
        ("dropper", Some(7)),
        ("exploitkit", Some(8)),
        ("keylogger", Some(9)),
        ("ransomware", Some(10)),
        ("rat", Some(11)),
        ("remoteaccesstrojan", Some(11)),
        ("remoteshell", Some(11)),
        ("cryptominer", Some(13)),
        ("coinminer", Some(13)),
        ("miner", Some(13)),
        ("rogue", Some(14)),
        ("rootkit", Some(15)),
        ("spyware", Some(17)),
        ("infostealer", Some(17)),
        ("trojan", Some(18)),
        ("virus", Some(19)),
        ("webshell", Some(20)),
        ("wiper", Some(21)),
        ("worm", Some(22)),
        ("exploit", None),
        ("lateralmovement", None),
        ("general", None),
        ("manual", None),
        ("benign", None),
        ("network", None),
        ("phishing", None),
        ("commandandcontrol", None),
        ("enumeration", None),
        ("interactiveshell", None),
        ("applicationcontrol", None),
        ("browser", None),
    ],
};

/// One entry of `malware[]`.
pub(super) struct Malware<'a> {
    pub name: Option<Escaped<'a>>,
    /// The hash of the malware.
    pub uid: Option<Escaped<'a>>,
    pub classification: Value<'a>,
    pub provider: Option<Escaped<'a>>,
    pub severity: Option<Severity>,
}

impl Malware<'_> {
    /// Writes the list, if there is a name or an id. `file` writes the file.
    pub fn write(&self, event: &mut Event<'_>, file: impl FnOnce(&mut Event<'_>)) {
        let Some(kind) = malware_kind(self.classification) else { return };
        let uid = self.uid.and_then(hash).map(|(_, text)| text);
        let is_named = [self.name, uid].into_iter().flatten().any(|text| !is_missing_word(text));
        if !is_named {
            return;
        }
        let list = event.open_list("malware");
        let element = event.open_element();
        let name = self.name.map(|name| without_additions(without_directory(name.trim())));
        event.optional("name", name.as_deref().map(Escaped::plain));
        match uid {
            // Without a name, there is no file whose hash would be the observable.
            Some(uid) if self.name.is_none() => event.lower_case("uid", ObservableType::Hash, uid),
            Some(uid) => event.json.lower_case("uid", uid),
            None => {}
        }
        event.json.name("classification_ids");
        for part in ["[", itoa::Buffer::new().format(kind), "]"] {
            event.json.raw(part.as_bytes());
        }
        event.list_of("classifications", self.classification.escaped());
        event.optional("provider", self.provider);
        if self.severity.is_some() {
            event.severity(self.severity);
        }
        file(event);
        event.close(element);
        event.close(list);
    }
}
