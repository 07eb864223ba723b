//! Tests the connections and the secrets of valid pipelines without delivering anything.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{Check, Finding, console};
use crate::console::Limiters;
use crate::pipeline::Pipeline;
use crate::sink::{self, Probe, SharedSinkResources};
use crate::transform::{Keys, Steps};

/// Pipelines that are tested concurrently.
const CONCURRENCY: usize = 16;

/// Tests the connections of each pipeline, in the given order. Paused pipelines are tested too.
pub async fn check_all(pipelines: &[Arc<Pipeline>]) -> Vec<Vec<Finding>> {
    let limiters = Limiters::default();
    let shared = SharedSinkResources::default();
    let checks = pipelines.iter().map(|pipeline| check(pipeline, &limiters, &shared));
    stream::iter(checks).buffered(CONCURRENCY).collect().await
}

/// What can be said without a network, of secrets too: they may be elsewhere than the file that is checked.
pub fn check_offline(pipeline: &Pipeline) -> Option<Finding> {
    let reason = redaction_keys(pipeline)?.err()?;
    Some(Finding::new("redact", Check::Verified, "the entries are valid").warn(format!("not usable here: {reason}")))
}

/// Whether the keys of hashes can be read; `None` if there are none.
fn redaction_keys(pipeline: &Pipeline) -> Option<Result<(), String>> {
    pipeline.transform.redact.iter().find(|redaction| redaction.key.is_some())?;
    let steps = Steps::new(&pipeline.transform, pipeline.transform.schema, None, Keys::Configured);
    Some(steps.map(drop).map_err(|error| format!("transform.{error}")))
}

async fn check(pipeline: &Pipeline, limiters: &Limiters, shared: &SharedSinkResources) -> Vec<Finding> {
    let mut findings = console::check(pipeline, limiters).await;
    findings.extend(redaction_keys(pipeline).map(|keys| match keys {
        Ok(()) => Finding::new("redact", Check::Verified, ""),
        Err(reason) => Finding::new("redact", Check::Failed, reason),
    }));
    for sink in &pipeline.sinks {
        let subject = format!("sink {}", sink.name());
        let Some(context) = pipeline.sink_context(sink, shared.clone()) else { continue };
        let (check, detail) = match sink::build(sink, &context) {
            Ok(sink) => {
                let (check, detail) = match sink.probe().await {
                    Probe::Verified(detail) => (Check::Verified, detail),
                    Probe::Reached(detail) => (Check::Reached, detail),
                    Probe::Failed(detail) => (Check::Failed, detail),
                };
                // Whether the proxy is to blame for a failure, the detail of the sink says.
                let of_proxy = if check == Check::Failed { Check::Skipped } else { Check::Verified };
                findings.extend(
                    sink.proxies()
                        .into_iter()
                        .map(|proxy| Finding::new("proxy", of_proxy, format!("{proxy} on the way to the {subject}"))),
                );
                (check, detail)
            }
            Err(error) => (Check::Failed, error.to_string()),
        };
        findings.push(Finding::new(&subject, check, detail));
    }
    findings
}
