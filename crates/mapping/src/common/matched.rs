//! The event that a detection rule matched, for both schemas.

use s1_forwarder_record::Value;

use super::event_kind::EventKind;
use super::missing::is_set;
use super::words::Words;

/// By the type of an event.
pub const EVENT_TRANSPORTS: Words<&str> =
    Words { field: "network.transport", rows: &[("tcp*", "tcp"), ("udp*", "udp")] };

/// By the type of an event.
pub const EVENT_IP_VERSIONS: Words<&str> = Words {
    field: "network.type",
    rows: &[("tcpv4*", "ipv4"), ("udpv4*", "ipv4"), ("tcpv6*", "ipv6"), ("udpv6*", "ipv6")],
};

/// The event that a detection rule matched, from the values of the record.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    pub event_type: Value<'a>,
    pub kind: Option<EventKind>,
    /// Whether the record names the process that was acted on.
    pub has_target: bool,
    pub is_successful: Value<'a>,
}

impl<'a> Matched<'a> {
    /// Reads the event. `login` are values that only logins have; the first one says whether the login succeeded. With
    /// one of these values, the event is a login, whatever its type. An event without a type is an indicator if it has
    /// an indicator's category.
    pub fn new(event_type: Value<'a>, category: Value<'a>, login: [Value<'a>; 4], target: [Value<'a>; 3]) -> Self {
        let kind = match EventKind::of(event_type) {
            Some(EventKind::Logout) => Some(EventKind::Logout),
            _ if login.into_iter().any(is_set) => Some(EventKind::Login),
            None if event_type.is_empty() && !category.is_empty() => Some(EventKind::Indicator),
            kind => kind,
        };
        Self { event_type, kind, has_target: target.into_iter().any(is_set), is_successful: login[0] }
    }

    /// Returns `tcp` or `udp`, if the type of the event names it.
    pub fn transport(&self) -> Option<&'static str> {
        EVENT_TRANSPORTS.of(self.event_type)
    }

    /// Returns `ipv4` or `ipv6`, if the type of the event names it.
    pub fn ip_version(&self) -> Option<&'static str> {
        EVENT_IP_VERSIONS.of(self.event_type)
    }
}
