//! Tests the connections and the secrets of valid pipelines without delivering anything.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{Check, Finding, console};
use crate::console::{Client, Limiters};
use crate::destinations::integration::INTEGRATIONS;
use crate::destinations::{SharedSinkResources, SinkSettings};
use crate::pipeline::Pipeline;
use crate::record::{Clock, Stream};
use crate::sink::{Batch, ProbeResult, Sink};
use crate::source::{LatestRecords, PullSettings};
use crate::transform::{MapError, Origin, RedactionKeys, Steps};

/// Pipelines that are tested concurrently.
const CONCURRENCY: usize = 16;
/// Larger than a page of one record.
const PAGE_BYTES: usize = 64 << 20;

/// Tests the connections of each pipeline, in the given order. Paused pipelines are tested too.
pub async fn check_all(pipelines: &[Arc<Pipeline>]) -> Vec<Vec<Finding>> {
    let limiters = Limiters::default();
    let shared = SharedSinkResources::default();
    let checks = pipelines.iter().map(|pipeline| check(pipeline, &limiters, &shared));
    stream::iter(checks).buffered(CONCURRENCY).collect().await
}

/// Checks what needs no network. An unreadable secret is only a warning: secrets may be elsewhere than the file that is
/// checked.
pub fn check_offline(pipeline: &Pipeline) -> Option<Finding> {
    let reason = redaction_keys(pipeline)?.err()?;
    Some(Finding::new("redact", Check::Verified, "the entries are valid").warn(format!("not usable here: {reason}")))
}

/// Returns whether the keys of hashes can be read. `None` if there are none.
fn redaction_keys(pipeline: &Pipeline) -> Option<Result<(), String>> {
    pipeline.transform.redact.iter().find(|redaction| redaction.key.is_some())?;
    let steps = Steps::new(&pipeline.transform, pipeline.transform.schema, None, RedactionKeys::Configured);
    Some(steps.map(drop).map_err(|error| format!("transform.{error}")))
}

async fn check(pipeline: &Pipeline, limiters: &Limiters, shared: &SharedSinkResources) -> Vec<Finding> {
    let mut findings = console::check(pipeline, limiters).await;
    findings.extend(redaction_keys(pipeline).map(|keys| match keys {
        Ok(()) => Finding::new("redact", Check::Verified, ""),
        Err(reason) => Finding::new("redact", Check::Failed, reason),
    }));
    let mut client = None;
    for sink in &pipeline.sinks {
        let mut streams: Vec<Stream> =
            pipeline.pulls.iter().map(|pull| pull.stream).filter(|stream| sink.accepts(*stream)).collect();
        let mut unlit = unlit(sink, &streams);
        let each = sink.type_settings.as_sink_type().probes_each_stream();
        if !each {
            streams.truncate(1);
        }
        for stream in streams {
            let subject =
                if each { format!("sink {} ({stream})", sink.name()) } else { format!("sink {}", sink.name()) };
            let context = pipeline.lane_context(sink, stream, shared.clone());
            let built = match sink.build(&context) {
                Ok(built) => built,
                Err(error) => {
                    findings.push(Finding::new(&subject, Check::Failed, error.to_string()));
                    continue;
                }
            };
            let mut probe = built.probe().await;
            if sink.type_settings.as_sink_type().integration().is_some() && matches!(probe, ProbeResult::Verified(_)) {
                let client = client.get_or_insert_with(|| {
                    Client::connect(&pipeline.console, limiters, Clock::System).map(Arc::new).ok()
                });
                if let Some(readable) = dry_run(pipeline, sink, stream, &*built, client.as_ref()).await {
                    probe = probe.and(readable);
                }
            }
            let (check, detail) = match probe {
                ProbeResult::Verified(detail) => (Check::Verified, detail),
                ProbeResult::Reached(detail) => (Check::Reached, detail),
                ProbeResult::Failed(detail) => (Check::Failed, detail),
            };
            let detail = match sink.without_identity(pipeline.transform.schema) {
                Some(advice) if check != Check::Failed => {
                    format!(
                        "{detail}; events have no identity there, so that nothing shows whether one is missing: \
                         {advice}"
                    )
                }
                _ => detail,
            };
            // The detail of the sink says whether the proxy is to blame for a failure.
            let of_proxy = if check == Check::Failed { Check::Skipped } else { Check::Verified };
            let proxies = built.proxies().into_iter();
            findings.extend(
                proxies.map(|proxy| Finding::new("proxy", of_proxy, format!("{proxy} on the way to the {subject}"))),
            );
            let parts: Vec<String> =
                std::iter::once(detail).filter(|detail| !detail.is_empty()).chain(unlit.take()).collect();
            findings.push(Finding::new(&subject, check, parts.join("; ")));
        }
    }
    findings
}

/// Says which content `content: integration` would feed. `None` if the sink sends it already, or if the destination has
/// nothing for these streams.
fn unlit(sink: &SinkSettings, streams: &[Stream]) -> Option<String> {
    let integration = INTEGRATIONS.into_iter().find(|integration| integration.sink == sink.type_settings.name())?;
    // These destinations get the console's own records by default.
    let sink_type = sink.type_settings.as_sink_type();
    let has_own = sink_type.integration().is_some() || sink_type.default_schema().is_some();
    let known = integration.known_of(streams);
    if has_own || known.is_empty() {
        return None;
    }
    let known: Vec<&str> = known.iter().map(|stream| stream.name()).collect();
    let known = known.join(", ");
    let title = integration.title;
    Some(format!("`content: integration` would feed the content made for {title}, if it is installed: {known}"))
}

/// Returns whether the destination's own content can read the stream's newest record. `None` if this cannot be known.
async fn dry_run(
    pipeline: &Pipeline,
    settings: &SinkSettings,
    stream: Stream,
    sink: &dyn Sink,
    client: Option<&Arc<Client>>,
) -> Option<ProbeResult> {
    // Most destinations cannot say: no record is pulled for them.
    sink.dry_run(&Batch::new(stream)).await?;
    let client = client?;
    let pull = pipeline.pulls.iter().find(|pull| pull.stream == stream)?;
    let origin = Origin { pipeline: pipeline.name.clone(), console_host: client.host().to_owned(), stream };
    let (mut transformer, schema) =
        pipeline.transformer(origin, Some(settings.name()), None, RedactionKeys::Configured).ok()?;
    let mut batch = Batch::new(stream);
    let mut latest = LatestRecords::new(client.clone(), PullSettings::clone(pull), 1);
    let read = latest.next(PAGE_BYTES, |record, facts| {
        let identity = facts.identity(client.host(), record);
        batch.push_with(&facts.record_id(record), identity, facts.time, |out| match transformer.map(record, out) {
            Ok(mapped) => mapped.error_next_to_raw(schema),
            Err(MapError(reason)) => Some(reason.into()),
        });
    });
    // A problem of the console has a finding of its own.
    read.await.ok()?;
    let event = batch.event(0)?;
    if event.body.is_empty() { None } else { sink.dry_run(&batch).await }
}
