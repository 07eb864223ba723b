//! `state export|import`: a lane that is half way goes on from another store; what cannot be trusted is refused.

use std::fs;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::json;

use super::process::{Exit, until};
use super::world::World;
use crate::support::receiver::Fault;

const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];

/// A worker was stopped while it delivered the history.
async fn half_way() -> World {
    let world = World::new(|setup| (setup.activities, setup.threats) = (6_000, 300)).await;
    let streams = json!({ "activities": { "interval": "300ms" }, "threats": { "interval": "300ms", "since": "30d" } });
    let mut pipeline = world.pipeline(json!({ "streams": streams }));
    pipeline["sinks"][0]["batch"] = json!({ "events": 100, "timeout": "50ms" });
    world.put("acme", &pipeline);
    world.sink.misbehave(1, vec![(1.0, Fault::Slow(Duration::from_millis(500)))]);
    let worker = world.worker();
    until("some is delivered", async || (world.sink.ledger().counts().len() > 200).then_some(())).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    world.sink.misbehave(1, vec![]);
    let delivered = world.sink.ledger().counts().len();
    assert!(delivered < 6_000, "it is not half way any more: {delivered}");
    world
}

async fn done(world: &World, arguments: &[&str]) -> Exit {
    let exit = world.command(arguments).await;
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.stderr);
    exit
}

/// More is made, the lanes go on from `state`, and all of it has arrived once.
async fn goes_on(world: &World, state: &str) {
    BOTH.iter().for_each(|kind| {
        world.console().generate(*kind, system_clock());
    });
    // Until the console's clock, which tells whole seconds, is past them.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let exit = world.once(&["--state", state, "--dead-letters", "file:dead"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = world.sink.ledger().counts();
    world.assert_all_arrived(&BOTH, &arrived);
    let repeated = arrived.values().filter(|count| **count > 1).count();
    assert_eq!(repeated, 0, "came again under {state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_another_directory_and_what_is_not_whole_is_refused() {
    let world = half_way().await;
    let exported = done(&world, &["state", "export"]).await;
    fs::write(world.path("export"), &exported.stdout).unwrap();
    let import = |state: &'static str, file: &'static str| {
        let world = &world;
        async move { world.command(&["state", "import", file, "--state", state]).await }
    };

    let damaged = exported.stdout.replacen("file:state", "file:other", 1);
    let lines: Vec<_> = exported.stdout.lines().collect();
    let cut = lines[..lines.len() - 1].join("\n") + "\n";
    let left_out = [&lines[..1], &lines[2..]].concat().join("\n") + "\n";
    let newer = exported.stdout.replacen("\"v\":1", "\"v\":2", 1);
    for (text, told) in [
        (damaged.as_str(), "is damaged"),
        (&cut, "is cut"),
        (&left_out, "is damaged"),
        (&newer, "written by a newer release (version 2, this one reads 1); use that release"),
        ("something else\n", "no export of `state export`"),
    ] {
        fs::write(world.path("wrong"), text).unwrap();
        let exit = import("file:other", "wrong").await;
        assert!(exit.code == Some(1) && exit.stderr.contains(told), "{told}: {}", exit.stderr);
        assert!(!world.path("other/lanes/acme").exists(), "{told}: nothing was written");
    }

    let exit = import("file:other", "export").await;
    assert_eq!(exit.stdout, "2 checkpoints imported into file:other\n", "{}", exit.stderr);
    goes_on(&world, "file:other").await;

    // What is there is not lost by mistake, and nobody writes beside a worker.
    let exit = import("file:other", "export").await;
    assert!(exit.code == Some(1) && exit.stderr.contains("already, and those of 1 more"), "{}", exit.stderr);
    let mut worker = world.worker_with(&["--state", "file:other"]);
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    let beside = done(&world, &["state", "export", "later", "--state", "file:other"]).await;
    assert!(beside.stderr.contains("a worker uses this state"), "{}", beside.stderr);
    let exit = world.command(&["state", "import", "export", "--replace", "--state", "file:other"]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("in use by another process"), "{}", exit.stderr);
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));

    done(&world, &["state", "export", "later", "--state", "file:other"]).await;
    let before = done(&world, &["state", "show", "acme/activities/siem", "--state", "file:other"]).await;
    done(&world, &["state", "delete", "acme/activities/siem", "--state", "file:other"]).await;
    done(&world, &["state", "import", "later", "--replace", "--state", "file:other"]).await;
    let after = done(&world, &["state", "show", "acme/activities/siem", "--state", "file:other"]).await;
    assert_eq!(before.stdout, after.stdout);
    goes_on(&world, "file:other").await;
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_a_kafka_topic_and_back() {
    let Some(broker) = tokio::task::spawn_blocking(crate::support::kafka::Broker::shared).await.unwrap() else {
        return;
    };
    let world = half_way().await;
    let topic = format!("kafka://{}/moved-{:x}", broker.address(), fastrand::u32(..));
    done(&world, &["state", "export", "export"]).await;
    done(&world, &["state", "import", "export", "--state", &topic]).await;
    let again = world.command(&["state", "import", "export", "--state", &topic]).await;
    assert!(again.code == Some(1) && again.stderr.contains("already"), "{}", again.stderr);
    goes_on(&world, &topic).await;
    let listed = done(&world, &["state", "show", "acme/activities/siem"]).await.stdout;
    let moved = done(&world, &["state", "show", "acme/activities/siem", "--state", &topic]).await.stdout;
    let began = |text: &str| text.lines().find(|line| line.starts_with("ledger:")).unwrap().to_owned();
    assert_eq!(began(&listed), began(&moved), "the ledger went along");

    done(&world, &["state", "export", "export", "--state", &topic]).await;
    done(&world, &["state", "import", "export", "--state", "file:back"]).await;
    goes_on(&world, "file:back").await;
}

/// A move into Kubernetes, with the rights of a worker; from there to Kafka, and back to a directory.
#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_go_on_from_kubernetes_and_back() {
    let Some(kubernetes) = crate::support::kubernetes::Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let mut world = half_way().await;
    world.kubeconfig = Some(tenant.kubeconfig());
    let objects = "kubernetes:";
    done(&world, &["state", "export", "export"]).await;
    let imported = done(&world, &["state", "import", "export", "--state", objects]).await;
    assert_eq!(imported.stdout, format!("2 checkpoints imported into {objects}\n"));
    let shown = async |state: &str| {
        let arguments = ["state", "show", "acme/activities/siem", "--state", state];
        done(&world, &arguments).await.stdout
    };
    let began = |text: &str| text.lines().find(|line| line.starts_with("ledger:")).unwrap().to_owned();
    assert_eq!(began(&shown("file:state").await), began(&shown(objects).await), "the ledger went along");
    let again = world.command(&["state", "import", "export", "--state", objects]).await;
    assert!(again.code == Some(1) && again.stderr.contains("already"), "{}", again.stderr);
    // It belongs to an installation.
    let other = done(&world, &["state", "list", "--state", objects, "--instance", "other"]).await;
    assert!(!other.stdout.contains("acme/activities/siem"), "{}", other.stdout);
    goes_on(&world, objects).await;

    // Workers that share the pipelines go on from there too, and what is exported beside them can be put back.
    let flags = ["--state", objects, "--dead-letters", "file:dead", "--shards", "2", "--lease", "2s"];
    let mut worker = world.worker_with(&flags);
    worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    done(&world, &["state", "export", "export", "--state", objects]).await;
    let before = shown(objects).await;
    done(&world, &["state", "delete", "acme/activities/siem", "--state", objects]).await;
    done(&world, &["state", "import", "export", "--replace", "--state", objects]).await;
    assert_eq!(before, shown(objects).await);
    done(&world, &["state", "import", "export", "--state", "file:back"]).await;
    goes_on(&world, "file:back").await;

    #[cfg(feature = "kafka")]
    {
        let broker = tokio::task::spawn_blocking(crate::support::kafka::Broker::shared).await.unwrap();
        let Some(broker) = broker else { return };
        let topic = format!("kafka://{}/from-objects-{:x}", broker.address(), fastrand::u32(..));
        done(&world, &["state", "export", "export", "--state", "file:back"]).await;
        done(&world, &["state", "import", "export", "--replace", "--state", objects]).await;
        done(&world, &["state", "export", "export", "--state", objects]).await;
        done(&world, &["state", "import", "export", "--state", &topic]).await;
        goes_on(&world, &topic).await;
        done(&world, &["state", "export", "export", "--state", &topic]).await;
        done(&world, &["state", "import", "export", "--replace", "--state", objects]).await;
        goes_on(&world, objects).await;
    }
}
