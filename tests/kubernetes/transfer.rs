//! `state export|import` into Kubernetes, from there to Kafka, and back to a directory.

use crate::support::harness::Harness;
use crate::support::kubernetes::Kubernetes;
use crate::support::transfer::{done, goes_on, half_way};

/// A move into Kubernetes, with the rights of a worker; from there to Kafka, and back to a directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_kubernetes_and_back() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let mut harness = half_way().await;
    harness.kubeconfig = Some(tenant.kubeconfig());
    let objects = "kubernetes:";
    done(&harness, &["state", "export", "export"]).await;
    let imported = done(&harness, &["state", "import", "export", "--state", objects]).await;
    assert_eq!(imported.stdout, format!("2 checkpoints imported into {objects}\n"));
    let shown = async |state: &str| {
        let arguments = ["state", "show", "acme/activities/siem", "--state", state];
        done(&harness, &arguments).await.stdout
    };
    let ledger_line = |text: &str| text.lines().find(|line| line.starts_with("ledger:")).unwrap().to_owned();
    assert_eq!(ledger_line(&shown("file:state").await), ledger_line(&shown(objects).await), "the ledger went along");
    let again = harness.command(&["state", "import", "export", "--state", objects]).await;
    assert!(again.code == Some(1) && again.stderr.contains("already"), "{}", again.stderr);
    // It belongs to an installation.
    let other = done(&harness, &["state", "list", "--state", objects, "--instance", "other"]).await;
    assert!(!other.stdout.contains("acme/activities/siem"), "{}", other.stdout);
    goes_on(&harness, objects).await;

    // Workers that share the pipelines go on from there too, and what is exported while they run can be imported again.
    let flags = ["--state", objects, "--dead-letters", "file:dead", "--shards", "2", "--lease", "2s"];
    let mut worker = harness.worker_with(&flags);
    worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    done(&harness, &["state", "export", "export", "--state", objects]).await;
    let before = shown(objects).await;
    done(&harness, &["state", "delete", "acme/activities/siem", "--state", objects]).await;
    done(&harness, &["state", "import", "export", "--replace", "--state", objects]).await;
    assert_eq!(before, shown(objects).await);
    done(&harness, &["state", "import", "export", "--state", "file:back"]).await;
    goes_on(&harness, "file:back").await;

    #[cfg(feature = "kafka")]
    {
        let broker = tokio::task::spawn_blocking(crate::support::kafka::Broker::shared).await.unwrap();
        let Some(broker) = broker else { return };
        let topic = format!("kafka://{}/from-objects-{:x}", broker.address(), fastrand::u32(..));
        done(&harness, &["state", "export", "export", "--state", "file:back"]).await;
        done(&harness, &["state", "import", "export", "--replace", "--state", objects]).await;
        done(&harness, &["state", "export", "export", "--state", objects]).await;
        done(&harness, &["state", "import", "export", "--state", &topic]).await;
        goes_on(&harness, &topic).await;
        done(&harness, &["state", "export", "export", "--state", &topic]).await;
        done(&harness, &["state", "import", "export", "--replace", "--state", objects]).await;
        goes_on(&harness, objects).await;
    }
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_no_fresh_installation() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let mut harness = Harness::new(|_| {}).await;
    let list = ["state", "list", "--state", "kubernetes:nosuchns"];
    harness.kubeconfig = Some(kubernetes.admin_kubeconfig());
    let missing = harness.command(&list).await;
    assert!(missing.code == Some(2) && missing.stderr.contains("there is no namespace nosuchns"), "{missing:?}");
    // A worker may not ask, and is reported nothing wrong.
    harness.kubeconfig = Some(tenant.kubeconfig());
    let empty = done(&harness, &["state", "list", "--state", "kubernetes:"]).await;
    assert_eq!(empty.stdout, "no checkpoints\n");
    let refused = harness.command(&list).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("403"), "{refused:?}");
}
