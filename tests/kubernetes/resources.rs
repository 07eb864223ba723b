//! `Pipeline` resources: what the API server refuses, and what a worker with the rights of the chart makes of the rest.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::Role;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use s1_forwarder::emulator::{Kind, Setup, Token};
use s1_forwarder::pipeline::resource::PipelineResource;
use serde_json::{Value, json};
use tokio::process::Command;

use super::chart::Chart;
use crate::support::harness::{Harness, merge};
use crate::support::kubernetes::{Kubernetes, Tenant, documents};
use crate::support::process::{Process, program, until, until_within};

/// A lane that was refused asks again after a minute.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(4);

/// Workers in a namespace of their own, and customers in others.
pub struct Scene<'a> {
    pub harness: Harness,
    pub kubernetes: &'a Kubernetes,
    pub tenant: Tenant<'a>,
    chart: Chart,
}

impl<'a> Scene<'a> {
    pub async fn new(kubernetes: &'a Kubernetes) -> Option<Self> {
        let chart = Chart::new()?;
        kubernetes.install_definition().await;
        let harness = Harness::new(|setup| setup.activities = 20).await;
        Some(Self { harness, tenant: kubernetes.tenant().await, kubernetes, chart })
    }

    /// A customer's namespace with the token in a Secret.
    pub async fn customer(&self) -> String {
        let namespace = self.kubernetes.namespace().await;
        self.put_secret(&namespace, "console", Setup::TOKEN).await;
        namespace
    }

    pub async fn put_secret(&self, namespace: &str, name: &str, token: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.kubernetes.admin().await, namespace);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { "token": token },
        });
        secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(secret)).await.unwrap();
    }

    /// Gives the workers the rights that the chart gives them to resources.
    pub async fn allow(&self, namespaces: &[&str]) {
        let mut values = vec!["--skip-tests".to_owned()];
        for (index, namespace) in namespaces.iter().enumerate() {
            values.extend(["--set-string".to_owned(), format!("pipelines.resources.namespaces[{index}]={namespace}")]);
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let rendered = self.chart.template("s1-forwarder", &self.tenant.name, &values).unwrap();
        let name = format!("{}-s1-forwarder-resources", self.tenant.name);
        let rights: Vec<&str> =
            documents(&rendered).filter(|manifest| manifest.contains(&format!("\n  name: {name}\n"))).collect();
        assert_eq!(rights.len(), 2 * namespaces.len(), "{rendered}");
        for manifest in rights {
            self.kubernetes.apply(manifest, "").await.unwrap();
        }
        // The API server hears of rights a moment after they were written.
        let named = namespaces.iter().find(|namespace| **namespace != "*");
        let client = self.tenant.client().await;
        let resources: Api<PipelineResource> = match named {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        until("the rights are known", async || resources.list(&ListParams::default()).await.ok()).await;
    }

    /// The `spec` of a pipeline, with `changes` to it.
    pub fn spec(&self, changes: Value) -> Value {
        let mut spec = self.harness.pipeline(json!({}));
        spec["console"]["token"] = json!({ "secretRef": { "name": "console", "key": "token" } });
        merge(&mut spec, changes);
        spec
    }

    /// What the API server would say to `kubectl apply` of a new resource.
    async fn create(&self, namespace: &str, spec: &Value) -> kube::Result<Value> {
        let resource = json!({
            "apiVersion": "s1-forwarder.io/v1alpha1", "kind": "Pipeline", "metadata": { "name": "acme" }, "spec": spec,
        });
        let path = format!(
            "/apis/s1-forwarder.io/v1alpha1/namespaces/{namespace}/pipelines\
             ?fieldManager=kubectl-client-side-apply&fieldValidation=Strict&dryRun=All"
        );
        let request = http::Request::post(path).header("content-type", "application/json");
        self.kubernetes.admin().await.request(request.body(resource.to_string().into_bytes()).unwrap()).await
    }

    pub async fn apply(&self, namespace: &str, name: &str, spec: &Value) -> kube::Result<Value> {
        self.apply_with(namespace, name, spec, json!({})).await
    }

    async fn apply_with(&self, namespace: &str, name: &str, spec: &Value, annotations: Value) -> kube::Result<Value> {
        let manifest = format!(
            "apiVersion: s1-forwarder.io/v1alpha1\nkind: Pipeline\nmetadata:\n  namespace: {namespace}\n  name: {name}\n  \
             annotations: {annotations}\nspec: {spec}\n"
        );
        self.kubernetes.apply(&manifest, "").await
    }

    /// A worker over the resources of these namespaces.
    pub fn worker(&self, namespaces: &[&str], flags: &[&str]) -> Process {
        self.named_worker("worker", namespaces, flags)
    }

    /// A worker with a name, next to others.
    pub fn named_worker(&self, name: &str, namespaces: &[&str], flags: &[&str]) -> Process {
        let locations: Vec<String> =
            namespaces.iter().map(|namespace| format!("kubernetes-resources:{namespace}")).collect();
        let mut arguments =
            vec!["run", "--listen", "127.0.0.1:0", "--log-level", "info,s1_forwarder=debug", "--pipelines"];
        arguments.extend(locations.iter().map(String::as_str));
        arguments.extend(flags);
        let mut command = self.program(&arguments);
        command.env("HOSTNAME", name);
        Process::spawn(command)
    }

    /// A command with the rights of a worker.
    fn command(&self, arguments: &[&str]) -> Process {
        Process::spawn(self.program(arguments))
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.harness.root(), arguments);
        command.env("KUBECONFIG", self.tenant.kubeconfig());
        // The console and the sink are on this machine.
        command.arg("--allow-private-destinations");
        command
    }

    /// The status of a resource.
    pub async fn status(&self, namespace: &str, name: &str) -> Value {
        let path = format!("/apis/s1-forwarder.io/v1alpha1/namespaces/{namespace}/pipelines/{name}");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let resource: Value = self.kubernetes.admin().await.request(request).await.unwrap();
        resource["status"].clone()
    }

    /// Waits until a condition has this status and reason; the condition, with the status of the resource.
    pub async fn condition(
        &self,
        [namespace, name]: [&str; 2],
        kind: &str,
        status: &str,
        reason: &str,
    ) -> (Value, Value) {
        let mut last = Value::Null;
        until_within(PATIENCE, &format!("{kind} of {namespace}/{name} is {status}, {reason}"), async || {
            last = self.status(namespace, name).await;
            let conditions = last["conditions"].as_array().into_iter().flatten();
            let found = conditions.into_iter().find(|condition| condition["type"] == kind)?;
            (found["status"] == status && found["reason"] == reason).then(|| (found.clone(), last.clone()))
        })
        .await
    }

    async fn events(&self, namespace: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.kubernetes.admin().await, namespace);
        let events = events.list(&ListParams::default()).await.unwrap();
        events
            .iter()
            .map(|event| (event.type_.clone().unwrap_or_default(), event.reason.clone().unwrap_or_default()))
            .collect()
    }
}

/// What the API server says of a refused object.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_cannot_work() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let namespace = scene.customer().await;
    let dry_run =
        async |changes: Value| scene.create(&namespace, &scene.spec(changes)).await.map_err(|error| words(&error));
    let kafka = json!({ "type": "kafka", "name": "bus", "topic": "s1" });
    let http = |changes: Value| {
        let mut sink = json!({ "type": "http", "url": "https://siem.example" });
        merge(&mut sink, changes);
        json!({ "sinks": [sink] })
    };
    let hec = |changes: Value| {
        let mut sink = json!({ "type": "splunk_hec", "token": { "secretRef": { "name": "a", "key": "b" } } });
        merge(&mut sink, changes);
        json!({ "sinks": [sink] })
    };
    let token = |value: Value| json!({ "console": { "token": value } });
    for (changes, part) in [
        (
            json!({ "streams": { "threats": { "intervall": "60s" } } }),
            r#"unknown field "spec.streams.threats.intervall""#,
        ),
        (json!({ "name": "globex" }), r#"unknown field "spec.name""#),
        (json!({ "streams": { "threat": {} } }), r#"unknown field "spec.streams.threat""#),
        (
            json!({ "streams": { "threats": { "interval": "5x" } } }),
            "spec.streams.threats.interval: Invalid value: `5x` is not a period such as 500ms, 60s, 5m, 12h or 30d",
        ),
        (
            json!({ "streams": { "threats": { "since": "2026-01-31T00:00:00" } } }),
            "`2026-01-31T00:00:00` is neither a period (30d), a time with zone (2026-01-31T00:00:00Z), a day in UTC (2026-01-31), `now` nor `beginning`",
        ),
        (json!({ "transform": { "schema": "esc" } }), r#"supported values: "ecs", "ocsf", "raw""#),
        (json!({ "console": { "requests_per_second": 0.5 } }), "spec.console.requests_per_second"),
        (json!({ "console": { "accounts": ["acme"] } }), "spec.console.accounts[0]"),
        (json!({ "sinks": [] }), "a pipeline needs at least one sink"),
        (json!({ "sinks": [{ "type": "stdout" }] }), "Unsupported value: \"stdout\""),
        (json!({ "sinks": [kafka] }), "spec.sinks[0]: Invalid value: missing key `brokers`"),
        (http(json!({ "topic": "s1" })), "unknown key; `topic` is a key of kafka"),
        (
            http(json!({ "tls": { "cert_file": { "secretRef": { "name": "a", "key": "b" } } } })),
            "`cert_file` needs `key_file` too",
        ),
        (http(json!({ "auth": { "type": "bearer" } })), "missing key `token`"),
        (http(json!({ "auth": { "type": "none", "user": "x" } })), "unknown key; `user` is a key of basic"),
        (
            json!({ "sinks": [http(json!({}))["sinks"][0], http(json!({}))["sinks"][0]] }),
            "another sink has the same name: give one of them a `name`",
        ),
        (hec(json!({})), "missing key `url`, or `urls` for fail-over"),
        (
            hec(json!({ "url": "https://a.example", "urls": ["https://b.example"] })),
            "`url` and `urls` exclude each other",
        ),
        (http(json!({ "concurrency": 100 })), "spec.sinks[0].concurrency"),
        (json!({ "console": { "url": "usea1" } }), "spec.console.url"),
        // Secrets are of this namespace, and nothing of the worker's.
        (
            token(json!({ "secretRef": { "namespace": "globex", "name": "console", "key": "token" } })),
            r#"unknown field "spec.console.token.secretRef.namespace""#,
        ),
        (
            token(json!({ "secretRef": { "name": "../../globex/secrets/console" } })),
            "spec.console.token.secretRef.name",
        ),
        (token(json!({ "file": "/run/secrets/globex/token" })), r#"unknown field "spec.console.token.file""#),
        (token(json!({ "env": "HOME" })), r#"unknown field "spec.console.token.env""#),
        (http(json!({ "managed_identity": true })), r#"unknown field "spec.sinks[0].managed_identity""#),
    ] {
        let refused = dry_run(changes.clone()).await.unwrap_err();
        let said =
            ["object", "string", "array"].iter().fold(refused, |said, kind| said.replace(&format!("\"{kind}\": "), ""));
        assert!(said.contains(part), "{changes}: {said}");
    }
    let refused = {
        let mut spec = scene.spec(json!({}));
        spec["console"]["token"] = json!("a-token-in-git");
        scene.create(&namespace, &spec).await.unwrap_err()
    };
    assert!(words(&refused).contains("spec.console.token"), "{}", words(&refused));
    // Server-side apply refuses what is unknown whatever a client asks for.
    let misspelt = scene.spec(json!({ "streams": { "threat": {} } }));
    let refused = scene.apply(&namespace, "acme", &misspelt).await.unwrap_err();
    assert!(words(&refused).contains(".spec.streams.threat: field not declared in schema"), "{}", words(&refused));

    // What can work is taken: everything that an example of ours says, its secrets aside.
    for changes in [
        json!({}),
        json!({ "streams": { "threats": null } }),
        json!({ "console": { "accounts": ["225494730938493804"], "sites": [225494730938493804_u64] } }),
        http(
            json!({ "headers": { "X-Tenant": "acme", "X-Key": { "secretRef": { "name": "a", "key": "b" } } }, "batch": { "bytes": "1MiB" } }),
        ),
        json!({ "transform": { "redact": ["user.name", { "path": "a", "with": "hash", "key": { "secretRef": { "name": "a", "key": "b" } } }] } }),
        json!({ "tests": [{ "name": "t", "stream": "activities", "record": { "id": "1", "deep": [{}] }, "expect": { "a.b": 1 } }] }),
    ] {
        dry_run(changes.clone()).await.unwrap_or_else(|refused| panic!("{changes}: {refused}"));
    }
}

/// Each file of `pipelines/` as a resource.
#[tokio::test]
async fn the_api_server_takes_every_example() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let namespace = scene.customer().await;
    let mut taken = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let mut spec: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if refers_to_the_worker(&spec) {
            continue;
        }
        spec.as_object_mut().unwrap().remove("name");
        to_references(&mut spec);
        let created = scene.create(&namespace, &spec).await;
        created.unwrap_or_else(|error| panic!("{}: {}", path.display(), words(&error)));
        taken += 1;
    }
    assert!(taken > 20, "{taken} examples");
}

/// True for examples that a tenant's file may not be.
fn refers_to_the_worker(spec: &Value) -> bool {
    let text = spec.to_string();
    ["\"stdout\"", "managed_identity", "workload_identity", "external_account", "metadata_server"]
        .iter()
        .any(|word| text.contains(word))
}

/// Replaces files and variables by references to Secrets.
fn to_references(value: &mut Value) {
    match value {
        Value::Object(map) if map.len() == 1 && (map.contains_key("file") || map.contains_key("env")) => {
            *value = json!({ "secretRef": { "name": "acme", "key": "token" } });
        }
        Value::Object(map) => {
            if let Some(Value::Array(tokens)) = map.get("token").cloned() {
                map.insert("token".to_owned(), tokens[0].clone());
            }
            if let Some(Value::Object(tls)) = map.get_mut("tls") {
                for (key, file) in tls.iter_mut().filter(|(key, _)| key.ends_with("_file")) {
                    *file = json!({ "secretRef": { "name": "tls", "key": key } });
                }
            }
            map.iter_mut()
                .filter(|(key, _)| *key != "labels" && *key != "tags")
                .for_each(|(_, value)| to_references(value));
        }
        Value::Array(list) => list.iter_mut().for_each(to_references),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_becomes_ready_says_that_its_token_is_refused_and_becomes_ready_again() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let namespace = scene.customer().await;
    let acme = [namespace.as_str(), "acme"];
    scene.allow(&[&namespace]).await;
    let spec = scene.spec(json!({ "streams": { "activities": { "silent_after": "2s" } } }));
    let applied = scene.apply(&namespace, "acme", &spec).await.unwrap();
    let mut worker =
        scene.worker(&[&namespace], &["--state", "kubernetes:", "--cluster", "kubernetes", "--lease", "30s"]);

    let (ready, status) = scene.condition(acme, "Ready", "True", "Running").await;
    assert_eq!(status["observedGeneration"], applied["metadata"]["generation"]);
    assert_eq!(ready["observedGeneration"], status["observedGeneration"]);
    scene.harness.delivered(&[Kind::Activities]).await;
    let (_, status) = scene.condition(acme, "TokenValid", "True", "Accepted").await;
    assert_eq!(
        (&status["pipeline"], &status["lanes"][0]["state"]),
        (&json!(format!("{namespace}.acme")), &json!("running"))
    );
    assert!(status["worker"].as_str().unwrap().len() > 3 && status["lastSuccess"].is_string(), "{status}");
    let lane = format!("{namespace}.acme/activities/siem");
    worker.lane(&lane, |lane| lane["last_success"].is_string()).await;
    until_within(PATIENCE, "the counts are in the status", async || {
        (scene.status(&namespace, "acme").await["delivered"] == 20).then_some(())
    })
    .await;

    // `kubectl get s1p` shows it so.
    let admin = kubernetes.admin().await;
    let group = http::Request::get("/apis/s1-forwarder.io/v1alpha1").body(Vec::new()).unwrap();
    let group: Value = admin.request(group).await.unwrap();
    assert_eq!(group["resources"][0]["shortNames"], json!(["s1p"]), "{group}");
    let path = format!("/apis/s1-forwarder.io/v1alpha1/namespaces/{namespace}/pipelines");
    let table = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table: Value = admin.request(table.body(Vec::new()).unwrap()).await.unwrap();
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    let expected = ["Name", "Ready", "Reason", "Lag", "Last success", "Dead letters", "Token expires", "Worker", "Age"];
    assert_eq!(columns, expected);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1], &cells[2]), (&json!("acme"), &json!("True"), &json!("Running")), "{cells}");
    // Ages, such as 3s.
    assert!(cells[3].as_str().is_some_and(|lag| lag.ends_with(['s', 'm'])), "{cells}");

    // Nothing new has come for two seconds.
    let (silent, _) = scene.condition(acme, "Receiving", "False", "Silent").await;
    let message = silent["message"].as_str().unwrap();
    assert!(message.starts_with("activities/siem: the console has shown nothing new since "), "{message}");

    // The console no longer knows the token.
    scene.harness.console().set_tokens(vec![Token::new("another-token")]);
    let (refused, status) = scene.condition(acme, "TokenValid", "False", "Refused").await;
    assert!(refused["message"].as_str().unwrap().contains("401"), "{refused}");
    let (ready, _) = scene.condition(acme, "Ready", "False", "TokenRefused").await;
    assert!(ready["lastTransitionTime"].is_string(), "{ready}");
    assert_eq!(status["lanes"][0]["state"], "console_refused");
    until("an event says so", async || {
        scene.events(&namespace).await.contains(&("Warning".to_owned(), "TokenRefused".to_owned())).then_some(())
    })
    .await;

    // The customer corrects it in the Secret alone: the resource does not change.
    scene.put_secret(&namespace, "console", "another-token").await;
    scene.condition(acme, "Ready", "True", "Running").await;
    scene.condition(acme, "TokenValid", "True", "Accepted").await;

    // Commands take it by its place and name.
    let place = format!("kubernetes-resources:{namespace}");
    let preview = ["preview", &place, "--pipeline", &format!("{namespace}.acme"), "--limit", "1"];
    let shown = scene.command(&preview).exit().await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.contains("\"activityType\":"), "{}", shown.stdout);

    // What is invalid is named in the status, and what ran goes on.
    let mut wrong = scene.spec(json!({}));
    wrong["transform"]["remap"] = json!(".event = ");
    let applied = scene.apply(&namespace, "acme", &wrong).await.unwrap();
    let (invalid, status) = scene.condition(acme, "Ready", "False", "Invalid").await;
    assert_eq!(status["observedGeneration"], applied["metadata"]["generation"]);
    let message = invalid["message"].as_str().unwrap();
    assert!(
        message.contains("the last valid version keeps running") && message.contains("transform.remap"),
        "{message}"
    );
    assert!(
        message.contains(&format!("pipeline {namespace}/acme, spec: transform.remap")),
        "no lines of ours: {message}"
    );

    // Paused, and gone.
    let unknown = json!({ "s1-forwarder.io/checkpoints": "delete" });
    scene.apply_with(&namespace, "acme", &scene.spec(json!({ "enabled": false })), unknown).await.unwrap();
    let (paused, _) = scene.condition(acme, "Ready", "False", "Paused").await;
    assert!(paused["message"].as_str().unwrap().contains("neither `remove` nor `keep`"), "{paused}");
    worker.logged(&["s1-forwarder.io/checkpoints is neither", "delete"]).await;
    until("no lane runs", async || worker.lanes().await.is_empty().then_some(())).await;
    scene.apply(&namespace, "acme", &scene.spec(json!({}))).await.unwrap();
    scene.condition(acme, "Ready", "True", "Running").await;

    // The checkpoints go with the resource only where it says so.
    let checkpoints: Api<ConfigMap> = Api::namespaced(kubernetes.admin().await, &scene.tenant.name);
    let stored = async || {
        let maps = checkpoints.list(&ListParams::default()).await.unwrap();
        maps.iter().filter(|map| map.name_any().contains("-checkpoint-")).count()
    };
    let resources: Api<PipelineResource> = Api::namespaced(kubernetes.admin().await, &namespace);
    let gone = async || resources.get_opt("acme").await.unwrap().is_none().then_some(());
    resources.delete("acme", &DeleteParams::default()).await.unwrap();
    until("the resource is gone", gone).await;
    worker.logged(&["pipeline removed"]).await;
    assert_eq!(stored().await, 1, "its checkpoint stays");
    let annotation = json!({ "s1-forwarder.io/checkpoints": "remove" });
    scene.apply_with(&namespace, "acme", &scene.spec(json!({})), annotation).await.unwrap();
    scene.condition(acme, "Ready", "True", "Running").await;
    until("a finalizer holds it", async || {
        let resource = resources.get("acme").await.unwrap();
        resource.finalizers().contains(&"s1-forwarder.io/checkpoints".to_owned()).then_some(())
    })
    .await;
    // Also where the resource is invalid by then, and where another program owns the list of finalizers.
    scene.apply_with(&namespace, "acme", &wrong, json!({ "s1-forwarder.io/checkpoints": "remove" })).await.unwrap();
    scene.condition(acme, "Ready", "False", "Invalid").await;
    let patch = |finalizers: Value| Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    let both = patch(json!(["s1-forwarder.io/checkpoints", "example.com/other"]));
    resources.patch("acme", &PatchParams::default(), &both).await.unwrap();
    resources.delete("acme", &DeleteParams::default()).await.unwrap();
    until("only the other finalizer holds it", async || {
        (resources.get("acme").await.unwrap().finalizers() == ["example.com/other"]).then_some(())
    })
    .await;
    assert_eq!(stored().await, 0, "its checkpoint went with it");
    until("no lane runs", async || worker.lanes().await.is_empty().then_some(())).await;
    resources.patch("acme", &PatchParams::default(), &patch(json!([]))).await.unwrap();
    until("the resource is gone", gone).await;

    let log = worker.log_text();
    assert!(!log.contains("orbidden"), "a right is missing: {log}");
    assert!(!log.contains("another-token") && !log.contains(Setup::TOKEN), "{log}");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_namespace_has_its_own_secrets_and_names() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let acme = scene.customer().await;
    let globex = scene.customer().await;
    scene.allow(&["*"]).await;
    // A Secret that only the first has, and a name that both have.
    scene.put_secret(&acme, "only-here", Setup::TOKEN).await;
    let own = json!({ "console": { "token": { "secretRef": { "name": "only-here", "key": "token" } } } });
    scene.apply(&acme, "console", &scene.spec(own.clone())).await.unwrap();
    scene.apply(&globex, "console", &scene.spec(own)).await.unwrap();
    let mut worker = scene.worker(&["*"], &["--lease", "1s"]);
    scene.condition([&acme, "console"], "Ready", "True", "Running").await;
    let (refused, _) = scene.condition([&globex, "console"], "TokenValid", "False", "SecretUnreadable").await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains(&format!("the Secret {globex}/only-here/token: there is no such Secret")), "{message}");
    scene.condition([&globex, "console"], "Ready", "False", "SecretUnreadable").await;
    let lanes: BTreeSet<String> = worker.lanes().await.into_keys().collect();
    let expected = [&acme, &globex].map(|namespace| format!("{namespace}.console/activities/siem"));
    assert_eq!(lanes, expected.into());

    // A client that lets the API server drop unknown keys gets a reference to its own namespace.
    let mut foreign = scene.spec(json!({}));
    foreign["console"]["token"]["secretRef"] = json!({ "namespace": acme, "name": "only-here", "key": "token" });
    let resources: Api<PipelineResource> = Api::namespaced(kubernetes.admin().await, &globex);
    let patch = json!({ "spec": foreign });
    resources.patch("console", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let stored = resources.get("console").await.unwrap();
    assert_eq!(stored.spec["console"]["token"], json!({ "secretRef": { "name": "only-here", "key": "token" } }));

    // The sink's password comes from a Secret too.
    scene.put_secret(&globex, "only-here", Setup::TOKEN).await;
    let mut spec = scene.spec(json!({}));
    spec["sinks"][0]["headers"] = json!({ "X-Key": { "secretRef": { "name": "missing", "key": "token" } } });
    scene.apply(&globex, "console", &spec).await.unwrap();
    let (failing, _) = scene.condition([&globex, "console"], "Delivering", "False", "SecretUnreadable").await;
    assert!(failing["message"].as_str().unwrap().contains(&format!("{globex}/missing/token")), "{failing}");
    scene.put_secret(&globex, "missing", "a-password").await;
    scene.condition([&globex, "console"], "Ready", "True", "Running").await;

    // What a resource leaves behind holds up those of its own namespace alone, and no other one hears of it.
    let resources: Api<PipelineResource> = Api::namespaced(kubernetes.admin().await, &acme);
    resources.delete("console", &DeleteParams::default()).await.unwrap();
    worker.logged(&["pipeline removed"]).await;
    let foreign = json!({ "renamed_from": format!("{acme}.console") });
    assert!(scene.apply(&globex, "second", &scene.spec(foreign.clone())).await.is_ok());
    scene.condition([&globex, "second"], "Ready", "False", "Invalid").await;
    scene.apply(&globex, "second", &scene.spec(json!({}))).await.unwrap();
    scene.condition([&globex, "second"], "Ready", "True", "Running").await;
    scene.apply(&acme, "second", &scene.spec(json!({}))).await.unwrap();
    let (renamed, status) = scene.condition([&acme, "second"], "Ready", "False", "Renamed").await;
    let message = renamed["message"].as_str().unwrap();
    assert!(message.contains(&format!("write `renamed_from: {acme}.console`")), "{message}");
    assert!(!status.to_string().contains("--state"), "{status}");
    scene.apply(&acme, "second", &scene.spec(foreign)).await.unwrap();
    scene.condition([&acme, "second"], "Ready", "True", "Running").await;
    worker.logged(&["`renamed_from`: the lane continues from the checkpoint"]).await;
    let seen = format!("{}{:?}", scene.status(&globex, "second").await, scene.events(&globex).await);
    assert!(!seen.contains(&acme), "{seen}");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_follows_resources_next_to_files_and_over_an_outage_of_the_api_server() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let namespace = scene.customer().await;
    scene.allow(&[&namespace]).await;
    scene.apply(&namespace, "acme", &scene.spec(json!({}))).await.unwrap();
    scene.harness.put_changed("local", json!({}));
    let mut worker = scene.worker(&[&namespace], &["pipelines"]);
    let acme = format!("{namespace}.acme");
    let is_up = |lane: &Value| lane["last_success"].is_string();
    worker.lane(&format!("{acme}/activities/siem"), is_up).await;
    worker.lane("local/activities/siem", is_up).await;

    kubernetes.stop_api();
    worker.logged(&["the Pipelines cannot be listed"]).await;
    assert_eq!(worker.lanes().await.len(), 2, "what was known stays");
    kubernetes.start_api().await;
    scene.apply(&namespace, "umbrella", &scene.spec(json!({}))).await.unwrap();
    worker.lane(&format!("{namespace}.umbrella/activities/siem"), is_up).await;
    let resources: Api<PipelineResource> = Api::namespaced(kubernetes.admin().await, &namespace);
    resources.delete("acme", &DeleteParams::default()).await.unwrap();
    worker.logged(&["pipeline removed", &acme]).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

/// Without one of its verbs, a worker says which one is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_right_is_needed() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let namespace = scene.customer().await;
    scene.allow(&[&namespace]).await;
    let roles: Api<Role> = Api::namespaced(kubernetes.admin().await, &namespace);
    let name = format!("{}-s1-forwarder-resources", scene.tenant.name);
    let whole = roles.get(&name).await.unwrap();
    let rules = whole.rules.clone().unwrap();
    let granted: Vec<(String, Vec<String>)> =
        rules.iter().map(|rule| (rule.resources.clone().unwrap()[0].clone(), rule.verbs.clone())).collect();
    let expected = [
        ("pipelines", &["list", "watch", "patch"][..]),
        ("pipelines/status", &["patch"]),
        ("secrets", &["get"]),
        ("events", &["create", "patch"]),
    ];
    let expected =
        expected.map(|(resource, verbs)| (resource.to_owned(), verbs.iter().map(|verb| (*verb).to_owned()).collect()));
    assert_eq!(granted, expected.to_vec());
    let annotation = json!({ "s1-forwarder.io/checkpoints": "remove" });
    scene.apply_with(&namespace, "acme", &scene.spec(json!({})), annotation).await.unwrap();
    for (index, rule) in rules.iter().enumerate() {
        for verb in &rule.verbs {
            // A repeated event is patched; this is one that does not repeat.
            if rule.resources.as_deref() == Some(&["events".to_owned()]) && verb == "patch" {
                continue;
            }
            let mut less = whole.clone();
            less.metadata.managed_fields = None;
            less.metadata.resource_version = None;
            let rules = less.rules.as_mut().unwrap();
            rules[index].verbs.retain(|other| other != verb);
            rules.retain(|rule| !rule.verbs.is_empty());
            roles.replace(&name, &PostParams::default(), &less).await.unwrap();
            // A finalizer is to be set again.
            let resources: Api<PipelineResource> = Api::namespaced(kubernetes.admin().await, &namespace);
            let bare = json!({ "metadata": { "finalizers": null }, "status": null });
            resources.patch("acme", &PatchParams::default(), &Patch::Merge(bare)).await.unwrap();
            let bare = json!({ "status": null });
            resources.patch_status("acme", &PatchParams::default(), &Patch::Merge(bare)).await.unwrap();
            let worker = scene.worker(&[&namespace], &[]);
            let resource = &rule.resources.as_ref().unwrap()[0];
            until_within(PATIENCE, &format!("the worker says that it may not {verb} {resource}"), async || {
                let log = worker.log_text();
                let said = log
                    .lines()
                    .any(|line| line.contains("orbidden") && line.contains(&format!("cannot {verb} resource")));
                said.then_some(())
            })
            .await;
            worker.kill().await;
            std::fs::remove_dir_all(scene.harness.path("state")).ok();
        }
    }
}
