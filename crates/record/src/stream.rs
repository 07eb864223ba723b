//! The list of streams, and the type of their descriptions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Level;

/// Declares the streams, in the order in which they are documented: a variant and its description.
macro_rules! streams {
    ($($(#[doc = $doc:literal])+ $variant:ident: $description:path,)+) => {
        /// One kind of record, pulled from one endpoint of the console. See docs/streams.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Stream {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Stream {
            /// Every stream.
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];

            /// Returns what is true of the stream's records.
            pub const fn description(self) -> &'static Description {
                match self {
                    $(Self::$variant => &$description,)+
                }
            }
        }
    };
}

streams! {
    /// Threats, by `threatInfo.updatedAt`.
    Threats: super::threat::STREAM,
    /// The activity log, by `createdAt`; append-only.
    Activities: super::activity::STREAM,
    /// Agents (endpoints), by `updatedAt`.
    Agents: super::agent::STREAM,
    /// STAR custom alerts, by `alertInfo.createdAt`.
    Alerts: super::alert::STREAM,
    /// Endpoint groups, by `updatedAt`.
    Groups: super::group::STREAM,
    /// Unified alerts (GraphQL), by `updatedAt`.
    UnifiedAlerts: super::unified_alert::STREAM,
    /// Application findings, in closed windows of their update date.
    Vulnerabilities: super::vulnerability::STREAM,
}

/// What is true of a stream's records, wherever they come from and go to.
#[derive(Debug)]
pub struct Description {
    /// In pipeline files, metrics, topics and checkpoints: the variant in `snake_case`.
    pub name: &'static str,
    /// The singular word that mapped events use (`sentinel_one.threat`, `event.dataset`).
    pub singular: &'static str,
    /// What an answer of the console is.
    pub frame: Frame,
    /// The keys that identify a record and say its times.
    pub keys: &'static [Key],
    /// The time that the stream is ordered by: the first of these that the record has.
    pub order: &'static [Fact],
    pub version: Version,
    pub accounting: Accounting,
    pub frequency: Frequency,
    /// Where a record may say whose it is. The first place with a value counts. Empty: nowhere.
    pub owners: &'static [Owner],
    pub severity: SeverityKeys,
    /// Whether records have the console's secrets as fields.
    pub has_secrets: bool,
}

/// What the console's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// `data` is the list of records.
    List,
    /// GraphQL: `data.alerts` is a connection.
    Alerts,
}

/// The keys on the way to a value.
pub type Path = &'static [&'static str];

/// A key of a record.
#[derive(Debug)]
pub enum Key {
    /// Its value is this fact.
    Value(&'static str, Fact),
    /// Its value is an object with keys of its own.
    Object(&'static str, &'static [Key]),
}

impl Key {
    /// Returns the name, as the console writes it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Value(name, _) | Self::Object(name, _) => name,
        }
    }
}

/// What a value says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    Id,
    /// The id, where [`Fact::Id`] has none.
    OtherId,
    Created,
    Updated,
    /// When it was last looked at.
    Scanned,
    Status,
    Verdict,
    ActivityType,
}

impl Fact {
    /// The number of facts: [`Fact::ActivityType`] is the last one.
    pub const COUNT: usize = Self::ActivityType as usize + 1;
}

/// What tells the versions of one record apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Nothing: records never change.
    Constant,
    /// The values of the first list whose first value is there. Without such a list, the values of the last one.
    Values(&'static [&'static [Fact]]),
    /// A hash of the content, but for these keys.
    Content { without: Path },
}

/// What can be compared with the console for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// Records never change: the records of an hour can be counted, and each has one identity.
    Records,
    /// Records change: whether each id was delivered at least once.
    Ids,
    /// Nothing: the console cannot be asked for records by their time of creation.
    Nothing,
}

/// How often a console shows something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// Some of the records come daily by nature.
    Daily,
    /// When something happens.
    Irregular,
    /// An inventory or a list of settings. The console shows it repeatedly, and it changes when an operator changes it.
    /// No time of a record says when something happened.
    Inventory,
}

/// A place for id and name of the account, the site and the group that a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The record is one of this level itself: its own `id` and `name`.
    Itself(Level),
    /// `accountId`, `accountName`, … of the object at this path.
    Flat(Path),
    /// `account.id`, `account.name`, … of the object at this path.
    Nested(Path),
}

/// Where a record says how severe it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeverityKeys {
    /// Nowhere.
    Nowhere,
    /// A word.
    Word(Path),
    /// How sure the console is, and of what.
    Confidence { level: Path, classification: Path },
}

impl Description {
    /// Returns whether records keep the time that the stream is ordered by.
    pub fn is_ordered_by_creation(&self) -> bool {
        self.order == [Fact::Created]
    }

    /// Returns whether records have a time that says when something happened.
    pub fn has_own_time(&self) -> bool {
        self.frequency != Frequency::Inventory
    }
}

impl Stream {
    /// See [`Description::name`].
    pub const fn name(self) -> &'static str {
        self.description().name
    }

    /// See [`Description::singular`].
    pub const fn singular(self) -> &'static str {
        self.description().singular
    }
}

impl Accounting {
    pub const fn of(stream: Stream) -> Self {
        stream.description().accounting
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown stream `{0}`; the streams are {names}", names = Stream::ALL.map(Stream::name).join(", "))]
pub struct UnknownStream(String);

impl FromStr for Stream {
    type Err = UnknownStream;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|stream| stream.name() == name).ok_or_else(|| UnknownStream(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_one_name_in_files_and_in_errors() {
        let names = Stream::ALL.map(|stream| {
            assert_eq!(serde_json::to_value(stream).unwrap(), stream.name());
            assert_eq!(stream.name().parse::<Stream>().unwrap(), stream);
            stream.name()
        });
        let error = "threat".parse::<Stream>().unwrap_err().to_string();
        assert_eq!(error, format!("unknown stream `threat`; the streams are {}", names.join(", ")));
    }

    /// A fact that no key has would be missing in each record.
    #[test]
    fn what_orders_and_versions_a_stream_has_a_key() {
        fn facts(keys: &[Key]) -> Vec<Fact> {
            keys.iter()
                .flat_map(|key| match key {
                    Key::Value(_, fact) => vec![*fact],
                    Key::Object(_, keys) => facts(keys),
                })
                .collect()
        }
        for stream in Stream::ALL {
            let description = stream.description();
            let facts = facts(description.keys);
            let versions = if let Version::Values(lists) = description.version { lists } else { &[] };
            let wanted: Vec<Fact> = versions.iter().copied().flatten().chain(description.order).copied().collect();
            assert!(facts.contains(&Fact::Id) || facts.contains(&Fact::OtherId), "{stream}");
            assert!(!description.order.is_empty() && wanted.iter().all(|fact| facts.contains(fact)), "{stream}");
            // What never changes is counted, and only that.
            let is_constant = description.version == Version::Constant;
            assert_eq!(is_constant, description.accounting == Accounting::Records, "{stream}");
        }
    }
}
