//! The parts of a `Pipeline` resource that a worker has to know besides its `spec`.

use serde::{Deserialize, Serialize};

/// API group of the resources, and prefix of their annotations.
pub const GROUP: &str = "s1-forwarder.io";
pub const VERSION: &str = "v1alpha1";
pub const KIND: &str = "Pipeline";
pub const PLURAL: &str = "pipelines";
/// The annotation about checkpoints. With the value `remove`, they are removed with the resource. With `keep` and
/// without the annotation, they stay.
pub const CHECKPOINTS: &str = "s1-forwarder.io/checkpoints";
const REMOVE: &str = "remove";
const KEEP: &str = "keep";
/// The annotation that makes lanes try again: with any new text, they make their next attempt at once.
pub const RETRY: &str = "s1-forwarder.io/retry";
/// Holds a resource until its checkpoints are removed.
pub const FINALIZER: &str = "s1-forwarder.io/checkpoints";

/// A resource as the API server last reported it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceState {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// Whether the resource is to be deleted. It is gone as soon as it has no finalizers.
    pub is_deleted: bool,
    /// The annotation [`CHECKPOINTS`].
    pub checkpoints: Option<String>,
    /// The annotation [`RETRY`].
    pub retry: Option<String>,
    /// All finalizers, also those of other programs.
    pub finalizers: Vec<String>,
    /// The conditions of its status.
    pub conditions: Vec<Condition>,
}

/// A condition of a resource's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub observed_generation: i64,
    pub last_transition_time: String,
}

impl ResourceState {
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }

    /// Returns whether the annotation says that the checkpoints are removed with the resource.
    pub fn removes_checkpoints(&self) -> bool {
        self.checkpoints.as_deref() == Some(REMOVE)
    }

    /// Returns the annotation if it says neither that the checkpoints are removed nor that they stay.
    pub fn unknown_checkpoints(&self) -> Option<&str> {
        self.checkpoints.as_deref().filter(|text| ![REMOVE, KEEP].contains(text))
    }
}

#[cfg(feature = "kubernetes")]
pub use object::PipelineResource;

#[cfg(feature = "kubernetes")]
mod object {
    use std::borrow::Cow;

    use k8s_openapi::NamespaceResourceScope;
    use kube::api::ObjectMeta;
    use kube::{Resource, ResourceExt};
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::{CHECKPOINTS, GROUP, KIND, PLURAL, RETRY, ResourceState, VERSION};

    /// The object itself.
    #[derive(Debug, Clone, Deserialize)]
    pub struct PipelineResource {
        pub metadata: ObjectMeta,
        /// A pipeline file.
        #[serde(default)]
        pub spec: Value,
        #[serde(default)]
        pub status: Value,
    }

    impl Resource for PipelineResource {
        type DynamicType = ();
        type Scope = NamespaceResourceScope;

        fn kind((): &()) -> Cow<'_, str> {
            KIND.into()
        }

        fn group((): &()) -> Cow<'_, str> {
            GROUP.into()
        }

        fn version((): &()) -> Cow<'_, str> {
            VERSION.into()
        }

        fn plural((): &()) -> Cow<'_, str> {
            PLURAL.into()
        }

        fn meta(&self) -> &ObjectMeta {
            &self.metadata
        }

        fn meta_mut(&mut self) -> &mut ObjectMeta {
            &mut self.metadata
        }
    }

    impl PipelineResource {
        /// Returns the pipeline file. A resource that is being deleted is paused: its lanes drain.
        pub fn text(&self) -> String {
            let mut spec = self.spec.clone();
            if let (Some(spec), true) = (spec.as_object_mut(), self.metadata.deletion_timestamp.is_some()) {
                spec.insert("enabled".to_owned(), json!(false));
            }
            spec.to_string()
        }

        pub fn state(&self) -> ResourceState {
            ResourceState {
                namespace: self.namespace().unwrap_or_default(),
                name: self.name_any(),
                uid: self.uid().unwrap_or_default(),
                resource_version: self.resource_version().unwrap_or_default(),
                is_deleted: self.metadata.deletion_timestamp.is_some(),
                checkpoints: self.annotations().get(CHECKPOINTS).cloned(),
                retry: self.annotations().get(RETRY).cloned(),
                finalizers: self.finalizers().to_vec(),
                // One that is damaged must not hide the resource.
                conditions: self
                    .status
                    .get("conditions")
                    .and_then(|conditions| Vec::deserialize(conditions).ok())
                    .unwrap_or_default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::super::contents::Text;
    use super::super::resources::{Resource, Resources};
    use super::super::{FileOptions, FileReport, Files, Scan, TenantRules};
    use super::ResourceState;
    use s1_forwarder_settings::AddressPolicy;

    const RESOURCE: &str = "pipeline acme/console, spec";

    /// Returns the resource at [`RESOURCE`].
    fn found(text: &str, state: ResourceState) -> BTreeMap<PathBuf, Resource> {
        let text = Text::new(text.as_bytes().to_vec()).of_generation(Some(7));
        BTreeMap::from([(RESOURCE.into(), Resource { text, state: Arc::new(state) })])
    }

    fn report(text: &str) -> FileReport {
        let resources = Resources::default();
        resources.replace("test", found(text, ResourceState::default()));
        // The operator allows this to files other than the resource.
        let tenants = TenantRules {
            secrets_dir: Some("/secrets".into()),
            env_prefixes: vec!["TENANT_".to_owned()],
            ..TenantRules::default()
        };
        let mut files = Files::new(&[], &FileOptions { defaults: None, tenants }).with_resources(resources);
        files.rescan(&Scan::All);
        files.report(Path::new(RESOURCE)).unwrap()
    }

    #[test]
    fn a_deleted_resource_is_paused_also_if_it_is_invalid_by_then() {
        let resources = Resources::default();
        let put = |text: &str, is_deleted: bool| {
            resources.replace("test", found(text, ResourceState { is_deleted, ..ResourceState::default() }));
        };
        let mut files = Files::new(&[], &FileOptions::default()).with_resources(resources.clone());
        put(&text(REFERENCE, ""), false);
        files.rescan(&Scan::All);
        put("{}", false);
        let changes = files.rescan(&Scan::All);
        assert!(changes.is_empty() && changes.invalid.len() == 1, "{changes:?}");
        put(r#"{ "enabled": false }"#, true);
        let changes = files.rescan(&Scan::All);
        assert!(changes.changed.len() == 1 && !changes.changed[0].enabled, "{changes:?}");
        assert!(!files.report(Path::new(RESOURCE)).unwrap().problems.is_empty(), "it says what is wrong all the same");
        put("{}", true);
        assert!(files.rescan(&Scan::All).is_empty(), "it stays paused");
        resources.replace("test", BTreeMap::new());
        assert_eq!(files.rescan(&Scan::All).stopped, ["acme.console"]);
    }

    #[test]
    fn a_resource_has_its_name_also_if_a_file_takes_it_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.console.yaml");
        std::fs::write(&file, text(r#""literal""#, "")).unwrap();
        let file = file.display().to_string();
        let resources = Resources::default();
        let running = |files: &mut Files, has_resource: bool| {
            let found = has_resource.then(|| found(&text(REFERENCE, ""), ResourceState::default()));
            resources.replace("test", found.unwrap_or_default());
            files.rescan(&Scan::All);
            files.running().map(|pipeline| pipeline.path.display().to_string()).collect::<Vec<_>>()
        };
        let new = || {
            let files = Files::new(&[directory.path().to_owned()], &FileOptions::default());
            files.with_resources(resources.clone())
        };
        let mut files = new();
        assert_eq!(running(&mut files, false), [file.as_str()]);
        assert_eq!(running(&mut files, true), [RESOURCE]);
        assert_eq!(running(&mut files, false), [file.as_str()]);
        assert_eq!(running(&mut new(), true), [RESOURCE], "also if both are new");
    }

    fn text(token: &str, sink: &str) -> String {
        format!(
            r#"{{ "console": {{ "url": "https://acme.example", "token": {token} }}, "streams": {{ "threats": {{}} }},
                "sinks": [{{ "type": "http", "name": "siem", "url": "https://siem.example" {sink} }}] }}"#
        )
    }

    const REFERENCE: &str = r#"{ "secretRef": { "name": "console", "key": "token" } }"#;

    #[test]
    fn a_resource_has_the_name_of_its_namespace_and_its_secrets_from_there() {
        let tls = r#", "tls": { "ca_file": { "secretRef": { "name": "ca", "key": "ca.crt" } } },
                       "headers": { "X-Tenant": "acme", "X-Key": { "secretRef": { "name": "key", "key": "k" } } }"#;
        let report = report(&text(REFERENCE, tls));
        let pipeline = report.pipeline.unwrap_or_else(|| panic!("{:?}", report.problems));
        assert_eq!((pipeline.name.as_str(), report.generation), ("acme.console", Some(7)));
        assert_eq!(pipeline.console.token.first().reference(), "secret:acme/console/token");
        let shown = pipeline.effective();
        let value = |key: &str| shown.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!(value("sinks[siem].tls.ca_file"), Some("{ secretRef: acme/ca/ca.crt }"));
        assert_eq!(value("sinks[siem].headers.X-Key"), Some("{ secretRef: acme/key/k }"));
        assert!(matches!(pipeline.console.address_policy, AddressPolicy::Tenant { .. }), "the rules for tenants hold");
    }

    #[test]
    fn a_resource_names_nothing_but_secrets_of_its_namespace() {
        for token in [
            r#"{ "file": "/secrets/token" }"#,
            r#"{ "env": "TENANT_TOKEN" }"#,
            r#"{ "secretRef": { "namespace": "globex", "name": "console", "key": "token" } }"#,
            r#"{ "secretRef": { "name": "../../globex/secrets/console", "key": "token" } }"#,
            r#"{ "secretRef": { "name": "console" } }"#,
            r#"{ "secretRef": "globex/console/token" }"#,
        ] {
            let report = report(&text(token, ""));
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            assert!(report.pipeline.is_none() && problems.len() == 1, "{token}: {problems:?}");
            let problem = &problems[0];
            assert!(problem.starts_with("pipeline acme/console, spec: console.token"), "no line: {problem}");
            assert!(problem.contains("own namespace"), "{problem}");
        }
        let other_name = text(REFERENCE, "").replacen('{', r#"{ "name": "globex.console","#, 1);
        assert!(report(&other_name).pipeline.is_none());
    }

    /// The values of such lists would be settings without the keys that the rules look at.
    #[test]
    fn settings_that_are_written_as_a_list_are_refused() {
        let whole = text(r#""literal""#, "");
        assert!(report(&whole).pipeline.is_some());
        let oauth = |value: &str| {
            let keys = r#""type": "oauth2", "token_url": "https://a.example", "client_id": "i", "client_secret": "s""#;
            format!(r#", "auth": {{ {keys}, {value} }}"#)
        };
        for (text, place) in [
            (
                whole.replace(r#"{ "url": "https://acme.example", "token": "literal" }"#, r#"["10.0.0.1", "t"]"#),
                "console",
            ),
            (text(r#""t", "tls": [null, [], "/a/tls.crt", "/a/tls.key"]"#, ""), "console.tls"),
            (text(r#""t""#, r#", "tls": [null, [], "/a/tls.crt", "/a/tls.key"]"#), ".tls"),
            (text(r#""t""#, r#", "auth": ["aws", "eu-west-1", "es", null, null, "arn", null, {}, null]"#), ".auth"),
            (text(r#""t""#, r#", "auth": [["aws", "eu-west-1"]]"#), ".auth"),
            (text(r#""t""#, r#", "oauth2": [{}, "10.0.0.1:3128"]"#), ".oauth2"),
            (text(r#""t""#, &oauth(r#""tls": [null, [], "/a/tls.crt", "/a/tls.key"]"#)), ".auth"),
            (text(r#""t""#, r#", "batch": [1, 2, "5s"]"#), ".batch"),
            (whole.replace(r#""threats": {}"#, r#""threats": ["30d"]"#), "streams.threats"),
            (whole.replace(r#""sinks": ["#, r#""sinks": [["http", "a"], "#), "sinks[0]"),
        ] {
            let report = report(&text);
            let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
            assert!(report.pipeline.is_none(), "{text}");
            assert!(problems.iter().any(|problem| problem.contains(place)), "{text}: {problems:?}");
        }
    }

    #[test]
    fn a_second_key_hides_no_reference_to_another_namespace() {
        let tls = r#", "tls": { "ca_file": { "secretRef": "globex/ca/ca.crt" } }"#;
        let second_key = r#", "tls": { "ca_file": { "secretRef": "globex/ca/ca.crt", "x": 1 } }"#;
        let own_second_key = REFERENCE.replacen('{', r#"{ "x": 1,"#, 1);
        for text in [text(REFERENCE, tls), text(REFERENCE, second_key), text(&own_second_key, "")] {
            let report = report(&text);
            let problem = report.problems.first().map(ToString::to_string).unwrap_or_default();
            assert!(report.pipeline.is_none() && problem.contains("own namespace"), "{problem}");
        }
    }

    #[test]
    fn a_file_names_no_secrets_of_kubernetes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("console.yaml");
        for token in [REFERENCE, r#"{ "secretRef": "globex/console/token" }"#] {
            std::fs::write(&file, text(token, "")).unwrap();
            let loaded = super::super::load(std::slice::from_ref(&file), &FileOptions::default());
            let problem = loaded.problems.first().map(ToString::to_string).unwrap_or_default();
            assert!(loaded.pipelines.is_empty() && problem.contains("only a Pipeline resource"), "{problem}");
        }
    }
}
