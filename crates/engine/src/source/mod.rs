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
mod requests;
mod responses;
mod rhythm;
mod scope_list;
mod seen_scope;
mod settings;
mod streams;
mod window;

pub use findings::Findings;
pub use latest_records::LatestRecords;
pub use pass::{Pass, PassKeys, PassKind, PollContext, RecordKey};
pub use poll::{Action, ConsoleHabits, NotDue, Poll, PollEnd, PulledPage, PulledRecord, RecordFilter};
pub use position::{
    KnownState, MAIN_PASS, PassPosition, PositionPart, PositionReader, Settling, Snapshot, SnapshotStage,
    SourcePosition,
};
pub use requests::Request;
pub use responses::{read_list, read_page};
pub use rhythm::{ObservedRecords, Rhythm};
pub use seen_scope::{SeenScope, VisibleScopes, named_scopes};
pub use settings::pull_settings::PullSettings;
pub use settings::silent_after::SilentAfter;
pub use settings::since::Since;
pub use settings::{Activities, Groups, StreamSettings, Threats};
pub use streams::{
    ActivityFilter, ActivityInclude, AgentMode, AgentSettings, Agents, Alerts, Enrichment, FindingSeverity,
    StreamOptions, ThreatInclude, UnifiedAlertFilter, UnifiedAlertView, UnifiedAlerts, VOLATILE_AGENT_KEYS,
    Vulnerabilities, is_by_scope,
};
pub use window::{TimeField, Window};
