//! The Helm chart, rendered by Helm and judged by the API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, GroupVersionKind, ListParams, PostParams};
use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use crate::support::cache::{or_skip, run};
use crate::support::golang;
use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, documents};
use crate::support::process::{Process, program, until};

/// Helm, and the chart that it is run on.
struct Chart {
    helm: PathBuf,
    directory: PathBuf,
}

impl Chart {
    /// None where Go is missing.
    fn new() -> Option<Self> {
        let helm = golang::program("helm", "helm.sh/helm/v3@v3.18.4", "helm.sh/helm/v3/cmd/helm");
        Some(Self { helm: or_skip("Helm", helm)?, directory: root().join("deploy/helm/s1-forwarder") })
    }

    fn helm(&self, arguments: &[&str], values: &[&str]) -> Result<String, String> {
        // The home and caches of the user have no influence.
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.helm);
        command.env_clear().env("HOME", home.path()).args(arguments).args(["--kube-version", "1.34.1"]).args(values);
        run(&mut command, &self.directory)
    }

    fn template(&self, release: &str, namespace: &str, values: &[&str]) -> Result<String, String> {
        self.helm(&["template", release, ".", "--namespace", namespace], values)
    }

    /// The values files that the chart is tried with, by what they are about; the first has no values at all.
    fn values(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.join("ci")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
        files.sort();
        assert!(files.len() > 2, "{files:?}");
        files.insert(0, "/dev/null".into());
        files
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The monitors' kinds as the Prometheus operator defines them.
async fn install_monitors(kubernetes: &Kubernetes) {
    let operator = golang::source("github.com/prometheus-operator/prometheus-operator@v0.85.0").unwrap();
    for kind in ["servicemonitors", "podmonitors", "prometheusrules"] {
        let file = operator.join(format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"));
        let definition = fs::read_to_string(file).unwrap();
        kubernetes.apply(documents(&definition).next().unwrap(), "").await.unwrap();
    }
    let mut missing = ["ServiceMonitor", "PodMonitor", "PrometheusRule"].to_vec();
    let admin = kubernetes.admin().await;
    while let Some(kind) = missing.last() {
        let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
        if kube::discovery::pinned_kind(&admin, &kind).await.is_ok() {
            missing.pop();
        }
    }
}

#[tokio::test]
async fn the_api_server_takes_the_chart_with_each_of_its_values_files() {
    let (Some(chart), Some(kubernetes)) = (Chart::new(), Kubernetes::shared().await) else { return };
    install_monitors(&kubernetes).await;
    let namespace = kubernetes.namespace().await;
    for file in chart.values() {
        let values = ["--values", file.to_str().unwrap()];
        chart.helm(&["lint", ".", "--strict"], &values).unwrap();
        let rendered = chart.template("acme", &namespace, &values).unwrap();
        let mut kinds = Vec::new();
        for manifest in documents(&rendered) {
            let object = kubernetes.apply(manifest, "&dryRun=All").await;
            let object = object.unwrap_or_else(|error| panic!("{}: {error}\n{manifest}", file.display()));
            if object["kind"] == "Deployment" {
                check_deployment(&kubernetes, &object).await;
            }
            kinds.push(object["kind"].as_str().unwrap().to_owned());
        }
        assert!(kinds.contains(&"Deployment".to_owned()), "{kinds:?}");
        if file.ends_with("everything.yaml") {
            for kind in ["HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor", "PodMonitor", "PrometheusRule"] {
                assert!(kinds.iter().any(|found| found == kind), "no {kind} among {kinds:?}");
            }
        }
    }
}

/// What the API server takes in a Deployment can still be wrong: its pods are refused later, or killed too early.
async fn check_deployment(kubernetes: &Kubernetes, deployment: &Value) {
    let template = &deployment["spec"]["template"];
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap();
    let mut spec = template["spec"].clone();
    // Those of a real cluster.
    spec.as_object_mut().unwrap().remove("priorityClassName");
    let pod = json!({ "metadata": { "name": "pod", "labels": template["metadata"]["labels"] }, "spec": spec });
    let pods: Api<Pod> = Api::namespaced(kubernetes.admin().await, namespace);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry_run, &serde_json::from_value(pod).unwrap()).await.unwrap();

    let arguments = texts(&template["spec"]["containers"][0]["args"]);
    let timeout = arguments.iter().find_map(|argument| argument.strip_prefix("--shutdown-timeout=")).unwrap();
    let timeout: u64 = timeout.trim_end_matches('s').parse().unwrap();
    assert!(template["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() >= timeout + 10);
}

#[test]
fn values_that_cannot_work_are_refused_before_anything_is_installed() {
    let Some(chart) = Chart::new() else { return };
    for (value, word) in [
        ("worker.state=file:state", "worker.state"),
        ("worker.deadLetters=", "worker.deadLetters"),
        ("worker.leese=15s", "leese"),
        ("worker.lease=15", "worker.lease"),
        ("worker.shards=0", "worker.shards"),
        ("pipelines.inline.acme.enabled=true", "pipelines.inline.acme"),
        ("pipelines.inline.Acme=x", "Acme"),
        ("metrics.serviceMonitor.enabled=perhaps", "metrics.serviceMonitor.enabled"),
    ] {
        let refused = chart.template("acme", "default", &["--set", value]).unwrap_err();
        let said = refused.replace('/', ".");
        assert!(said.contains("values don't meet the specifications") && said.contains(word), "{value}: {refused}");
    }
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let chart = fs::read_to_string(root().join("deploy/helm/s1-forwarder/Chart.yaml")).unwrap();
    let version = format!("appVersion: \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(chart.contains(&version), "no {version}");
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    let Some(chart) = Chart::new() else { return };
    // With them, pipelines are added without a change of the manifests.
    let labelled = ["--set", "pipelines.labelled.selector=s1-forwarder/pipelines"];
    let rendered = chart.template("s1-forwarder", "s1-forwarder", &labelled).unwrap();
    let helms = ["helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:"];
    let lines = rendered.lines().filter(|line| !helms.iter().any(|word| line.trim_start().starts_with(word)));
    let rendered: String = lines.flat_map(|line| [line, "\n"]).collect();
    let namespace = "# Made from deploy/helm/s1-forwarder by `UPDATE_GOLDEN=1 just test-servers --test servers plain`.\n\
                     apiVersion: v1\nkind: Namespace\nmetadata:\n  name: s1-forwarder\n";
    let wanted = format!("{namespace}{rendered}");
    let path = root().join("deploy/kubernetes/s1-forwarder.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == wanted, "{} is not what the chart says", path.display());
}

/// The rights, the flags, the files and the alerts of the chart, tried on the program itself.
#[tokio::test]
async fn a_worker_runs_with_what_the_chart_gives_it() {
    let (Some(chart), Some(kubernetes)) = (Chart::new(), Kubernetes::shared().await) else { return };
    let (harness, tenant) = (Harness::new(|setup| setup.activities = 20).await, kubernetes.tenant().await);
    harness.write("acme.yaml", &harness.pipeline(json!({})).to_string());
    let inline = format!("pipelines.inline.acme={}", harness.path("acme.yaml").display());
    let rendered = chart.template("s1-forwarder", &tenant.name, &["--set-file", &inline]).unwrap();
    let (mut arguments, mut environment) = (Vec::new(), Vec::new());
    for manifest in documents(&rendered) {
        let object = kubernetes.apply(manifest, "").await.unwrap();
        match object["kind"].as_str().unwrap() {
            "Deployment" => {
                let container = &object["spec"]["template"]["spec"]["containers"][0];
                arguments = texts(&container["args"]);
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let variables = container["env"].as_array().unwrap().iter();
                environment = variables.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect();
            }
            "Secret" => {
                let file = BASE64_STANDARD.decode(object["data"]["acme.yaml"].as_str().unwrap()).unwrap();
                fs::create_dir_all(harness.path("etc/pipelines/inline")).unwrap();
                fs::write(harness.path("etc/pipelines/inline/acme.yaml"), file).unwrap();
            }
            _ => {}
        }
    }
    let etc = harness.path("etc").display().to_string();
    let here = |argument: &str| argument.replace("/etc/s1-forwarder", &etc).replace("0.0.0.0:9598", "127.0.0.1:0");
    let arguments: Vec<String> = arguments.iter().map(|argument| here(argument)).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = program(harness.root(), &arguments);
    command.env("KUBECONFIG", tenant.kubeconfig()).envs(environment.clone());
    let mut worker = Process::spawn(command);

    worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(worker.get("/livez").await.0, 200);
    assert_eq!(worker.get("/readyz").await.0, 200);
    let alerts = fs::read_to_string(root().join("deploy/helm/s1-forwarder/files/alerts.yaml")).unwrap();
    let words = alerts.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let metrics: BTreeSet<&str> = words.filter(|word| word.starts_with("s1_forwarder_")).collect();
    assert!(metrics.len() > 5, "{metrics:?}");
    until(&format!("there are {metrics:?}"), async || {
        let scrape = worker.metrics().await.0;
        metrics.iter().all(|metric| scrape.contains(&format!("# TYPE {metric} "))).then_some(())
    })
    .await;
    // A refused event is kept; `kubectl exec` shows it without a flag, and sends it again.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1 && lane["up"] == true).await;
    let exec = async |command: &[&str]| {
        let mut command = program(harness.root(), &[&["dead-letters"], command].concat());
        command.env("KUBECONFIG", tenant.kubeconfig()).envs(environment.clone());
        Process::spawn(command).exit().await
    };
    let listed = exec(&["list"]).await;
    assert!(listed.code == Some(0) && listed.stdout.contains("acme/activities/siem"), "{}", listed.stderr);
    harness.sink.contract(|rules| rules.event_bytes = None);
    let pipelines = harness.path("etc/pipelines/inline").display().to_string();
    let replayed = exec(&["replay", "--pipelines", &pipelines]).await;
    assert_eq!(
        (replayed.code, replayed.stdout.as_str()),
        (Some(0), "1 delivered, 0 refused again\n"),
        "{}",
        replayed.stderr
    );
    assert_eq!(exec(&["list"]).await.stdout, "no dead letters\n");
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("forbidden"), "{}", exit.stderr);
    let checkpoints: Api<ConfigMap> = Api::namespaced(kubernetes.admin().await, &tenant.name);
    let checkpoints = checkpoints.list(&ListParams::default()).await.unwrap();
    assert!(checkpoints.iter().any(|map| map.name_any().starts_with("s1-forwarder-checkpoint-")));
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}
