//! The parts of an activity's event that come from `data`.

use s1_forwarder_record::{Escaped, Value};

use super::endpoint;
use super::event::{Event, is_missing_word};
use super::network;
use crate::common::activity_types::Object;
use crate::common::address::Address;
use crate::common::category::Category;
use crate::common::hash::hash;
use crate::common::missing::is_domain;
use crate::common::threat::extension;
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{Direction, Endpoint, Os, Peer, Rule};
use crate::streams::activity::{ActivityClass, ActivityParts, Connection, Exclusion, Peripheral, ReportedFile};

/// Writes `package.*`: the agent, unless the console itself or an app of the marketplace was changed. The console does
/// not name the app.
pub(super) fn package(event: &mut Event<'_>, class: &ActivityClass, version: Value<'_>) {
    if !class.is(Category::Package) {
        return;
    }
    let open = event.open("package");
    match class.object {
        Some(Object::Console) => event.json.word("name", "SentinelOne Management Console"),
        Some(Object::MarketplaceApp) => {}
        _ => event.json.word("name", "SentinelOne Agent"),
    }
    event.text("version", version);
    event.close(open);
}

/// Writes the address of a console user.
pub(super) fn source(event: &mut Event<'_>, address: Value<'_>) {
    let open = event.open("source");
    event.ip("ip", address);
    event.close(open);
}

/// Writes `host.*` of an endpoint, and returns its platform. Without an endpoint, returns the platform of an exclusion
/// or a blocklist entry.
pub(super) fn host<'a>(event: &mut Event<'_>, endpoint: &Endpoint<'a>) -> Value<'a> {
    let open = event.open("host");
    endpoint::names(event, endpoint.names);
    event.text("id", endpoint.agent_id);
    endpoint::addresses(event, endpoint);
    endpoint::mark_addresses(event, endpoint);
    let platform = if event.is_empty(&open) { Value::default() } else { platform(event, &endpoint.os) };
    event.close(open);
    platform
}

/// Writes `host.os`, and returns the family. The event has the family in lower case.
fn platform<'a>(event: &mut Event<'_>, os: &Os<'a>) -> Value<'a> {
    let open = event.open("os");
    endpoint::os_fields(event, os);
    event.close(open);
    let is_lower_case = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if os.family.escaped().is_some_and(|text| text.raw().bytes().all(is_lower_case)) {
        os.types.into_iter().filter(|word| *word == os.family).for_each(|word| event.mark(word));
    }
    os.family
}

/// Writes `file.*`: the file that was detected, fetched, blocked or excluded. `platform` is the endpoint's platform.
pub(super) fn file(
    event: &mut Event<'_>,
    file: &ReportedFile<'_>,
    exclusion: &Exclusion<'_>,
    class: &ActivityClass,
    platform: Value<'_>,
) {
    let has_platform = exclusion.platforms.into_iter().any(|word| word.escaped().is_some() && word != platform);
    let is_entry = has_platform || class.object == Some(Object::Exclusion);
    let excluded = if class.is(Category::Configuration) { Excluded::of(exclusion, is_entry) } else { None };
    let value = exclusion.value;
    let open = event.open("file");
    let image = if file.is_missing() { None } else { file.image };
    event.path("path", file.path);
    let image = match excluded {
        Some(Excluded::Path) if image.is_none_or(|image| image.path.is_none()) => event.path("path", value).or(image),
        _ => image,
    };
    if let Some(image) = image {
        event.optional("name", Some(image.name));
        event.mark_if(file.display_name, image.name.raw());
    }
    let [hash, other] = file.hashes;
    file.hashes_of_command_line.into_iter().for_each(|hash| event.relate_hash(hash));
    event.hashes([hash, other, if excluded == Some(Excluded::Hash) { value } else { Value::default() }]);
    match (excluded, value.escaped()) {
        (Some(Excluded::Signer), _) => {
            let signature = event.open("code_signature");
            event.text("subject_name", value);
            event.close(signature);
        }
        // The text stays in the record: ECS has extensions without the dot.
        (Some(Excluded::FileType), Some(text)) => {
            let extension = Escaped::plain(text.raw().trim_start_matches(['*', '.']));
            if !is_missing_word(extension) {
                event.json.lower_case("extension", extension);
            }
        }
        _ => {
            if let Some(extension) = image.and_then(|image| extension(image.name)) {
                event.json.lower_case("extension", extension);
            }
        }
    }
    event.close(open);
}

/// The kind of the value of an exclusion or a blocklist entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excluded {
    Path,
    Hash,
    Signer,
    FileType,
}

/// Words for the kind of the excluded value, unless the value is a hash.
pub(super) const EXCLUSIONS: Words<Excluded> = Words {
    field: "file",
    rows: &[
        ("certificate", Excluded::Signer),
        ("signer", Excluded::Signer),
        ("signer_identity", Excluded::Signer),
        ("file_type", Excluded::FileType),
        ("path", Excluded::Path),
    ],
};

impl Excluded {
    /// Returns the field of the excluded value, for the manual.
    pub(super) fn field(&self) -> String {
        let field = match self {
            Self::Path => "`path`, or `hash` if it is one",
            Self::Hash => "`hash`",
            Self::Signer => "`code_signature.subject_name`",
            Self::FileType => "`extension`",
        };
        field.to_owned()
    }

    /// Returns the kind. `is_entry` means that a value without a kind belongs to an exclusion or a blocklist.
    fn of(exclusion: &Exclusion<'_>, is_entry: bool) -> Option<Self> {
        let text = exclusion.value.escaped()?.raw();
        let word = Word::of_value(exclusion.kind);
        let is_hash = hash(Escaped::plain(text)).is_some();
        let is_path = text.starts_with('/') || text.contains("\\\\");
        match EXCLUSIONS.find(word.as_str()) {
            Some(kind @ (Self::Signer | Self::FileType)) => Some(kind),
            None if word.as_str().is_empty() && !is_entry => None,
            _ if is_hash => Some(Self::Hash),
            Some(kind) => Some(kind),
            None => is_path.then_some(Self::Path),
        }
    }
}

/// Writes `process.*`: in firewall activities the process itself, else the malicious process.
pub(super) fn process(
    event: &mut Event<'_>,
    parts: &ActivityParts<'_, '_>,
    file: &ReportedFile<'_>,
    is_firewall: bool,
) {
    let open = event.open("process");
    if is_firewall {
        let process = parts.process();
        event.name_and_executable(process.name, process.executable);
        event.long("pid", process.pid);
    } else {
        let arguments = parts.arguments();
        let acting = parts.acting(file, &arguments);
        event.image(acting.process, Value::default());
        if acting.has_arguments {
            event.command_line("command_line", arguments.value());
        }
    }
    event.close(open);
}

/// Writes `device.*` of device control. ECS also has fields for the vendor and product numbers of a USB device.
pub(super) fn device(event: &mut Event<'_>, device: &Peripheral<'_>) {
    let open = event.open("device");
    event.first("id", device.ids);
    event.text("serial_number", device.serial_number);
    event.text("manufacturer", device.manufacturer);
    for (object, field, value) in
        [("vendor", "id", device.vendor_id), ("product", "id", device.product_id), ("model", "name", device.name)]
    {
        let open = event.open(object);
        event.text(field, value);
        event.close(open);
    }
    event.close(open);
}

/// Writes the rule that acted or was changed.
pub(super) fn rule(event: &mut Event<'_>, rule: &Rule<'_>) {
    let open = event.open("rule");
    event.text("id", rule.id);
    event.text("name", rule.name);
    event.text("description", rule.description);
    event.close(open);
}

/// Writes `source`, `destination` and `network` of a firewall activity. For inbound traffic the remote host is the
/// source.
pub(super) fn connection(event: &mut Event<'_>, connection: &Connection<'_>) {
    let (local, remote) = match connection.direction {
        Some(Direction::Inbound) => ("destination", "source"),
        _ => ("source", "destination"),
    };
    peer(event, local, connection.local);
    peer(event, remote, connection.remote);
    let open = event.open("network");
    network::transport(event, connection.protocol);
    network::direction(event, connection.direction);
    event.close(open);
}

fn peer(event: &mut Event<'_>, name: &'static str, peer: Peer<'_>) {
    let Peer { host, port } = peer;
    let open = event.open(name);
    if let Some(text) = host.escaped() {
        if Address::of(text).is_some() {
            event.ip("ip", host);
        } else if is_domain(text) {
            event.text("domain", host);
            event.related.hosts.add(text);
        }
    }
    event.port("port", port);
    event.close(open);
}
