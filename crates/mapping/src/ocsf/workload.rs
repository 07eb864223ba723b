//! `cloud`, and the containers and images of a device.

use s1_forwarder_record::workload::Container;
use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::{Event, Profile};
use crate::common::cloud::{provider, region_of_zone};
use crate::common::placeholder::{first_scalar, is_placeholder, is_set};
use crate::common::workload::Image;

/// Where a device runs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cloud<'a> {
    provider: Option<&'a str>,
    location: Value<'a>,
    region: Value<'a>,
    zone: Value<'a>,
    account: Value<'a>,
    pub instance: Value<'a>,
    pub image: Value<'a>,
    pub network: Value<'a>,
    pub subnet: Value<'a>,
}

impl<'a> Cloud<'a> {
    /// The first provider of `cloudProviders`.
    pub fn of(providers: Value<'a>) -> Self {
        let Some((name, values)) = provider(providers) else { return Self::default() };
        let name = match name {
            std::borrow::Cow::Borrowed(name) => name,
            // No provider's name has escapes.
            std::borrow::Cow::Owned(_) => return Self::default(),
        };
        Self {
            provider: Some(name),
            location: values.get("cloudLocation"),
            account: values.get("cloudAccount"),
            instance: values.get("cloudInstanceId"),
            image: values.get("cloudImage"),
            network: values.get("cloudNetwork"),
            subnet: first_scalar([values.get("cloudSubnet"), values.get("subnetUid")]),
            ..Self::default()
        }
    }

    /// The flat object of a unified alert with its provider-specific details.
    pub fn detected(detected: Value<'a>) -> Self {
        let details = detected.get("providerDetails");
        let name = detected.get("cloudProvider").escaped().filter(|text| !is_placeholder(*text));
        Self {
            provider: name.map(Escaped::raw),
            location: detected.get("location"),
            region: details.get("region"),
            zone: details.get("zone"),
            account: first_scalar([details.get("subscriptionId"), detected.get("accountId")]),
            instance: first_scalar([detected.get("instanceId"), details.get("instanceId")]),
            ..Self::default()
        }
    }

    /// Writes `cloud` of the event. Without a provider, there is none.
    pub fn write(&self, event: &mut Event<'_>) {
        let Some(provider) = self.provider else { return };
        event.using(Profile::Cloud);
        let open = event.open("cloud");
        event.json.escaped("provider", Escaped::plain(provider));
        let location = self.location.escaped();
        let zone = self.zone.escaped();
        let of_zone = location.or(zone).and_then(region_of_zone);
        event.optional("region", self.region.escaped().or(of_zone).or(location));
        event.optional("zone", zone.or(location.filter(|_| of_zone.is_some())));
        let account = event.open("account");
        event.optional("uid", self.account.escaped());
        event.close(account);
        event.close(open);
    }
}

/// Writes a container. It needs an id or a name.
pub(super) fn container(event: &mut Event<'_>, container: &Container<'_>, in_kubernetes: bool) -> bool {
    fields(event, [container.id, container.name, container.image], container.labels, in_kubernetes)
}

/// As [`container`], with id, name and image. Labels stay in the record.
pub(super) fn fields(event: &mut Event<'_>, values: [Value<'_>; 3], labels: Value<'_>, in_kubernetes: bool) -> bool {
    let [id, name, image] = values;
    if !is_set(id) && !is_set(name) {
        return false;
    }
    let open = event.open("container");
    event.text("uid", id);
    event.text("name", name);
    // OCSF requires the id of an image; the text names it as a whole.
    let object = event.open("image");
    if let Some(text) = event.text("uid", image) {
        let parts = Image::of(text.raw());
        event.json.word("name", parts.name);
        let list = event.json.open_list("labels");
        parts.tag.into_iter().for_each(|tag| event.json.element(Escaped::plain(tag)));
        event.json.close(list);
    }
    event.close(object);
    if labels.kind() == Kind::Array {
        let list = event.json.open_list("labels");
        let texts = labels.elements().filter_map(Value::escaped);
        texts.filter(|text| !is_placeholder(*text)).for_each(|text| event.json.element(text));
        event.json.close(list);
    }
    if in_kubernetes {
        event.json.word("orchestrator", "kubernetes");
    }
    event.close(open);
    true
}
