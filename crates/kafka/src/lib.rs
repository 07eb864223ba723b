//! Kafka code that sinks and the state store share: transactional checkpoints in a compacted topic. At most one process
//! may write the checkpoints of a lane.
//!
//! A [`TransactionalId`] manages one transactional id for the lanes that commit under it. Each initialisation of the id
//! begins a producer session. When a lane's session ends, the lane has to read its checkpoint again.
//! `docs/dev/delivery.md` explains the rules and the failure that each rule prevents.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod claim;
mod client_settings;
mod end_txn;
mod error;
mod events;
mod headers;
mod items;
mod location;
mod lock;
mod lookup;
pub mod options;
mod reader;
mod record;
mod roles;
mod scan;
mod send;
mod session;
mod token_admin;
mod topic;
mod topic_content;
mod transactional_id;
mod transactional_producer;

pub use claim::PROCESS_NAME;
pub use client_settings::{ClientSettings, Producer, close, find_partitions};
pub use error::{Class, class, is_refusal};
pub use events::{BrokerError, ClientReports, Tokens};
pub use items::{ItemKey, Items, LaneSize};
pub use location::{KafkaLocation, KafkaLocationError};
pub use location::{is_broker, is_topic};
pub use lookup::{SentEvent, TopicRetention};
pub use roles::Sharing;
pub use send::{Report, Sent};
pub use topic::Topic;
pub use topic_content::IfDamaged;
pub use transactional_id::{OwnedLane, TransactionalId, TransactionalIds};
pub use transactional_producer::{Abort, AbortCause, CommitOutcome};
