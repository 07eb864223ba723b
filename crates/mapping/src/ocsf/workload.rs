//! `cloud`, and the containers and images of a device.

use s1_forwarder_record::Escaped;

use super::event::{Event, Profile};
use crate::common::missing::is_set;
use crate::common::workload::{Image, labels};
use crate::parts::{Cloud, Container};

/// Writes `cloud` of the event, which needs a provider.
pub(super) fn cloud(event: &mut Event<'_>, cloud: &Cloud<'_>) {
    let Some(provider) = cloud.provider else { return };
    event.using(Profile::Cloud);
    let open = event.open("cloud");
    event.json.escaped("provider", provider);
    let [region, zone] = cloud.region_and_zone();
    event.optional("region", region);
    event.optional("zone", zone);
    let account = event.open("account");
    event.optional("uid", cloud.account.escaped());
    event.close(account);
    event.close(open);
}

/// Writes a container, which needs an id or a name. Labels stay in the record. Returns whether it was written.
pub(super) fn container(event: &mut Event<'_>, container: &Container<'_>, in_kubernetes: bool) -> bool {
    let Container { id, name, image, .. } = *container;
    if !is_set(id) && !is_set(name) {
        return false;
    }
    let open = event.open("container");
    if let Some(text) = event.optional("uid", container.id_text()) {
        event.mark_if(id, text.raw());
    }
    event.text("name", name);
    // OCSF requires the id of an image: the whole text is the id.
    let object = event.open("image");
    if let Some(text) = event.text("uid", image) {
        let parts = Image::of(text.raw());
        if let Some(name) = parts.name {
            event.json.word("name", name);
        }
        let list = event.json.open_list("labels");
        if let Some(tag) = parts.tag {
            event.json.element(Escaped::plain(tag));
        }
        event.json.close(list);
    }
    event.close(object);
    let list = event.json.open_list("labels");
    labels(container.labels).for_each(|label| event.json.element(label));
    event.json.close(list);
    if in_kubernetes {
        event.json.word("orchestrator", "kubernetes");
    }
    event.close(open);
    true
}
