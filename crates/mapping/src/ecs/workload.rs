//! `container.*` and `orchestrator.*`.

use s1_forwarder_record::{Escaped, Value};

use super::event::{Event, is_missing_word};
use crate::common::text_set::TextSet;
use crate::common::workload::{Image, labels, split_label};
use crate::parts::{Container, EcsTask, Pod};

/// Writes `container`. Labels stay in the record, and so does an image that was split.
pub(super) fn container(event: &mut Event<'_>, container: &Container<'_>) {
    let open = event.open("container");
    if let Some(id) = event.optional("id", container.id_text()) {
        event.mark_if(container.id, id.raw());
    }
    event.text("name", container.name);
    if let Some(text) = container.image.escaped().filter(|text| !is_missing_word(*text)) {
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

/// Writes `container.labels`. `_` replaces a dot, which would make the name a path and might collide with another
/// label.
fn write_labels(event: &mut Event<'_>, value: Value<'_>) {
    let open = event.open("labels");
    let mut seen = TextSet::default();
    for label in labels(value) {
        let label = label.decode();
        let Some((name, value)) = split_label(&label) else { continue };
        let name = name.replace('.', "_");
        if seen.add(Escaped::plain(&name)) {
            event.json.text_named(&name, value);
        }
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
    let mut sets = event.take_sets();
    labels(pod.labels).for_each(|label| sets[0].insert(label));
    sets[0].write(&mut event.json, "label");
    event.return_sets(sets);
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
