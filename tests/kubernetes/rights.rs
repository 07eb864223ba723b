//! The manifests' Role allows what a worker does, and nothing more.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::support::kubernetes::Kubernetes;

#[tokio::test]
async fn a_worker_may_use_leases_in_its_own_namespace_only_and_after_a_restart_of_the_api_server() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let own = kubernetes.tenant().await;
    let other = kubernetes.tenant().await;
    let client = own.client().await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &own.name);
    let lease: Lease = serde_json::from_value(json!({ "metadata": { "name": "s1-forwarder-0" } })).unwrap();
    let created = leases.create(&PostParams::default(), &lease).await.unwrap();
    leases.replace("s1-forwarder-0", &PostParams::default(), &created).await.unwrap();

    kubernetes.stop_api();
    assert!(leases.list(&ListParams::default()).await.is_err());
    kubernetes.start_api().await;
    assert_eq!(leases.list(&ListParams::default()).await.unwrap().items.len(), 1);

    let refused = Api::<Lease>::namespaced(client, &other.name).list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");
}

#[tokio::test]
async fn a_worker_has_these_rights_and_no_others() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let client = tenant.client().await;
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    for (group, resource, rights) in [
        ("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "update", "delete"][..]),
        ("", "configmaps", &["get", "list", "create", "update", "delete"]),
        ("", "secrets", &["get", "list", "create", "update", "delete"]),
        ("", "pods", &[]),
        ("apps", "deployments", &[]),
        ("rbac.authorization.k8s.io", "roles", &[]),
    ] {
        for verb in verbs {
            let attributes = ResourceAttributes {
                namespace: Some(tenant.name.clone()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            let review = Api::all(client.clone()).create(&PostParams::default(), &review).await.unwrap();
            assert_eq!(review.status.unwrap().allowed, rights.contains(&verb), "{verb} {resource}");
        }
    }
}
