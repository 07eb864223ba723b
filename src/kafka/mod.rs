//! What sinks and the state store need of Kafka together: checkpoints in a compacted topic, written in transactions, with at
//! most one process that may write those of a lane.
//!
//! An [`Owner`] holds one transactional id and with it the lanes that commit under it. Each initialisation of the id begins
//! a session; what a lane knows, it knows from a session, and with the session's end it has to read its checkpoint again.
//! `docs/delivery.md` has the rules, each with the case that breaks a simpler one.

mod events;
mod group;
mod items;
mod location;
mod lock;
mod owner;
mod record;
mod registry;
mod session;
mod topic;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use tokio::sync::oneshot;

pub(crate) use events::{BrokerError, Events, Tokens};
pub(crate) use group::{Abort, Blame, CHECKPOINT, Sent, Verdict};
pub(crate) use items::{ItemKey, Items};
pub use location::{KafkaLocation, KafkaLocationError};
pub(crate) use owner::{Lane, Owner};
pub(crate) use registry::{Owners, PROCESS};
pub(crate) use topic::{probe, reach};
pub(crate) use trouble::{Trouble, is_refusal};

/// A producer whose calls may be made from any thread.
pub(crate) type Transactional = FutureProducer<Events>;

/// All that a client needs to reach its brokers. Debug shows nothing of it: it holds secrets.
#[derive(Clone)]
pub(crate) struct Connect {
    /// librdkafka's settings, secrets read.
    pub(crate) config: BTreeMap<String, String>,
    /// Where tokens come from.
    pub(crate) tokens: Option<Arc<dyn Tokens>>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connect").finish_non_exhaustive()
    }
}

impl Connect {
    /// A client of the kind that is asked for, with `more` settings; a consumer passes over what is only for producers.
    fn client<T: FromClientConfigAndContext<Events>>(
        &self,
        events: &Events,
        more: &[(&str, &str)],
    ) -> Result<T, Trouble> {
        let mut config: ClientConfig = self.config.clone().into_iter().collect();
        for (key, value) in more {
            config.set(*key, *value);
        }
        config.create_with_context(events.clone()).map_err(|error| Trouble::Forbidden(creation_problem(error)))
    }

    fn events(&self) -> Events {
        let brokers = self.config.get("bootstrap.servers").cloned().unwrap_or_default();
        Events::new(&brokers, self.tokens.clone())
    }
}

/// Why there is no client with these settings; the value may be a secret, and is not told.
pub(crate) fn creation_problem(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, problem, key, _) => format!("{key}: {problem}"),
        KafkaError::ClientCreation(problem) => problem,
        other => other.to_string(),
    }
}

/// Runs a call that blocks, maybe for long, on a thread of its own: librdkafka waits for brokers in its transaction calls,
/// and a pool of threads that others need would be full of lanes whose brokers are gone.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("kafka-call".to_owned()).spawn(move || {
        // Nobody may wait for it any more; what the call did is done.
        let _ = sender.send(work());
    });
    spawned.map_err(|error| Trouble::Passing(format!("no thread for a call to Kafka: {error}")))?;
    receiver.await.map_err(|_| Trouble::Passing("a call to Kafka broke".to_owned()))
}
