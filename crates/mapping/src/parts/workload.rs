//! The container, the pod or the task that a process ran in.

use s1_forwarder_record::{Escaped, Value};

use crate::common::workload::without_scheme;

#[derive(Debug, Clone, Copy, Default)]
pub struct Container<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub image: Value<'a>,
    pub labels: Value<'a>,
}

impl<'a> Container<'a> {
    /// Returns the id without the scheme of its runtime.
    pub fn id_text(&self) -> Option<Escaped<'a>> {
        self.id.escaped().map(|text| Escaped::plain(without_scheme(text.raw())))
    }
}

/// A pod of Kubernetes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pod<'a> {
    /// Whether the record has a value of the pod, which may not be one of these fields.
    pub is_set: bool,
    pub cluster: Value<'a>,
    pub namespace: Value<'a>,
    pub name: Value<'a>,
    pub controller_kind: Value<'a>,
    pub labels: Value<'a>,
}

/// A task of Amazon ECS.
#[derive(Debug, Clone, Copy, Default)]
pub struct EcsTask<'a> {
    pub cluster: Value<'a>,
    pub service: Value<'a>,
}
