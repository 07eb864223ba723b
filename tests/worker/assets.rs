//! The shipped pipeline for an asset service: OCSF assets in JSON arrays of 100.

use std::collections::BTreeSet;

use s1_forwarder::emulator::Kind;
use serde_json::Value;

use crate::ocsf::validity;
use crate::support::harness::Harness;
use crate::support::receiver::{Receiver, Rules};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_service_gets_the_inventory_in_arrays_of_100() {
    let harness = Harness::new(|setup| setup.agents = 250).await;
    let authorization = BTreeSet::from(["Bearer asset-token".to_owned()]);
    let service = Receiver::start(Rules { authorization, ..Rules::default() }).await;
    harness.write("pipelines/secrets/assets.token", "asset-token");
    let pipeline = harness.shipped("ocsf-assets", &[("https://assets.example/v1/assets", &service.input())]);
    harness.write("pipelines/ocsf-assets.yaml", &pipeline);
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);

    let requests = service.deliveries();
    let arrays: Vec<Vec<Value>> =
        requests.iter().map(|request| serde_json::from_slice(&request.bytes).expect("a JSON array")).collect();
    assert!(arrays.iter().all(|array| array.len() <= 100) && arrays.iter().any(|array| array.len() == 100));
    let assets: Vec<&Value> = arrays.iter().flatten().collect();
    for asset in &assets {
        assert_eq!(validity::faults(asset), Vec::<String>::new(), "{asset:#}");
        assert_eq!(asset["class_uid"], 5001, "{asset:#}");
        assert_eq!(asset["metadata"]["labels"][1], "customer:acme");
    }
    let agents: BTreeSet<_> = harness.console().ids(Kind::Agents).into_iter().map(|id| id.to_string()).collect();
    let sent: BTreeSet<_> = assets.iter().map(|asset| asset["device"]["uid"].as_str().unwrap().to_owned()).collect();
    assert!(!sent.is_empty() && sent.is_subset(&agents));
    // The service may be sent an inventory without those that are decommissioned.
    assert!(sent.len() > agents.len() / 2, "{} of {}", sent.len(), agents.len());
}
