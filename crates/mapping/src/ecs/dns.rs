//! `dns.*`, from the request and the response of an alert.

use s1_forwarder_record::{Escaped, Value};

use super::event::Event;
use crate::common::address::Address;
use crate::common::dns::{Answer, Data};

/// Writes question and answers. The response is one text with semicolons, which stays in the record unless it is a
/// single answer.
pub(super) fn write(event: &mut Event<'_>, request: Value<'_>, response: Value<'_>) {
    let open = event.open("dns");
    let question = event.open("question");
    if let Some(name) = event.text("name", request)
        && Address::of(name).is_none()
    {
        event.related.hosts.add(name);
    }
    event.close(question);
    if let Some(text) = response.escaped() {
        write_answers(event, text);
        if text.split(';').next() == Some(text) && Answer::of(text).is_some_and(|answer| answer.data() == text) {
            event.mark(response);
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
