//! `network.*`.

use s1_forwarder_record::Value;

use super::event::{Event, is_missing_word};
use crate::common::matched::Matched;
use crate::common::words::Words;
use crate::parts::Direction;

/// Transports by their numbers at IANA.
pub(super) const TRANSPORTS: Words<&str> = Words {
    field: "network.transport",
    rows: &[
        ("1", "icmp"),
        ("2", "igmp"),
        ("6", "tcp"),
        ("17", "udp"),
        ("47", "gre"),
        ("50", "esp"),
        ("51", "ah"),
        ("58", "ipv6-icmp"),
        ("132", "sctp"),
    ],
};

/// Writes the protocol, transport and type of a detection, if the type of its event names them.
pub(super) fn by_event_type(event: &mut Event<'_>, matched: &Matched<'_>, is_dns: bool) {
    if is_dns {
        event.json.word("protocol", "dns");
    }
    if let Some(transport) = matched.transport() {
        event.json.word("transport", transport);
    }
    if let Some(version) = matched.ip_version() {
        event.json.word("type", version);
    }
}

/// Writes `transport`, from the name of a protocol or from its number at IANA.
pub(super) fn transport(event: &mut Event<'_>, protocol: Value<'_>) {
    let Some(text) = protocol.escaped().filter(|text| !is_missing_word(*text)) else { return };
    if text.raw().parse::<u8>().is_err() {
        return event.json.lower_case("transport", text);
    }
    event.json.word("iana_number", text.raw());
    if let Some(name) = TRANSPORTS.find(text.raw()) {
        event.json.word("transport", name);
    }
}

pub(super) fn direction(event: &mut Event<'_>, direction: Option<Direction>) {
    if let Some(direction) = direction {
        event.json.word("direction", ecs_direction(direction));
    }
}

pub(super) fn ecs_direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "ingress",
        Direction::Outbound => "egress",
    }
}
