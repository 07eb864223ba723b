//! `container.*` and `orchestrator.*`.

use super::event::Event;
use crate::record::workload::{Container, EcsTask, Kubernetes};
use crate::record::{Escaped, Kind, Value};
use crate::transform::json::escape_into;

pub(super) fn container(event: &mut Event<'_>, container: &mut Container<'_>) {
    container_fields(event, &mut container.id, &mut container.name, &mut container.image, container.labels);
}

/// Labels stay in the record, and so does an image that was split.
pub(super) fn container_fields(
    event: &mut Event<'_>,
    id: &mut Value<'_>,
    name: &mut Value<'_>,
    image: &mut Value<'_>,
    labels: Value<'_>,
) {
    let open = event.open("container");
    event.keyword("id", id);
    event.keyword("name", name);
    if let Some(text) = image.escaped() {
        let (repository, tag) = split_image(text.raw());
        let open = event.open("image");
        event.json.word("name", repository);
        let list = event.json.open_list("tag");
        if let Some(tag) = tag {
            event.json.element(Escaped::plain(tag));
        }
        event.json.close(list);
        event.close(open);
        if repository == text.raw() {
            image.take();
        }
    }
    if labels.kind() == Kind::Array {
        write_labels(event, labels);
    }
    event.close(open);
}

/// Splits an image name. The text after the last colon is the tag, unless it has a slash (then the colon precedes a
/// registry's port) or the name has a digest.
fn split_image(image: &str) -> (&str, Option<&str>) {
    if let Some((repository, _digest)) = image.split_once('@') {
        return (repository, None);
    }
    match image.rsplit_once(':') {
        Some((repository, tag)) if !repository.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            (repository, Some(tag))
        }
        _ => (image, None),
    }
}

/// Writes `["k=v"]` as `container.labels`. A dot would make a path of a name, and two labels could collide.
fn write_labels(event: &mut Event<'_>, labels: Value<'_>) {
    let open = event.open("labels");
    let mut seen: Vec<String> = Vec::new();
    for label in labels.elements().filter_map(Value::text) {
        let Some((name, value)) = label.split_once('=') else { continue };
        let name = name.trim().replace('.', "_");
        if name.is_empty() || value.is_empty() || seen.contains(&name) {
            continue;
        }
        let mut escaped = Vec::with_capacity(name.len());
        escape_into(&mut escaped, name.as_bytes());
        event.json.text(std::str::from_utf8(&escaped).unwrap_or_default(), value);
        seen.push(name);
    }
    event.close(open);
}

pub(super) fn kubernetes(event: &mut Event<'_>, kubernetes: &mut Kubernetes<'_>) {
    if kubernetes.is_empty() {
        return;
    }
    kubernetes_fields(
        event,
        &mut kubernetes.cluster,
        &mut kubernetes.namespace,
        &mut kubernetes.pod,
        &mut kubernetes.controller_kind,
        Value::default(),
    );
}

pub(super) fn kubernetes_fields(
    event: &mut Event<'_>,
    cluster: &mut Value<'_>,
    namespace: &mut Value<'_>,
    pod: &mut Value<'_>,
    controller_kind: &mut Value<'_>,
    pod_labels: Value<'_>,
) {
    let open = event.open("orchestrator");
    event.json.word("type", "kubernetes");
    let object = event.open("cluster");
    event.keyword("name", cluster);
    event.close(object);
    event.keyword("namespace", namespace);
    let resource = event.open("resource");
    if event.keyword("name", pod).is_some() {
        event.json.word("type", "pod");
    }
    let mut labels = event.take_sets();
    pod_labels.elements().for_each(|label| labels[0].add_value(label));
    labels[0].write(&mut event.json, "label");
    event.return_sets(labels);
    let parent = event.open("parent");
    event.keyword("type", controller_kind);
    event.close(parent);
    event.close(resource);
    event.close(open);
}

pub(super) fn ecs_task(event: &mut Event<'_>, task: &mut EcsTask<'_>) {
    let open = event.open("orchestrator");
    event.json.word("type", "ecs");
    let cluster = event.open("cluster");
    event.keyword("name", &mut task.cluster_name);
    event.close(cluster);
    let resource = event.open("resource");
    event.keyword("name", &mut task.service_name);
    event.close(resource);
    event.close(open);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_split_at_their_tag() {
        assert_eq!(split_image("nginx"), ("nginx", None));
        assert_eq!(split_image("nginx:1.25"), ("nginx", Some("1.25")));
        assert_eq!(split_image("registry:5000/team/app"), ("registry:5000/team/app", None));
        assert_eq!(split_image("registry:5000/team/app:v1"), ("registry:5000/team/app", Some("v1")));
        assert_eq!(split_image("nginx@sha256:abc"), ("nginx", None));
    }
}
