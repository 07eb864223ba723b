//! A sink's connection to its brokers: settings, credentials, and the producer that lanes with equal settings share.

use std::sync::Arc;

use super::bearer::Bearer;
use super::options::Options;
use super::producer::{Producers, SharedProducer};
use super::settings::KafkaSettings;
use crate::failure::Failure;
use crate::kafka::{Connect, Tokens};
use crate::sink::common::{Common, Compression};
use crate::sink::{BuildError, SinkContext};

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

    /// Returns the settings with secrets read.
    pub(super) fn connect(&self) -> Result<Connect, Failure> {
        let config = self.options.resolve().map_err(|error| Failure::Unauthorized(error.to_string()))?;
        let tokens = self.bearer.clone().map(|bearer| Arc::new(bearer) as Arc<dyn Tokens>);
        Ok(Connect::new(config, tokens))
    }

    /// Returns the shared producer.
    pub(super) async fn producer(&self) -> Result<Arc<SharedProducer>, Failure> {
        self.producers.get(self.connect()?).await
    }

    /// Closes the shared producer. The next call of [`Self::producer`] makes another one.
    pub(super) fn close(&self, producer: &Arc<SharedProducer>) {
        self.producers.close(producer);
    }

    /// Reads credentials and certificates again, since they may have been rotated. True when another attempt may
    /// succeed. Brokers that refuse a certificate do not say that they refuse credentials (`is_unauthorized`).
    pub(super) async fn renew(&self, is_unauthorized: bool) -> bool {
        let reloaded = self.options.reload();
        let refused = match &self.bearer {
            Some(bearer) if is_unauthorized => bearer.discard().await,
            _ => false,
        };
        // A producer keeps its token until it expires, so one with a refused token has to be replaced.
        if refused && let Ok(producer) = self.producer().await {
            self.close(&producer);
        }
        reloaded || refused
    }
}
