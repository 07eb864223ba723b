//! Kafka code that sinks and the state store share: transactional checkpoints in a compacted topic. At most one process
//! may write the checkpoints of a lane.
//!
//! A [`TransactionalId`] manages one transactional id for the lanes that commit under it. Each initialisation of the id
//! begins a session. When a lane's session ends, the lane has to read its checkpoint again. `docs/dev/delivery.md`
//! explains the rules and the failure that each rule prevents.

mod claim;
mod connect;
mod end_txn;
mod error;
mod events;
mod group;
mod headers;
mod items;
mod location;
mod lock;
pub(crate) mod options;
mod read_back;
mod reader;
mod record;
mod roles;
mod scan;
mod send;
mod session;
mod snapshot;
mod token_admin;
mod topic;
mod transactional_id;

pub(crate) use claim::PROCESS;
pub(crate) use connect::{Connect, Producer, close, find_partitions};
pub(crate) use error::{Class, class, is_refusal};
pub(crate) use events::{BrokerError, Events, Tokens};
pub(crate) use group::{Abort, AbortCause, CHECKPOINT, CommitOutcome};
pub(crate) use items::{GroupSize, ItemKey, Items};
pub use location::{KafkaLocation, KafkaLocationError};
pub(crate) use location::{is_broker, is_topic};
pub(crate) use read_back::Retention;
pub(crate) use send::{Report, Sent};
pub(crate) use snapshot::IfDamaged;
pub(crate) use topic::Topic;
pub(crate) use transactional_id::{Lane, TransactionalId, TransactionalIds};
