//! Pulling: streams, their passes and positions, and polls, which decide what to ask the console and which records are
//! new.

mod count;
mod findings;
mod latest_records;
mod pager;
mod parameters;
mod pass;
mod poll;
mod position;
mod protocols;
mod pull;
mod requests;
mod responses;
mod rhythm;
mod scope_list;
mod seen_scope;
mod settings;
mod silent_after;
mod since;
mod stream_settings;
mod streams;
mod window;

pub use findings::Findings;
pub use latest_records::LatestRecords;
pub use pass::{Pass, PassKeys, PollContext, Reading, RecordKey};
pub use poll::{Action, Learned, NotDue, Poll, PollEnd, PulledPage, PulledRecord, Wanted};
pub use position::{
    Known, MAIN, PassPosition, PositionPart, PositionReader, Settling, Snapshot, SnapshotStage, SourcePosition,
};
pub use pull::Pull;
pub use requests::Request;
pub use responses::{read_list, read_page};
pub use rhythm::{Observed, Rhythm};
pub use seen_scope::{SeenScope, Visible, named_scopes};
pub use settings::{Activities, Groups, StreamSettings, Threats};
pub use silent_after::SilentAfter;
pub use since::Since;
pub use streams::{
    ActivityFilter, ActivityInclude, Addition, AgentPull, Agents, AlertFilter, AlertView, Alerts, FindingSeverity,
    Include, Mode, Own, UnifiedAlerts, VOLATILE, Vulnerabilities, is_by_scope,
};
pub use window::{By, Window};
