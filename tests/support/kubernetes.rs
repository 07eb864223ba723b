//! A real Kubernetes API: etcd and kube-apiserver with RBAC, without nodes and controllers, so that only what a test
//! does happens to objects.

#![allow(clippy::disallowed_methods, reason = "a real process keeps real time, and nobody else is on its thread")]

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::{Client, Config, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cache::or_skip;
use super::ports;
use super::tls::Authority;

const ADMIN_TOKEN: &str = "admin-token";
/// The line of the plain manifests that names their namespace.
const MANIFESTS_NAMESPACE: &str = "namespace: s1-forwarder";
const DEFINITION: &str = include_str!("../../deploy/kubernetes/crd.yaml");
const MANIFESTS: &str = include_str!("../../deploy/kubernetes/s1-forwarder.yaml");

/// A running API server and its etcd; they end when it is dropped.
pub struct Kubernetes {
    directory: tempfile::TempDir,
    port: u16,
    etcd_url: String,
    etcd: Child,
    api_server: Mutex<Option<Child>>,
    programs: Programs,
}

struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.stop_api();
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

impl Kubernetes {
    /// A cluster of its own, for tests that stop it; or none where Go is missing.
    pub async fn start() -> Option<Self> {
        let kubernetes = Self::spawn(or_skip("Kubernetes", Programs::built())?);
        kubernetes.ready().await;
        Some(kubernetes)
    }

    /// Returns the API server for all tests that run at the same time. Each test has its own namespace.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Kubernetes>> = Mutex::new(Weak::new());
        let kubernetes = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            match shared.upgrade() {
                Some(kubernetes) => kubernetes,
                None => {
                    let kubernetes = Arc::new(Self::spawn(or_skip("Kubernetes", Programs::built())?));
                    *shared = Arc::downgrade(&kubernetes);
                    kubernetes
                }
            }
        };
        kubernetes.ready().await;
        Some(kubernetes)
    }

    fn spawn(programs: Programs) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(directory.path().join("ca.pem"), authority.certificate()).unwrap();
        authority.issue(&["127.0.0.1", "kubernetes.default.svc"]).write(directory.path(), "server");
        authority.issue(&["service-accounts"]).write(directory.path(), "accounts");
        std::fs::write(directory.path().join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))
            .unwrap();
        let [etcd_url, peers] = [ports::free(), ports::free()].map(|port| format!("http://127.0.0.1:{port}"));
        let mut etcd = Command::new(&programs.etcd);
        etcd.args(["--data-dir", "etcd", "--unsafe-no-fsync", "--listen-client-urls", &etcd_url]);
        etcd.args(["--advertise-client-urls", &etcd_url, "--listen-peer-urls", &peers]);
        let etcd = spawn(&mut etcd, directory.path());
        let kubernetes =
            Self { directory, port: ports::free(), etcd_url, etcd, api_server: Mutex::new(None), programs };
        kubernetes.spawn_api();
        kubernetes
    }

    fn spawn_api(&self) {
        let mut command = Command::new(&self.programs.api_server);
        command.arg(format!("--etcd-servers={}", self.etcd_url)).arg(format!("--secure-port={}", self.port));
        command.args(["--bind-address=127.0.0.1", "--cert-dir=certs", "--service-cluster-ip-range=10.0.0.0/24"]);
        command.args(["--tls-cert-file=server.pem", "--tls-private-key-file=server.key"]);
        command.args(["--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv"]);
        command.args(["--service-account-key-file=accounts.pem", "--service-account-signing-key-file=accounts.key"]);
        // Without a controller there is no default service account for it to look for.
        command.args(["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"]);
        command.args(["--endpoint-reconciler-type=none"]);
        *self.api_server.lock().unwrap() = Some(spawn(&mut command, self.directory.path()));
    }

    async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(2);
        let admin = self.admin().await;
        let asked = || http::Request::get("/readyz").body(Vec::new()).unwrap();
        while admin.request_text(asked()).await.is_err() {
            let ended = match &mut *self.api_server.lock().unwrap() {
                Some(process) => process.try_wait().unwrap().is_some(),
                None => true,
            };
            assert!(!ended && Instant::now() < deadline, "kube-apiserver does not start: {}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Kills the API server; what it has stored stays.
    pub fn stop_api(&self) {
        let process = self.api_server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut process) = process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again at the same address, after [`Self::stop_api`].
    pub async fn start_api(&self) {
        self.spawn_api();
        self.ready().await;
    }

    /// The processes of the API server and of etcd.
    pub fn processes(&self) -> [u32; 2] {
        let api_server = self.api_server.lock().unwrap().as_ref().map(Child::id);
        [api_server.expect("a running API server"), self.etcd.id()]
    }

    /// Returns the address at which the API server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A client that may do everything.
    pub async fn admin(&self) -> Client {
        let kubeconfig = self.kubeconfig("default", ADMIN_TOKEN, self.address());
        client(Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap()).await
    }

    /// A new namespace with the manifests' service account, and its rights to hold state.
    pub async fn tenant(&self) -> Tenant<'_> {
        let name = self.namespace().await;
        self.allow_state(&name).await;
        self.account(&name).await
    }

    /// The manifests' service account in a namespace where it has its rights.
    pub async fn account(&self, namespace: &str) -> Tenant<'_> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, namespace);
        let wanted = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = accounts.create_token_request("s1-forwarder", &PostParams::default(), &wanted).await.unwrap();
        let tenant = Tenant { kubernetes: self, name: namespace.to_owned(), token: token.status.unwrap().token };
        // The API server hears of rights a moment after they were written.
        let leases: Api<Lease> = Api::namespaced(tenant.client().await, &tenant.name);
        let deadline = Instant::now() + Duration::from_mins(1);
        while let Err(error) = leases.list(&ListParams::default()).await {
            assert!(Instant::now() < deadline, "{}: {error}", tenant.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tenant
    }

    /// A new namespace, whose pods must be as restricted as Kubernetes knows.
    pub async fn namespace(&self) -> String {
        let name = format!("test-{:08x}", fastrand::u32(..));
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
        Api::<Namespace>::all(self.admin().await).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    /// The resource `Pipeline`.
    pub async fn install_definition(&self) {
        self.apply(DEFINITION, "").await.unwrap_or_else(|error| panic!("{error}"));
        let admin = self.admin().await;
        let kind = GroupVersionKind::gvk("s1-forwarder.io", "v1alpha1", "Pipeline");
        let deadline = Instant::now() + Duration::from_mins(1);
        while kube::discovery::pinned_kind(&admin, &kind).await.is_err() {
            assert!(Instant::now() < deadline, "the API server does not serve the definition");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Applies in a namespace what the manifests have of rights, except those to resources.
    async fn allow_state(&self, namespace: &str) {
        for manifest in documents(&MANIFESTS.replace(MANIFESTS_NAMESPACE, &format!("namespace: {namespace}"))) {
            let is_right = ["ServiceAccount", "Role", "RoleBinding"].contains(&field(manifest, "kind: "));
            if is_right && field(manifest, "  name: ") == "s1-forwarder" {
                self.apply(manifest, "").await.unwrap();
            }
        }
    }

    /// Applies a manifest as `kubectl apply --server-side` does, with unknown and duplicate keys refused; what the API
    /// server makes of it. `more` is added to the request's parameters.
    pub async fn apply(&self, manifest: &str, more: &str) -> kube::Result<Value> {
        let [namespace, name] = ["  namespace: ", "  name: "].map(|name| field(manifest, name));
        let (resource, capabilities) = self.kind_of(manifest).await?;
        let namespace = if capabilities.scope == Scope::Namespaced { Some(namespace) } else { None };
        let path = DynamicObject::url_path(&resource, namespace);
        let path = format!("{path}/{name}?fieldManager=test&force=true&fieldValidation=Strict{more}");
        let patch = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
        self.admin().await.request(patch.body(manifest.as_bytes().to_vec()).unwrap()).await
    }

    /// The kind of a manifest, which the API server must know.
    pub async fn kind_of(&self, manifest: &str) -> kube::Result<(ApiResource, ApiCapabilities)> {
        let [version, kind] = ["apiVersion: ", "kind: "].map(|name| field(manifest, name));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        kube::discovery::pinned_kind(&self.admin().await, &GroupVersionKind::gvk(group, version, kind)).await
    }

    /// A file for `KUBECONFIG` of a user who may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_file("default", ADMIN_TOKEN, self.address())
    }

    fn kubeconfig_file(&self, namespace: &str, token: &str, server: SocketAddr) -> PathBuf {
        let path = self.directory.path().join(format!("{namespace}-{}.kubeconfig", server.port()));
        // Another process may read it meanwhile.
        let mut file = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        write!(file, "{}", self.kubeconfig(namespace, token, server)).unwrap();
        file.persist(&path).unwrap();
        path
    }

    fn kubeconfig(&self, namespace: &str, token: &str, server: SocketAddr) -> Value {
        let ca = self.directory.path().join("ca.pem");
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": format!("https://{server}"), "certificate-authority": ca } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
        })
    }

    /// Returns the log of both programs.
    pub fn log(&self) -> String {
        let path = self.directory.path().join("log");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }
}

/// A namespace as a worker has it: everything is done with its service account's token.
pub struct Tenant<'a> {
    kubernetes: &'a Kubernetes,
    pub name: String,
    token: String,
}

impl Tenant<'_> {
    /// Returns a file for `KUBECONFIG`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_through(self.kubernetes.address())
    }

    /// Returns a file for `KUBECONFIG` that leads to the API server through something else on 127.0.0.1.
    pub fn kubeconfig_through(&self, server: SocketAddr) -> PathBuf {
        self.kubernetes.kubeconfig_file(&self.name, &self.token, server)
    }

    /// A client with the worker's rights.
    pub async fn client(&self) -> Client {
        client(Kubeconfig::read_from(self.kubeconfig()).unwrap()).await
    }
}

async fn client(kubeconfig: Kubeconfig) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The manifests in a text of several.
pub fn documents(manifests: &str) -> impl Iterator<Item = &str> {
    manifests.split("---\n").filter(|manifest| manifest.contains("kind: "))
}

/// The rest of the first line of a manifest that begins so.
fn field<'a>(manifest: &'a str, name: &str) -> &'a str {
    manifest.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_matches('"')
}

fn spawn(command: &mut Command, directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    command.current_dir(directory).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

impl Programs {
    fn built() -> Result<Self, String> {
        Ok(Self { etcd: test_servers::etcd()?, api_server: test_servers::kube_apiserver()? })
    }
}
