//! A real OpenSearch, one node, started from its jars.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::cache::or_skip;

/// A running node; it ends when it is dropped.
pub struct OpenSearch {
    /// The port that the node prints once it has found one.
    port: OnceLock<u16>,
    directory: tempfile::TempDir,
    process: Mutex<Child>,
    client: reqwest::Client,
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl OpenSearch {
    /// Returns the node for all tests that run at the same time; `None` if Java or Maven is missing.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<OpenSearch>> = Mutex::new(Weak::new());
        let node = {
            let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match shared.upgrade() {
                Some(node) => node,
                None => {
                    let jars = or_skip("OpenSearch", test_servers::opensearch())?;
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
        let mut command = Command::new("java");
        // Java compiles a program of one file by itself.
        let node = directory.path().join("Node.java");
        std::fs::write(&node, include_str!("Node.java")).unwrap();
        command.args(["-Xmx1g", "-XX:TieredStopAtLevel=1", "-cp"]).arg(jars.join("*")).arg(node);
        command.args(["-numOfNode", "1", "-clusterName", "test"]);
        command.arg("-basePath").arg(directory.path().join("data"));
        // The runner takes the first free port above this and below 9300; another one that starts now begins elsewhere.
        command.args(["-baseHttpPort", &fastrand::u16(9_200..9_280).to_string()]);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().unwrap();
        // No TLS is spoken here, but a client is not made without it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A kept connection would belong to the runtime of the test that opened it, and break when that test ends.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let client = client.timeout(Duration::from_mins(2)).build().unwrap();
        Self { port: OnceLock::new(), directory, process: Mutex::new(process), client }
    }

    async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(3);
        while !self.answers().await {
            let ended = self.process.lock().unwrap().try_wait().unwrap().is_some();
            assert!(!ended && Instant::now() < deadline, "OpenSearch does not start: {}", self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn answers(&self) -> bool {
        let log = self.log();
        let said = log.lines().find_map(|line| line.trim().strip_prefix("HTTP Port:")?.trim().parse().ok());
        let Some(port) = said else { return false };
        self.port.get_or_init(|| port);
        let health = self.client.get(format!("{}/_cluster/health", self.url())).send().await;
        health.is_ok_and(|health| health.status().is_success())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Returns the URL of the node.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.get().unwrap())
    }

    /// Sends one request with a JSON body, or with no body for null. Returns status and answer.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}/{path}", self.url()));
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
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
