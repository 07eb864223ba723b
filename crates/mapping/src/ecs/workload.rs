//! `container.*` and `orchestrator.*`.

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::{Event, is_placeholder};
use crate::common::text_set::TextSet;
use crate::common::workload::{Image, split_label};
use crate::parts::{Container, EcsTask, Pod};

/// Labels stay in the record, and so does an image that was split.
pub(super) fn container(event: &mut Event<'_>, container: &Container<'_>) {
    let open = event.open("container");
    if let Some(id) = event.optional("id", container.id_text()) {
        event.mark_if(container.id, id.raw());
    }
    event.text("name", container.name);
    if let Some(text) = container.image.escaped().filter(|text| !is_placeholder(*text)) {
        write_image(event, text);
        if Some(text.raw()) == Image::of(text.raw()).name {
            event.mark(container.image);
        }
    }
    write_labels(event, container.labels);
    event.close(open);
}

fn write_image(event: &mut Event<'_>, text: Escaped<'_>) {
    let image = Image::of(text.raw());
    let open = event.open("image");
    if let Some(name) = image.name {
        event.json.word("name", name);
    }
    event.words("tag", image.tag);
    let hash = event.open("hash");
    event.words("all", image.digest);
    event.close(hash);
    event.close(open);
}

/// Writes labels as `container.labels`, from a list or from one text with commas. A dot would make a path of a name,
/// and two labels could collide.
fn write_labels(event: &mut Event<'_>, labels: Value<'_>) {
    let open = event.open("labels");
    let mut seen = TextSet::default();
    let mut write = |text: &str| {
        let Some((name, value)) = split_label(text) else { return };
        let name = name.replace('.', "_");
        if seen.add(Escaped::plain(&name)) {
            event.json.text_named(&name, value);
        }
    };
    if labels.kind() == Kind::Array {
        labels.elements().filter_map(Value::text).for_each(|text| write(&text));
    } else if let Some(text) = labels.text() {
        text.split(',').for_each(write);
    }
    event.close(open);
}

pub(super) fn kubernetes(event: &mut Event<'_>, pod: &Pod<'_>) {
    if !pod.is_set {
        return;
    }
    let open = event.open("orchestrator");
    event.json.word("type", "kubernetes");
    let object = event.open("cluster");
    event.text("name", pod.cluster);
    event.close(object);
    event.text("namespace", pod.namespace);
    let resource = event.open("resource");
    if event.text("name", pod.name).is_some() {
        event.json.word("type", "pod");
    }
    let mut labels = event.take_sets();
    pod.labels.elements().for_each(|label| labels[0].add_value(label));
    labels[0].write(&mut event.json, "label");
    event.return_sets(labels);
    let parent = event.open("parent");
    event.text("type", pod.controller_kind);
    event.close(parent);
    event.close(resource);
    event.close(open);
}

pub(super) fn ecs_task(event: &mut Event<'_>, task: &EcsTask<'_>) {
    let open = event.open("orchestrator");
    event.json.word("type", "ecs");
    let cluster = event.open("cluster");
    event.text("name", task.cluster);
    event.close(cluster);
    let resource = event.open("resource");
    event.text("name", task.service);
    event.close(resource);
    event.close(open);
}
