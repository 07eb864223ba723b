//! `dns.*`, from the request and the response of an alert.

use super::address::Address;
use super::event::{Event, is_placeholder};
use crate::record::{Escaped, Value};

/// What a response without an answer has in its place.
const NO_DATA: [&str; 5] = ["-", "NODATA", "NXDOMAIN", "REFUSED", "SERVFAIL"];

/// Writes question and answers. The response is one text with semicolons, which stays in the record unless it is a
/// single answer.
pub(super) fn write(event: &mut Event<'_>, request: &mut Value<'_>, response: &mut Value<'_>) {
    let open = event.open("dns");
    let question = event.open("question");
    if let Some(name) = event.keyword("name", request)
        && Address::of(name).is_none()
    {
        event.related.hosts.add(name);
    }
    event.close(question);
    if let Some(text) = response.escaped() {
        write_answers(event, text);
        if text.split(';').next() == Some(text) && Answer::of(text).is_some_and(|answer| answer.data() == text) {
            response.take();
        }
    }
    event.close(open);
}

fn write_answers(event: &mut Event<'_>, response: Escaped<'_>) {
    let answers = || response.split(';').filter_map(Answer::of);
    let list = event.json.open_list("answers");
    for answer in answers() {
        let element = event.json.open_element();
        if let Some(kind) = answer.kind {
            event.json.word("type", kind);
        }
        event.json.escaped("data", answer.data());
        event.json.close(element);
    }
    event.json.close(list);
    let [mut addresses, unused] = event.take_sets();
    for answer in answers() {
        match &answer.data {
            Data::Address(address) => {
                addresses.insert(address.as_escaped());
                event.related.add_ip(address);
            }
            Data::Text(text) if answer.is_host() => event.related.hosts.insert(*text),
            Data::Text(_) => {}
        }
    }
    addresses.write(&mut event.json, "resolved_ip");
    event.return_sets([addresses, unused]);
}

/// One of the answers in a response.
struct Answer<'a> {
    kind: Option<&'static str>,
    data: Data<'a>,
}

enum Data<'a> {
    Address(Address),
    Text(Escaped<'a>),
}

impl<'a> Answer<'a> {
    /// Reads `type: 5 www.example.com`, or data without its type.
    fn of(text: Escaped<'a>) -> Option<Self> {
        let (kind, data) = match text.raw().split_at_checked(5) {
            Some((prefix, typed)) if prefix.eq_ignore_ascii_case("type:") => {
                let (number, data) = typed.trim_start().split_once(' ')?;
                (record_type(number), Escaped::plain(data.trim()))
            }
            _ => (None, text),
        };
        if is_placeholder(data) || NO_DATA.iter().any(|word| data.is(word)) {
            return None;
        }
        Some(match Address::of(data) {
            Some(address) => {
                Self { kind: Some(if address.is_v6() { "AAAA" } else { "A" }), data: Data::Address(address) }
            }
            None => Self { kind, data: Data::Text(data) },
        })
    }

    fn data(&self) -> Escaped<'_> {
        match &self.data {
            Data::Address(address) => address.as_escaped(),
            Data::Text(text) => *text,
        }
    }

    /// Whether the data is the name of a host.
    fn is_host(&self) -> bool {
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        match self.kind {
            Some(kind) => matches!(kind, "CNAME" | "NS" | "PTR"),
            None => is_name(self.data().raw()),
        }
    }
}

/// The name of a record type in the registry of DNS parameters at IANA.
fn record_type(number: &str) -> Option<&'static str> {
    Some(match number {
        "1" => "A",
        "2" => "NS",
        "5" => "CNAME",
        "6" => "SOA",
        "12" => "PTR",
        "15" => "MX",
        "16" => "TXT",
        "28" => "AAAA",
        "33" => "SRV",
        "64" => "SVCB",
        "65" => "HTTPS",
        _ => return None,
    })
}
