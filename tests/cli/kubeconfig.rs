//! How commands on an operator's machine reach an API server.

use serde_json::json;
use tokio::net::TcpListener;

use crate::support::process::{Process, program};
use crate::support::proxy::Proxy;

#[tokio::test]
async fn a_kubeconfig_goes_through_a_proxy_unless_no_proxy_has_the_api_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    // Stops a request that no server may answer here.
    let server_task = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let proxy = Proxy::start(server, None).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": format!("https://{server}"), "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "c", "user": { "token": "t0ken" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c", "namespace": "acme" } }],
    });
    std::fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let asked = async |no_proxy: &str| {
        let before = proxy.asked().len();
        let mut command = program(directory.path(), &["state", "list", "--state", "kubernetes:"]);
        command.env("KUBECONFIG", "kubeconfig").env("NO_PROXY", no_proxy);
        command.env("HTTPS_PROXY", format!("http://user:canary@{}", proxy.address()));
        let exit = Process::spawn(command).exit().await;
        assert_eq!(exit.code, Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("the API server") && !exit.stderr.contains("canary"), "{}", exit.stderr);
        proxy.asked().split_off(before)
    };
    let through_proxy = asked("example.com").await;
    assert!(through_proxy.contains(&format!("CONNECT {server}")), "{through_proxy:?}");
    assert_eq!(asked("example.com, 127.0.0.0/8").await, <[String; 0]>::default());
    server_task.abort();
}
