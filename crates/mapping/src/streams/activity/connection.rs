//! The connection of a firewall activity. Consoles name its ends in two ways: `reportedRemoteHost` and `remoteHost`.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::ActivityData;

use crate::common::missing::is_set;
use crate::parts::{DIRECTIONS, Direction, Peer};

#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    pub local: Peer<'a>,
    pub remote: Peer<'a>,
    pub direction: Option<Direction>,
    pub protocol: Value<'a>,
}

impl<'a> Connection<'a> {
    pub fn of(data: &ActivityData<'a>) -> Self {
        let remote_port = first_set([data.reported_remote_port, data.remote_port, data.port]);
        Self {
            local: Peer {
                host: first_set([data.reported_local_host, data.local_host]),
                port: first_set([data.reported_local_port, data.local_port]),
            },
            remote: Peer { host: first_set([data.reported_remote_host, data.remote_host]), port: remote_port },
            direction: DIRECTIONS.of(first_set([data.reported_direction, data.direction])),
            protocol: first_set([data.reported_protocol, data.protocol]),
        }
    }
}

/// Returns the first value that is neither a placeholder nor `any`. A rule has `any` for a value that it does not
/// restrict.
fn first_set<'a, const N: usize>(values: [Value<'a>; N]) -> Value<'a> {
    let is_any = |value: Value<'_>| value.escaped().is_some_and(|text| text.is("any"));
    values.into_iter().find(|value| is_set(*value) && !is_any(*value)).unwrap_or_default()
}
