//! The container, pod or task that a process ran in: blocks that threats and alerts share.

use super::block::block;

block! {
    /// `containerInfo`: the container of a detection.
    Container {
        id = "id",
        image = "image",
        name = "name",
        labels = "labels",
        is_container_quarantine = "isContainerQuarantine",
    }

    /// `kubernetesInfo`: the pod of a detection.
    Kubernetes {
        cluster = "cluster",
        namespace = "namespace",
        pod = "pod",
        controller_kind = "controllerKind",
        controller_name = "controllerName",
        controller_labels = "controllerLabels",
        namespace_labels = "namespaceLabels",
        node = "node",
        node_labels = "nodeLabels",
        pod_labels = "podLabels",
        is_container_quarantine = "isContainerQuarantine",
    }

    /// `ecsInfo`: the Amazon ECS task of a detection.
    EcsTask {
        cluster_name = "clusterName",
        service_name = "serviceName",
        service_arn = "serviceArn",
        task_arn = "taskArn",
        task_availability_zone = "taskAvailabilityZone",
        task_definition_arn = "taskDefinitionArn",
        task_definition_family = "taskDefinitionFamily",
        task_definition_revision = "taskDefinitionRevision",
        version = "version",
    }
}
