//! The requests that change `Pipeline` resources.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};
use tracing::debug;

use super::status::Status;
use crate::pipeline::resource::{FINALIZER, GROUP, KIND, PipelineResource, ResourceState, VERSION};
use crate::settings::kubernetes::{Kubernetes, KubernetesError};

/// Owners of fields in server-side apply. The workers of all installations are one owner of a status.
const STATUS_MANAGER: &str = "s1-forwarder-status";
const FINALIZER_MANAGER: &str = "s1-forwarder-finalizer";
/// Limits of the API.
const LONGEST_NOTE: usize = 1_000;

pub(super) struct Api {
    kubernetes: Kubernetes,
    recorder: Recorder,
}

impl Api {
    /// # Errors
    /// If there is no access to a cluster.
    pub async fn connect(instance: &str, worker: &str) -> Result<Self, KubernetesError> {
        let kubernetes = Kubernetes::connect(None).await?;
        let reporter = Reporter { controller: format!("{GROUP}/{instance}"), instance: Some(worker.to_owned()) };
        Ok(Self { recorder: Recorder::new(kubernetes.client.clone(), reporter), kubernetes })
    }

    fn of(&self, resource: &ResourceState) -> kube::Api<PipelineResource> {
        kube::Api::namespaced(self.kubernetes.client.clone(), &resource.namespace)
    }

    pub async fn write_status(&self, resource: &ResourceState, status: &Status) -> Result<(), KubernetesError> {
        let patch = Patch::Apply(object(resource, json!({ "status": status })));
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        let written = KubernetesError::of(self.of(resource).patch_status(&resource.name, &parameters, &patch)).await;
        gone_is_fine(written)
    }

    /// Adds or removes the finalizer, whatever other finalizers there are.
    pub async fn set_finalizer(&self, resource: &ResourceState, present: bool) -> Result<(), KubernetesError> {
        let finalizers: &[&str] = if present { &[FINALIZER] } else { &[] };
        // With the uid, a resource that is gone is not made again.
        let metadata = json!({ "finalizers": finalizers, "uid": resource.uid });
        let patch = Patch::Apply(object(resource, json!({ "metadata": metadata })));
        let parameters = PatchParams::apply(FINALIZER_MANAGER).force();
        let written = KubernetesError::of(self.of(resource).patch(&resource.name, &parameters, &patch)).await;
        gone_is_fine(written)
    }

    /// An event about the condition `Ready`.
    pub async fn publish(&self, resource: &ResourceState, status: &Status) {
        let Some(ready) = status.ready() else { return };
        let is_fine = ready.status == "True" || ready.reason == "Paused";
        let mut note = ready.message.clone();
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let event = Event {
            type_: if is_fine { EventType::Normal } else { EventType::Warning },
            reason: ready.reason.clone(),
            note: Some(note),
            action: "Forward".to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(KIND.to_owned()),
            name: Some(resource.name.clone()),
            namespace: Some(resource.namespace.clone()),
            uid: Some(resource.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = KubernetesError::of(self.recorder.publish(&event, &about)).await {
            debug!(namespace = resource.namespace, name = resource.name, %error, "an event was not published");
        }
    }
}

/// What server-side apply needs, and `fields`.
fn object(resource: &ResourceState, fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": { "name": resource.name, "namespace": resource.namespace },
    });
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        for (key, value) in fields {
            match (object.get_mut(&key), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (_, value) => _ = object.insert(key, value),
            }
        }
    }
    object
}

/// A resource that was deleted meanwhile needs nothing more.
fn gone_is_fine(result: Result<PipelineResource, KubernetesError>) -> Result<(), KubernetesError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
