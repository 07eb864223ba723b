//! Traces: one span for each batch that is delivered, exported over OTLP.
//!
//! The spans are made here and not from `tracing`'s: a lane's span there covers a whole poll, which delivers many
//! batches.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use super::LaneMetrics;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TracesError(String);

/// Exports the remaining spans when it is shut down.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// Time for the last export.
const LAST_EXPORT: Duration = Duration::from_secs(3);

impl Traces {
    /// Begins to export spans to `endpoint` (`http://HOST:4318`, with or without `/v1/traces`), or without one to the
    /// address that the variables of OpenTelemetry name. `worker` is the name of this process. Must be called once,
    /// within a runtime.
    ///
    /// # Errors
    /// If the address is invalid, or the exporter cannot be set up.
    pub fn start(endpoint: Option<&str>, worker: &str, client: reqwest::Client) -> Result<Self, TracesError> {
        let failed = |error: String| TracesError(error);
        let client = Client { client, runtime: Handle::current() };
        let mut exporter = SpanExporter::builder().with_http().with_http_client(client);
        if let Some(endpoint) = endpoint {
            exporter = exporter.with_endpoint(traces_url(endpoint));
        }
        let exporter = exporter.build().map_err(|error| failed(error.to_string()))?;
        let resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", worker.to_owned()));
        // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        let is_named = ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"].iter().any(|name| {
            std::env::var(name).is_ok_and(|value| value.contains("service.name") || *name == "OTEL_SERVICE_NAME")
        });
        let resource = if is_named { resource } else { resource.with_service_name("s1-forwarder") };
        let provider =
            SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build();
        let scope = InstrumentationScope::builder("s1-forwarder").with_version(env!("CARGO_PKG_VERSION")).build();
        // A second call keeps the first tracer; its provider exports nothing.
        let _ = TRACER.set(provider.tracer_with_scope(scope));
        Ok(Self(provider))
    }

    /// Exports the rest. Blocks for at most three seconds.
    pub fn shutdown(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_EXPORT) {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// Sends on the program's runtime: the exporter's own thread has none.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let response = client.execute(request.try_into()?).await?;
            let status = response.status();
            let headers = response.headers().clone();
            // The exporter logs the body of a refusal, which may repeat the headers of the request.
            let body = if status.is_success() { response.bytes().await? } else { Bytes::new() };
            let mut answer = Response::new(body);
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            Ok(answer)
        });
        sending.await?
    }
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The delivery of one batch.
pub struct BatchSpan(Option<opentelemetry_sdk::trace::Span>);

impl BatchSpan {
    /// Begins a span. Without an exporter this does nothing.
    pub fn begin(metrics: &LaneMetrics, sink_type: &str, records: usize, bytes: usize) -> Self {
        Self(TRACER.get().map(|tracer| {
            let attributes = vec![
                KeyValue::new("pipeline", metrics.id.pipeline.clone()),
                KeyValue::new("stream", metrics.id.stream.name()),
                KeyValue::new("sink", metrics.id.sink.clone()),
                KeyValue::new("sink.type", sink_type.to_owned()),
                KeyValue::new("records", number(records)),
                KeyValue::new("bytes", number(bytes)),
            ];
            let span = tracer.span_builder("deliver batch").with_kind(SpanKind::Producer).with_attributes(attributes);
            span.start(tracer)
        }))
    }

    /// Ends it with `outcome`, which is a word, the number of events that became dead letters, and the error of a
    /// delivery that failed. A span of a delivery that is cancelled ends without them.
    pub fn end(self, outcome: &'static str, dead_letters: usize, error: Option<&str>) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("outcome", outcome));
        if dead_letters > 0 {
            span.set_attribute(KeyValue::new("dead_letters", number(dead_letters)));
        }
        if let Some(error) = error {
            span.set_status(Status::error(error.to_owned()));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_path_may_be_left_out() {
        for endpoint in ["http://collector:4318", "http://collector:4318/", "http://collector:4318/v1/traces"] {
            assert_eq!(super::traces_url(endpoint), "http://collector:4318/v1/traces");
        }
    }
}
