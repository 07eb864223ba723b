//! A sink's connection to its brokers: settings, credentials, and the producer that lanes with equal settings share.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::KafkaSettings;
use super::bearer::Bearer;
use super::options::Options;
use super::producer::{Producer, Producers};
use crate::failure::Failure;
use crate::kafka::{Connect, Tokens};
use crate::sink::common::{Common, Compression};
use crate::sink::{BuildError, Outcome, SinkContext};

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) options: Options,
    /// Source of OAUTHBEARER tokens.
    bearer: Option<Bearer>,
    producers: Arc<Producers>,
}

impl Brokers {
    pub(super) fn new(
        settings: &KafkaSettings,
        common: &Common,
        compression: Compression,
        context: &SinkContext,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            options: Options::new(settings, common, compression)?,
            bearer: settings.oauth.as_ref().map(|oauth| Bearer::new(oauth, common, context)).transpose()?,
            producers: context.shared.producers.clone(),
        })
    }

    /// Returns the settings with secrets read, for separate clients of this sink.
    pub(super) fn connect(&self) -> Result<Connect, Failure> {
        let config = self.options.resolve().map_err(|error| Failure::Unauthorized(error.to_string()))?;
        let tokens = self.bearer.clone().map(|bearer| Arc::new(bearer) as Arc<dyn Tokens>);
        Ok(Connect { config, tokens })
    }

    /// Returns the shared producer. The second part of an error is its label for metrics.
    pub(super) async fn producer(&self) -> Result<Arc<Producer>, (Outcome, &'static str)> {
        let config = self.options.resolve().map_err(|error| (Outcome::Unauthorized(error.to_string()), "secret"))?;
        let made = self.producers.get(config, self.bearer.clone()).await;
        made.map_err(|reason| {
            (Outcome::Misconfigured(format!("no Kafka producer with these options: {reason}")), "options")
        })
    }

    /// Closes the shared producer. The next call of [`Self::producer`] makes another one.
    pub(super) fn close(&self, producer: &Arc<Producer>) {
        self.producers.close(producer);
    }

    /// Reads the secrets again and drops the token that the brokers refused. True when another attempt may succeed.
    pub(super) async fn renew(&self) -> bool {
        let reloaded = self.options.reload();
        self.drop_token().await || reloaded
    }

    /// Discards the last token. False if there is none.
    pub(super) async fn drop_token(&self) -> bool {
        match &self.bearer {
            Some(bearer) => bearer.discard().await,
            None => false,
        }
    }

    /// Requests the number of the topic's partitions.
    pub(super) async fn partitions(&self, producer: &Arc<Producer>, topic: &str) -> Result<usize, RDKafkaErrorCode> {
        let (producer, topic) = (producer.clone(), topic.to_owned());
        let found = tokio::task::spawn_blocking(move || producer.partitions(&topic, PROBE_TIMEOUT)).await;
        found.unwrap_or(Err(RDKafkaErrorCode::Unknown))
    }
}
