//! Pipeline files in labelled ConfigMaps and Secrets, found through the API with the rights of the chart.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, Tenant};
use crate::support::process::{Exit, Process, program, until};
use s1_forwarder::emulator::{Kind, Setup};

const LABELLED: &str = "kubernetes:label=s1-forwarder/pipelines,tier!=old";

/// A namespace, and a console and a sink for the pipelines in it.
struct Scene<'a> {
    harness: Harness,
    tenant: Tenant<'a>,
    maps: Api<ConfigMap>,
    secrets: Api<Secret>,
}

impl<'a> Scene<'a> {
    async fn new(kubernetes: &'a Kubernetes) -> Self {
        let harness = Harness::new(|setup| setup.activities = 20).await;
        let tenant = kubernetes.tenant().await;
        let admin = kubernetes.admin().await;
        let (maps, secrets) = (Api::namespaced(admin.clone(), &tenant.name), Api::namespaced(admin, &tenant.name));
        Self { harness, tenant, maps, secrets }
    }

    fn metadata(name: &str) -> Value {
        json!({ "name": name, "labels": { "s1-forwarder/pipelines": "true" } })
    }

    /// Creates a ConfigMap with these keys, or puts them in the place of what it has.
    async fn put(&self, name: &str, data: Value) {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": Self::metadata(name), "data": data });
        self.maps.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(map)).await.unwrap();
    }

    fn text(&self, changes: Value) -> String {
        self.harness.pipeline(changes).to_string()
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.harness.root(), arguments);
        command.env("KUBECONFIG", self.tenant.kubeconfig());
        command
    }

    /// With the rights that labelled objects need here: the console and the sink are on this machine, the token is in a
    /// file.
    fn run(&self, arguments: &[&str]) -> Process {
        let mut command = self.program(arguments);
        command.arg("--secrets-dir").arg(self.harness.root()).arg("--allow-private-destinations");
        Process::spawn(command)
    }

    async fn check(&self, pipelines: &str) -> (Exit, Value) {
        let exit = self.run(&["check", "--offline", "--format", "json", "--pipelines", pipelines]).exit().await;
        let report = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{exit:?}"));
        (exit, report)
    }
}

#[tokio::test]
async fn labelled_objects_are_pipeline_files_with_the_same_rules() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let scene = Scene::new(&kubernetes).await;
    let namespace = scene.tenant.name.as_str();

    // Of its own namespace, a worker may list Secrets, because dead letters are in Secrets.
    let (exit, report) = scene.check(&LABELLED.replace("kubernetes:", "kubernetes:default/")).await;
    assert_eq!(exit.code, Some(2), "{exit:?}");
    let problems = report["problems"].to_string();
    assert!(problems.contains("the Secrets cannot be listed") && problems.contains("forbidden"), "{problems}");

    scene.tenant.allow_pipelines().await;
    let good = scene.text(json!({}));
    scene
        .put("customers", json!({ "acme.yaml": good, "umbrella.yml": good, "README.md": "no file", ".a.yaml": "{" }))
        .await;
    let literal = scene.text(json!({ "console": { "token": Setup::TOKEN } }));
    let secret =
        json!({ "metadata": Scene::metadata("globex"), "stringData": { "globex.yaml": literal, "token": "x" } });
    scene.secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    for (name, label) in [("others", "s1-forwarder/others"), ("old", "tier")] {
        let mut metadata = Scene::metadata(name);
        metadata["labels"][label] = json!("old");
        if name == "others" {
            metadata["labels"].as_object_mut().unwrap().remove("s1-forwarder/pipelines");
        }
        let map = json!({ "metadata": metadata, "data": { "never.yaml": good } });
        scene.maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let (exit, report) = scene.check(LABELLED).await;
    let names = |report: &Value| -> Vec<String> {
        let pipelines = report["pipelines"].as_array().unwrap().iter().filter(|pipeline| pipeline["valid"] == true);
        let mut names: Vec<_> = pipelines.map(|pipeline| pipeline["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(names(&report), ["acme", "globex", "umbrella"], "{report:#}");
    assert_eq!(report["problems"], json!([]), "in a Secret a literal token is where it belongs");

    scene
        .put(
            "broken",
            json!({ "broken.yaml": "console: { url: https://a.example }\nstreams: { threats: { intervall: 5s } }\n" }),
        )
        .await;
    scene
        .put("relative", json!({ "relative.yaml": scene.text(json!({ "console": { "token": { "file": "token" } } })) }))
        .await;
    scene.put("copy", json!({ "acme.yaml": good })).await;
    let (exit, report) = scene.check(LABELLED).await;
    assert_eq!((exit.code, names(&report)), (Some(2), vec!["globex".to_owned(), "umbrella".to_owned()]));
    let problem = |file: &str, words: &str| {
        let file = format!("configmap {namespace}/{file}");
        let problems = report["problems"].as_array().unwrap();
        let found =
            problems.iter().find(|problem| problem["file"] == *file && problem["message"].to_string().contains(words));
        found.unwrap_or_else(|| panic!("no {file} with {words}: {problems:#?}")).clone()
    };
    let broken = problem("broken, broken.yaml", "interval");
    assert_eq!((&broken["line"], &broken["key"]), (&json!(2), &json!("streams.threats.intervall")));
    problem("relative, relative.yaml", "absolute path");
    problem("copy, acme.yaml", &format!("also that of configmap {namespace}/customers, acme.yaml"));
}

#[tokio::test]
async fn labelled_objects_may_not_name_what_is_the_workers() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let scene = Scene::new(&kubernetes).await;
    scene.tenant.allow_pipelines().await;
    scene.put("acme", json!({ "acme.yaml": scene.text(json!({})) })).await;
    scene.harness.put_changed("local", json!({}));
    let arguments = ["check", "--offline", "--format", "json", "--pipelines", LABELLED, "pipelines"];
    let exit = Process::spawn(scene.program(&arguments)).exit().await;
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let valid: Vec<&Value> =
        report["pipelines"].as_array().unwrap().iter().filter(|pipeline| pipeline["valid"] == true).collect();
    assert_eq!((valid.len(), &valid[0]["name"]), (1, &json!("local")), "{report:#}");
    let problems = report["problems"].to_string();
    assert!(problems.contains("no secrets of the worker") && problems.contains("not a public address"), "{problems}");
}

#[tokio::test]
async fn a_worker_follows_labelled_objects_next_to_files_and_over_an_outage_of_the_api_server() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let scene = Scene::new(&kubernetes).await;
    scene.tenant.allow_pipelines().await;
    let good = scene.text(json!({}));
    scene.put("acme", json!({ "acme.yaml": good })).await;
    scene.harness.put_changed("local", json!({}));
    let mut worker = scene.run(&["run", "--pipelines", "pipelines", LABELLED, "--listen", "127.0.0.1:0"]);
    let up = |lane: &Value| lane["last_success"].is_string();
    worker.lane("acme/activities/siem", up).await;
    worker.lane("local/activities/siem", up).await;
    scene.harness.delivered(&[Kind::Activities]).await;
    let log = worker.log_text();
    assert!(!log.contains("cannot be"), "the rights suffice: {log}");

    scene.put("acme", json!({ "acme.yaml": "console: [" })).await;
    worker
        .logged(&["the last good version keeps running", &format!("configmap {}/acme, acme.yaml", scene.tenant.name)])
        .await;
    until("it is counted", async || {
        (worker.metrics().await.sum("pipelines", &[("state", "invalid")]) == 1).then_some(())
    })
    .await;
    assert!(worker.lanes().await.contains_key("acme/activities/siem"));

    // A name that a file runs is not taken from it.
    scene.put("rival", json!({ "local.yaml": good })).await;
    worker.logged(&["the pipeline's name `local` is also that of pipelines/local.yaml (which keeps running)"]).await;

    kubernetes.stop_api();
    worker.logged(&["ConfigMaps cannot be listed"]).await;
    assert_eq!(worker.lanes().await.len(), 2, "what was known stays");
    kubernetes.start_api().await;
    // With a token in a Secret of the namespace, which has no label.
    let token = json!({ "metadata": { "name": "console" }, "stringData": { "token": Setup::TOKEN } });
    scene.secrets.create(&PostParams::default(), &serde_json::from_value(token).unwrap()).await.unwrap();
    let mut umbrella = scene.harness.pipeline(json!({}));
    umbrella["console"]["token"] = json!({ "secretRef": { "name": "console", "key": "token" } });
    scene.put("acme", json!({ "acme.yaml": good, "umbrella.yaml": umbrella.to_string() })).await;
    worker.lane("umbrella/activities/siem", up).await;
    worker.logged(&["the file is valid again", "acme.yaml"]).await;

    let gone = async |worker: &mut Process, name: &str| {
        worker.logged(&["pipeline removed", name]).await;
        let name = format!("{name}/activities/siem");
        until("its lane is gone", async || (!worker.lanes().await.contains_key(&name)).then_some(())).await;
    };
    scene.put("acme", json!({ "acme.yaml": good })).await;
    gone(&mut worker, "umbrella").await;
    let unlabelled = json!({ "metadata": { "labels": { "s1-forwarder/pipelines": null } } });
    scene.maps.patch("acme", &PatchParams::default(), &Patch::Merge(unlabelled)).await.unwrap();
    gone(&mut worker, "acme").await;
    scene.maps.delete("rival", &DeleteParams::default()).await.unwrap();
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}
