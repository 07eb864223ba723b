//! The keys under which a store keeps the entries of a lane.

use std::fmt;
use std::str::FromStr;

use s1_forwarder_record::{LaneId, LaneIdError};

use super::ledger::Hour;

/// The key under which a checkpoint is stored.
///
/// The key of a lane of the worker is written `pipeline/stream/sink`. Commands store their entries in areas of their
/// own, with a suffix after the sink's name: `+plan` and `+slice-000007` for backfills, `+GENERATION-HOUR-all-NUMBER`
/// (or `-part-`) for repairs, `+replays-GENERATION` for replayed dead letters, and `+returned` and `+returning` for
/// events that a destination had lost. The lock of an area is `+lock`. The usage of a lane is stored as `+usage`, and
/// the usage of its backfills as `+backfill-usage`. No sink's name has a `+`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckpointKey {
    /// The lane.
    pub lane: LaneId,
    /// The part of the lane that the entry is about.
    pub part: StoredPart,
}

/// The part of a lane that a stored entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoredPart {
    /// The lane itself, as the worker runs it.
    Whole,
    /// The plan of a backfill; not a checkpoint, but stored like one.
    BackfillPlan,
    /// One slice of a backfill, by its place in the plan.
    BackfillSlice(usize),
    /// A repair.
    Repair {
        /// The generation of the ledger that it completes.
        generation: u64,
        /// The hour of creation that was read again.
        hour: Hour,
        /// Whether all records of the hour were delivered again, and not only the missing ones.
        whole: bool,
        /// The number of this repair among the repairs of the hour.
        number: u32,
    },
    /// The dead letters that replays have delivered.
    Replays {
        /// The generation of the ledger that has accounted for them.
        generation: u64,
    },
    /// The events that were delivered to the lane's destination again, because they were not there any more; not a
    /// checkpoint, but stored like one.
    Returned,
    /// The lane that delivers events again that the destination has lost. It has a checkpoint like any lane.
    Returning,
    /// The lock of an area, which belongs to no lane; not a checkpoint, but stored like one.
    Lock,
    /// The usage of the lane ([`s1_forwarder_telemetry::usage`]); not a checkpoint, but stored like one.
    Usage,
    /// The usage of the lane's backfills; not a checkpoint either.
    BackfillUsage,
}

impl From<LaneId> for CheckpointKey {
    fn from(lane: LaneId) -> Self {
        Self { lane, part: StoredPart::Whole }
    }
}

impl fmt::Display for CheckpointKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.lane, self.part)
    }
}

impl FromStr for CheckpointKey {
    type Err = LaneIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (lane, part) = match text.split_once('+') {
            Some((lane, part)) => (lane, StoredPart::parse(part)),
            None => (text, Some(StoredPart::Whole)),
        };
        let part = part.ok_or_else(|| LaneIdError(text.to_owned()))?;
        Ok(Self { lane: lane.parse()?, part })
    }
}

/// The suffix in the checkpoint's name.
impl fmt::Display for StoredPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::BackfillPlan => formatter.write_str("+plan"),
            Self::BackfillSlice(number) => write!(formatter, "+slice-{number:06}"),
            Self::Repair { generation, hour, whole, number } => {
                write!(formatter, "+{generation}-{}-{}-{number}", hour.0, if *whole { "all" } else { "part" })
            }
            Self::Replays { generation } => write!(formatter, "+replays-{generation}"),
            Self::Returned => formatter.write_str("+returned"),
            Self::Returning => formatter.write_str("+returning"),
            Self::Lock => formatter.write_str("+lock"),
            Self::Usage => formatter.write_str("+usage"),
            Self::BackfillUsage => formatter.write_str("+backfill-usage"),
        }
    }
}

impl StoredPart {
    /// Returns whether this is the usage of lanes or of backfills, which is no checkpoint.
    pub const fn is_usage(self) -> bool {
        matches!(self, Self::Usage | Self::BackfillUsage)
    }

    /// Parses a suffix without its `+`; `None` if it is not one.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            ["plan"] => Some(Self::BackfillPlan),
            ["returned"] => Some(Self::Returned),
            ["returning"] => Some(Self::Returning),
            ["lock"] => Some(Self::Lock),
            ["usage"] => Some(Self::Usage),
            ["backfill", "usage"] => Some(Self::BackfillUsage),
            ["replays", generation] => Some(Self::Replays { generation: generation.parse().ok()? }),
            ["slice", number] => Some(Self::BackfillSlice(number.parse().ok()?)),
            [generation, hour, whole @ ("all" | "part"), number] => Some(Self::Repair {
                generation: generation.parse().ok()?,
                hour: Hour(hour.parse().ok()?),
                whole: whole == "all",
                number: number.parse().ok()?,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let lane: LaneId = "acme/threats/siem".parse().unwrap();
        let repair = |whole| StoredPart::Repair { generation: 3, hour: Hour(472_222), whole, number: 1 };
        for (part, name) in [
            (StoredPart::Whole, "acme/threats/siem"),
            (StoredPart::BackfillPlan, "acme/threats/siem+plan"),
            (StoredPart::BackfillSlice(7), "acme/threats/siem+slice-000007"),
            (repair(true), "acme/threats/siem+3-472222-all-1"),
            (repair(false), "acme/threats/siem+3-472222-part-1"),
            (StoredPart::Replays { generation: 3 }, "acme/threats/siem+replays-3"),
            (StoredPart::Returned, "acme/threats/siem+returned"),
            (StoredPart::Returning, "acme/threats/siem+returning"),
            (StoredPart::Lock, "acme/threats/siem+lock"),
            (StoredPart::Usage, "acme/threats/siem+usage"),
            (StoredPart::BackfillUsage, "acme/threats/siem+backfill-usage"),
        ] {
            let key = CheckpointKey { lane: lane.clone(), part };
            assert_eq!(key.to_string(), name);
            assert_eq!(name.parse::<CheckpointKey>().unwrap(), key);
        }
        for wrong in [
            "acme/threats",
            "acme/threats/siem+",
            "acme/threats/siem+slice",
            "acme/threats/siem+1-2-some-3",
            "../threats/siem",
            "../../x/threats/siem",
            "acme/threats/..",
            "acme/../siem",
            "/acme/threats/siem",
            "acme\0/threats/siem",
            "acme/threats/siem\n",
        ] {
            assert!(wrong.parse::<CheckpointKey>().is_err(), "{wrong}");
        }
    }
}
