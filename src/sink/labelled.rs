//! A sink for events whose labels come from the console: one instance for each set of labels.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{
    Attempt, Batch, BuildError, Limits, MaskedRequest, NoRequest, Outcome, Probe, Sink, SinkContext, SinkSettings,
};
use crate::failure::Failure;
use crate::settings::{Labels, UsedProxy};

/// Most instances that are kept. They share HTTP clients and tokens, so that another one costs little.
const MAX_INSTANCES: usize = 128;
/// About the bytes of the instances that are kept.
const MAX_BYTES: usize = 4 << 20;
/// About the bytes of an instance without its labels.
const INSTANCE_BYTES: usize = 8 << 10;
/// How often an instance has its labels: for itself, and in the texts that it makes of them.
const COPIES: usize = 3;
/// Bytes that the longest labels can add to an event.
const LONGEST_LABEL: usize = 256;

/// The sink of one lane. Opens no connection, so that it can also validate settings.
///
/// # Errors
/// If the settings contradict each other or refer to something that does not exist.
pub fn build(settings: &SinkSettings, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
    let sample = settings.build(context)?;
    if context.console_labels.is_empty() || settings.mixes_labels() {
        return Ok(sample);
    }
    let settings = settings.clone();
    let context = context.clone();
    Ok(Arc::new(LabelledSink { settings, context, sample, instances: Mutex::default() }))
}

/// The sink for events with these labels.
#[derive(Debug)]
struct Instance {
    labels: Arc<Labels>,
    bytes: usize,
    sink: Arc<dyn Sink>,
}

#[derive(Debug)]
struct LabelledSink {
    settings: SinkSettings,
    context: SinkContext,
    /// With the labels of `context`.
    sample: Arc<dyn Sink>,
    /// The one that was used last is the last.
    instances: Mutex<VecDeque<Instance>>,
}

/// The instance for these labels, which becomes the last one. Nearly all labels are those that the lane has made once.
fn used(instances: &mut VecDeque<Instance>, labels: &Arc<Labels>) -> Option<Arc<dyn Sink>> {
    let same = instances.iter().rposition(|instance| Arc::ptr_eq(&instance.labels, labels));
    let index = same.or_else(|| instances.iter().rposition(|instance| instance.labels == *labels))?;
    let instance = instances.remove(index)?;
    let sink = instance.sink.clone();
    instances.push_back(instance);
    Some(sink)
}

impl LabelledSink {
    fn instance(&self, labels: &Arc<Labels>) -> Result<Arc<dyn Sink>, BuildError> {
        if let Some(sink) = used(&mut self.instances.lock(), labels) {
            return Ok(sink);
        }
        let context = SinkContext { labels: Labels::clone(labels), ..self.context.clone() };
        let sink = self.settings.build(&context)?;
        let texts: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = INSTANCE_BYTES + COPIES * texts;
        let mut instances = self.instances.lock();
        let mut kept: usize = instances.iter().map(|instance| instance.bytes).sum();
        while instances.len() >= MAX_INSTANCES || kept + bytes > MAX_BYTES {
            let Some(oldest) = instances.pop_front() else { break };
            kept -= oldest.bytes;
        }
        instances.push_back(Instance { labels: labels.clone(), bytes, sink: sink.clone() });
        Ok(sink)
    }

    async fn deliver(&self, batch: &Batch) -> Attempt {
        let Some(labels) = batch.event(0).and_then(|event| event.labels) else {
            return self.sample.send(batch).await;
        };
        match self.instance(labels) {
            Ok(sink) => sink.send(batch).await,
            Err(error) => {
                let outcome = Outcome::Misconfigured(format!("with the labels {labels:?}: {error}"));
                Attempt { outcome, bytes: 0, event_bytes: None, status: "labels".to_owned() }
            }
        }
    }
}

impl Sink for LabelledSink {
    fn limits(&self) -> Limits {
        let limits = self.sample.limits();
        Limits { framing: limits.framing + LONGEST_LABEL * self.context.console_labels.len(), ..limits }
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.deliver(batch).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        self.sample.probe()
    }

    fn rehearse<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Option<Probe>> {
        self.sample.rehearse(batch)
    }

    fn masked<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<MaskedRequest, NoRequest>> {
        async {
            let sink = match batch.event(0).and_then(|event| event.labels) {
                Some(labels) => self.instance(labels).map_err(|error| NoRequest::Other(error.to_string()))?,
                None => self.sample.clone(),
            };
            sink.masked(batch).await
        }
        .boxed()
    }

    fn trouble(&self) -> Option<Failure> {
        let instances = self.instances.lock();
        instances.iter().find_map(|instance| instance.sink.trouble()).or_else(|| self.sample.trouble())
    }

    fn proxies(&self) -> Vec<UsedProxy> {
        self.sample.proxies()
    }

    fn separates_labels(&self) -> bool {
        true
    }
}
