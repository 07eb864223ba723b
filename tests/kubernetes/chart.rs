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

use super::container::{Container, texts};
use crate::support::cache::{or_skip, run};
use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, documents};
use crate::support::process::{Process, program};

/// Helm, and the chart that it is run on.
pub struct Chart {
    helm: PathBuf,
    directory: PathBuf,
}

impl Chart {
    /// None where Go is missing.
    pub fn new() -> Option<Self> {
        Some(Self { helm: or_skip("Helm", test_servers::helm())?, directory: root().join("deploy/helm/s1-forwarder") })
    }

    fn helm(&self, arguments: &[&str], values: &[&str]) -> Result<String, String> {
        // The home and caches of the user have no influence.
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.helm);
        command.env_clear().env("HOME", home.path()).args(arguments).args(["--kube-version", "1.34.1"]).args(values);
        run(&mut command, &self.directory)
    }

    pub fn template(&self, release: &str, namespace: &str, values: &[&str]) -> Result<String, String> {
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
    let operator = test_servers::prometheus_operator().unwrap();
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
    // everything.yaml names this class.
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: gvisor\nhandler: runsc\n";
    kubernetes.apply(class, "").await.unwrap();
    let namespace = kubernetes.namespace().await;
    let mut kinds = BTreeSet::new();
    for file in chart.values() {
        let values = ["--values", file.to_str().unwrap()];
        chart.helm(&["lint", ".", "--strict"], &values).unwrap();
        let rendered = chart.template("acme", &namespace, &values).unwrap();
        let mut deployments = 0;
        for manifest in documents(&rendered) {
            let object = kubernetes.apply(manifest, "&dryRun=All").await;
            let object = object.unwrap_or_else(|error| panic!("{}: {error}\n{manifest}", file.display()));
            if object["kind"] == "Deployment" {
                check_deployment(&kubernetes, &object).await;
                deployments += 1;
            }
            if object["kind"] == "PrometheusRule" {
                check_rules(&object);
            }
            kinds.insert(object["kind"].as_str().unwrap().to_owned());
        }
        assert_eq!(deployments, 1, "{}", file.display());
    }
    for kind in [
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        // The dashboards.
        "ConfigMap",
        "Job",
        // `helm test`.
        "Pod",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
}

/// With the values of everything.yaml.
fn check_rules(object: &Value) {
    let groups = object["spec"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let alerts: Vec<_> = rules.iter().filter(|rule| rule["alert"].is_string()).collect();
    assert!(alerts.len() > 20 && rules.len() > alerts.len(), "{} of {}", alerts.len(), rules.len());
    for alert in alerts {
        assert_ne!(alert["alert"], "S1ForwarderMapErrors", "it is disabled");
        assert_eq!(alert["labels"]["team"], "security", "{alert}");
        let severity = &alert["labels"]["severity"];
        let patience = &alert["for"];
        assert!(severity.is_string(), "{alert}");
        if alert["alert"] == "S1ForwarderLaneLags" {
            assert!(severity == "info" && patience == "1h", "{alert}");
        }
        let name = alert["alert"].as_str().unwrap().to_lowercase();
        assert_eq!(alert["annotations"]["runbook_url"], format!("https://runbooks.example/s1-forwarder#{name}"));
        assert!(alert["annotations"]["summary"].is_string(), "{alert}");
    }
}

/// What the API server takes in a Deployment can still be wrong: its pods are refused later, or killed too early.
async fn check_deployment(kubernetes: &Kubernetes, deployment: &Value) {
    let template = &deployment["spec"]["template"];
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap();
    let mut spec = template["spec"].clone();
    // Only a real cluster has this priority class.
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
        ("metrics.prometheusRule.disabled={S1ForwarderLaneLag}", "metrics.prometheusRule.disabled"),
        ("metrics.prometheusRule.overrides.S1ForwarderLaneLag.for=1h", "S1ForwarderLaneLag"),
        ("ingress.enabled=true", "ingress.hosts"),
        ("podDisruptionBudget.minAvailable=half", "podDisruptionBudget.minAvailable"),
        ("worker.instance=of-forty-one-characters-which-is-too-long", "worker.instance"),
        ("worker.existingSecret.stateKey=state", "worker.existingSecret"),
        ("serviceAccount.create=false", "serviceAccount"),
        ("web.tls=true", "web.existingSecret"),
    ] {
        let refused = chart.template("acme", "default", &["--set", value]).unwrap_err();
        let said = refused.replace('/', ".");
        assert!(said.contains("values don't meet the specifications") && said.contains(word), "{value}: {refused}");
    }
    let password = "has a password, which everybody could read in the Deployment: put the whole text into a Secret";
    for (value, words) in [
        ("replicas=65", "65 workers cannot share worker.shards: 64"),
        ("autoscaling.enabled=true,autoscaling.maxReplicas=65", "65 workers cannot share worker.shards: 64"),
        ("replicaCount=2", "did you mean `replicas`?"),
        ("worker.memoryBudget=2GiB", "the limit must be at least 2304Mi"),
        ("worker.memoryBudget=1GB,resources.limits.memory=1.2G", "the limit must be at least 1210Mi"),
        ("resources.limits.memory=805306367", "the limit must be at least 768Mi"),
        ("worker.state=kafka://kafka:9092/s1?sasl.password=canary", password),
        ("worker.deadLetters=kafka://me:canary@kafka:9092/s1", password),
        ("pipelines.inline.acme=console: [", "pipelines.inline.acme is not the text of a pipeline file"),
        ("pipelines.inline.acme=canary", "pipelines.inline.acme is not the text of a pipeline file"),
        ("pipelines.inline.acme=# nothing", "pipelines.inline.acme has no keys"),
        ("pipelines.defaults=- canary", "pipelines.defaults is not the text of a pipeline file"),
        (
            "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
            "metrics.serviceMonitor and metrics.podMonitor are both enabled",
        ),
    ] {
        let refused = chart.template("acme", "default", &["--set", value]).unwrap_err();
        // The command is part of the text.
        let said = refused.rsplit_once("Error: ").unwrap().1;
        assert!(said.contains(words) && !said.contains("canary"), "{value}: {refused}");
    }
    for value in [
        "worker.memoryBudget=768MiB",
        "worker.memoryBudget=8GiB,resources.limits.memory=null",
        "worker.memoryBudget=8GiB,resources.limits.memory=9Gi",
        "resources.limits.memory=805306368",
    ] {
        chart.template("acme", "default", &["--set", value]).unwrap_or_else(|error| panic!("{value}: {error}"));
    }
}

#[test]
fn the_image_comes_from_the_registry_that_the_values_name() {
    let Some(chart) = Chart::new() else { return };
    for (values, image) in [
        ("image.tag=v1", "s1-forwarder:v1"),
        ("image.tag=v1,image.registry=registry.example/mirror", "registry.example/mirror/s1-forwarder:v1"),
        ("image.tag=v1,image.registry=one.example,global.imageRegistry=all.example", "all.example/s1-forwarder:v1"),
    ] {
        let rendered = chart.template("acme", "default", &["--set", values]).unwrap();
        let images: BTreeSet<&str> =
            rendered.lines().filter_map(|line| line.trim_start().strip_prefix("image: ")).collect();
        assert_eq!(images, BTreeSet::from([format!("\"{image}\"").as_str()]), "{values}");
    }
}

/// What `helm install` prints. It asks a cluster first, so the notes are rendered as a part of another object.
#[test]
fn the_notes_say_how_to_add_the_first_customer() {
    let Some(chart) = Chart::new() else { return };
    let object = "notes: {{ include \"s1-forwarder/templates/NOTES.txt\" . | quote }}";
    let object = format!("extraObjects={}", json!([object]));
    let notes = |values: &[&str]| {
        let rendered = chart.template("s1-forwarder", "workers", &[&["--set-json", &object], values].concat()).unwrap();
        rendered.lines().find(|line| line.starts_with("notes: ")).unwrap().to_owned()
    };
    let warning = "WARNING: no source of pipelines is set";
    let without = notes(&[]);
    assert!(without.contains(warning) && without.contains("kubectl -n acme apply -f pipeline.yaml"), "{without}");
    let with = notes(&["--set", "pipelines.resources.namespaces={globex}"]);
    assert!(!with.contains(warning) && with.contains("kubectl -n globex create secret generic console"), "{with}");
    let open = "WARNING: every pod of the cluster can read";
    let namespace = "kubernetes.io/metadata.name: monitoring";
    assert!(!without.contains(open) && without.contains(namespace), "{without}");
    let without_policy = notes(&["--set", "networkPolicy.enabled=false"]);
    assert!(without_policy.contains(open) && !without_policy.contains(namespace), "{without_policy}");
    let with_passwords = notes(&["--set", "networkPolicy.enabled=false,web.existingSecret=web"]);
    assert!(!with_passwords.contains(open), "{with_passwords}");
    let nobody = notes(&["--set", "networkPolicy.ingressFrom=null"]);
    assert!(nobody.contains("nobody") && !nobody.contains(namespace), "{nobody}");
}

/// The network policy as Helm renders it.
fn network_policy(chart: &Chart, values: &[&str]) -> Value {
    let rendered = chart.template("acme", "workers", values).unwrap();
    let policy = documents(&rendered).find(|manifest| manifest.contains("kind: NetworkPolicy")).unwrap().to_owned();
    serde_saphyr::from_str(&policy).unwrap()
}

#[test]
fn only_prometheus_and_the_workers_reach_the_pages_and_everybody_the_probes() {
    let Some(chart) = Chart::new() else { return };
    let policy = network_policy(&chart, &[]);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]), "all sinks can be reached");
    assert!(policy["spec"].get("egress").is_none(), "{policy}");
    let labels = |name: &str| json!({ "app.kubernetes.io/name": name, "app.kubernetes.io/instance": "acme" });
    let workers = json!({ "podSelector": { "matchLabels": labels("s1-forwarder") } });
    let test = json!({ "podSelector": { "matchLabels": labels("s1-forwarder-test") } });
    let prometheus = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } });
    let http = json!([{ "port": "http", "protocol": "TCP" }]);
    let expected = json!([
        { "ports": http, "from": [prometheus] },
        { "ports": [{ "port": "probes", "protocol": "TCP" }] },
        { "ports": http, "from": [workers, test] },
    ]);
    assert_eq!(policy["spec"]["ingress"], expected);
    // A pod with the workers' secrets is restricted as they are.
    let everything = chart.template("acme", "workers", &["--set", "job.args={check}"]).unwrap();
    let selector = &policy["spec"]["podSelector"];
    let names = selector["matchExpressions"][0]["values"].as_array().unwrap();
    let mut pods = 0;
    for manifest in documents(&everything) {
        let manifest: Value = serde_saphyr::from_str(manifest).unwrap();
        let labels = match manifest["kind"].as_str() {
            Some("Pod") => &manifest["metadata"]["labels"],
            Some("Deployment" | "Job" | "StatefulSet") => &manifest["spec"]["template"]["metadata"]["labels"],
            _ => continue,
        };
        pods += 1;
        assert!(names.contains(&labels["app.kubernetes.io/name"]), "{labels}");
        assert_eq!(labels["app.kubernetes.io/instance"], selector["matchLabels"]["app.kubernetes.io/instance"]);
    }
    assert!(pods > 0, "{everything}");
    let nobody = network_policy(&chart, &["--set", "networkPolicy.ingressFrom=null"]);
    assert_eq!(nobody["spec"]["ingress"].as_array().map(Vec::len), Some(2), "{nobody}");
    let egress = network_policy(&chart, &["--set", "networkPolicy.egressPorts={443}"]);
    assert_eq!(egress["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(egress["spec"]["egress"].as_array().map(Vec::len), Some(3), "{egress}");
}

#[test]
fn the_networks_of_tenants_destinations_become_one_variable() {
    let Some(chart) = Chart::new() else { return };
    let variable = |value: &str| {
        let values =
            format!("pipelines.resources.namespaces={{acme}},pipelines.tenants.allowPrivateDestinations={value}");
        let rendered = chart.template("acme", "workers", &["--set", &values])?;
        let after = rendered.split("name: S1_FORWARDER_ALLOW_PRIVATE_DESTINATIONS\n").nth(1);
        Ok::<_, String>(after.and_then(|after| after.lines().next()).map(|line| line.trim().to_owned()))
    };
    let found = |text: &str| Ok(Some(format!("value: \"{text}\"")));
    assert_eq!(variable("{10.20.0.0/16,fd12:3456::/32}"), found("10.20.0.0/16,fd12:3456::/32"));
    assert_eq!(variable("true"), found("true"));
    assert_eq!(variable("false"), Ok(None));
    assert!(variable("{siem.example}").unwrap_err().contains("allowPrivateDestinations"));
}

/// Helm allows dots and 53 characters in a release's name, and the program 40 characters without dots.
#[tokio::test]
async fn the_program_accepts_the_instance_of_each_release() {
    let Some(chart) = Chart::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    for release in ["a", "acme.emea", "the-release-of-the-security-team-in-the.emea.region-1", "s1-forwarder"] {
        let rendered = chart.template(release, "default", &[]).unwrap();
        let line = rendered.split("name: S1_FORWARDER_INSTANCE\n").nth(1).unwrap().lines().next().unwrap();
        let instance = line.trim().strip_prefix("value: ").unwrap();
        let arguments = ["state", "list", "--state", "file:state", "--instance", instance];
        let exit = Process::spawn(program(directory.path(), &arguments)).exit().await;
        assert!(!exit.stderr.contains("--instance"), "{release}: {instance}: {}", exit.stderr);
    }
    let refused = ["state", "list", "--state", "file:state", "--instance", "acme.emea"];
    let refused = Process::spawn(program(directory.path(), &refused)).exit().await;
    assert!(refused.code == Some(2) && refused.stderr.contains("--instance"), "{}", refused.stderr);
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
    // The resources of the workers' namespace, whose definition is a manifest of its own.
    let resources = "pipelines.resources.namespaces={s1-forwarder},pipelines.resources.definition=false";
    let rendered = chart.template("s1-forwarder", "s1-forwarder", &["--skip-tests", "--set", resources]).unwrap();
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

/// The rights, the flags, the variables and the files of the chart, tried on the program itself.
#[tokio::test]
async fn a_worker_runs_with_what_the_chart_gives_it() {
    let (Some(chart), Some(kubernetes)) = (Chart::new(), Kubernetes::shared().await) else { return };
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let tenant = kubernetes.tenant().await;
    harness.write("acme.yaml", &harness.pipeline(json!({})).to_string());
    let inline = format!("pipelines.inline.acme={}", harness.path("acme.yaml").display());
    let values = ["--skip-tests", "--set-file", &inline];
    let rendered = chart.template("s1-forwarder", &tenant.name, &values).unwrap();
    let mut container = None;
    for manifest in documents(&rendered) {
        let object = kubernetes.apply(manifest, "").await.unwrap();
        match object["kind"].as_str().unwrap() {
            "Deployment" => container = Some(Container::of(&object)),
            "Secret" => {
                let file = BASE64_STANDARD.decode(object["data"]["acme.yaml"].as_str().unwrap()).unwrap();
                fs::create_dir_all(harness.path("etc/pipelines/inline")).unwrap();
                fs::write(harness.path("etc/pipelines/inline/acme.yaml"), file).unwrap();
            }
            _ => {}
        }
    }
    let etc = harness.path("etc").display().to_string();
    let container = container.unwrap();
    let arguments = container.arguments.iter().map(|argument| argument.replace("/etc/s1-forwarder", &etc));
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = |arguments: &[&str]| Process::spawn(container.program(harness.root(), &tenant.kubeconfig(), arguments));
    let mut worker = start(&arguments);

    worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(worker.get("/livez").await.0, 200);
    assert_eq!(worker.get("/readyz").await.0, 200);
    // `kubectl exec` starts it so: with the variables of the container, and without its arguments.
    let list = start(&["state", "list"]).exit().await;
    assert!(list.code == Some(0) && list.stdout.contains("acme/activities/siem"), "{}{}", list.stdout, list.stderr);
    // A refused event is kept; `kubectl exec` shows it without a flag, and sends it again.
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.console().generate_oversized(Kind::Activities, system_clock(), 150_000);
    worker.lane("acme/activities/siem", |lane| lane["dead_letters"] == 1 && lane["up"] == true).await;
    let listed = start(&["dead-letters", "list"]).exit().await;
    assert!(listed.code == Some(0) && listed.stdout.contains("acme/activities/siem"), "{}", listed.stderr);
    harness.sink.contract(|rules| rules.event_bytes = None);
    let pipelines = harness.path("etc/pipelines/inline").display().to_string();
    let replayed = start(&["dead-letters", "replay", "--pipelines", &pipelines]).exit().await;
    assert_eq!(
        (replayed.code, replayed.stdout.as_str()),
        (Some(0), "1 delivered, 0 refused again\n"),
        "{}",
        replayed.stderr
    );
    assert_eq!(start(&["dead-letters", "list"]).exit().await.stdout, "no dead letters\n");
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("forbidden"), "{}", exit.stderr);
    let checkpoints: Api<ConfigMap> = Api::namespaced(kubernetes.admin().await, &tenant.name);
    let checkpoints = checkpoints.list(&ListParams::default()).await.unwrap();
    assert!(checkpoints.iter().any(|map| map.name_any().starts_with("s1-forwarder-checkpoint-")));
}
