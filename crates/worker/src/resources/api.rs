//! The requests that change `Pipeline` resources.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use s1_forwarder_settings::kubernetes::{Kubernetes, KubernetesError};
use serde_json::json;
use tracing::debug;

use super::status::Status;
use crate::pipeline::resource::{FINALIZER, GROUP, KIND, PipelineResource, ResourceState, VERSION};

/// Owners of fields. The workers of all installations are one owner of a status.
const STATUS_MANAGER: &str = "s1-forwarder-status";
const FINALIZER_MANAGER: &str = "s1-forwarder-finalizer";
/// Limits of the API.
const MAX_NOTE: usize = 1_000;

pub(super) struct Api {
    kubernetes: Kubernetes,
    recorder: Recorder,
}

impl Api {
    /// Connects to the API server.
    ///
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

    /// Writes the status of a resource.
    ///
    /// # Errors
    /// If the API server does not answer or refuses. A resource that was changed or deleted meanwhile is no error.
    pub async fn write_status(&self, resource: &ResourceState, status: &Status) -> Result<(), KubernetesError> {
        let patch = Patch::Apply(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "metadata": { "name": resource.name, "namespace": resource.namespace },
            "status": status,
        }));
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        let written = KubernetesError::of(self.of(resource).patch_status(&resource.name, &parameters, &patch)).await;
        outdated_is_fine(written)
    }

    /// Adds the finalizer, and keeps the others.
    ///
    /// # Errors
    /// As [`Self::write_status`].
    pub async fn add_finalizer(&self, resource: &ResourceState) -> Result<(), KubernetesError> {
        self.write_finalizers(resource, other_finalizers(resource).chain([FINALIZER])).await
    }

    /// Removes the finalizer, and keeps the others.
    ///
    /// # Errors
    /// As [`Self::write_status`].
    pub async fn remove_finalizer(&self, resource: &ResourceState) -> Result<(), KubernetesError> {
        self.write_finalizers(resource, other_finalizers(resource)).await
    }

    /// Writes all finalizers. Another program may own the list.
    async fn write_finalizers<'a>(
        &self,
        resource: &ResourceState,
        finalizers: impl Iterator<Item = &'a str>,
    ) -> Result<(), KubernetesError> {
        let finalizers: Vec<&str> = finalizers.collect();
        // With these, the list of another version or of another resource is not replaced.
        let uid = &resource.uid;
        let version = &resource.resource_version;
        let metadata = json!({ "finalizers": finalizers, "uid": uid, "resourceVersion": version });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let parameters = PatchParams { field_manager: Some(FINALIZER_MANAGER.to_owned()), ..PatchParams::default() };
        let written = KubernetesError::of(self.of(resource).patch(&resource.name, &parameters, &patch)).await;
        outdated_is_fine(written)
    }

    /// Publishes an event about the condition `Ready`.
    pub async fn publish(&self, resource: &ResourceState, status: &Status) {
        let Some(ready) = status.ready() else { return };
        let is_fine = ready.status == "True" || ready.reason == "Paused";
        let mut note = ready.message.clone();
        note.truncate(note.floor_char_boundary(MAX_NOTE));
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

fn other_finalizers(resource: &ResourceState) -> impl Iterator<Item = &str> {
    resource.finalizers.iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER)
}

/// Ignores that a resource was deleted or changed meanwhile. A deleted resource needs nothing more. A changed one is
/// tried again when its new version has been read.
fn outdated_is_fine(result: Result<PipelineResource, KubernetesError>) -> Result<(), KubernetesError> {
    match result {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}
