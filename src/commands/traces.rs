//! The flag of `run` for traces, and their export.

use std::time::Duration;

use clap::Args;

use crate::settings::{AddressPolicy, HttpSettings, Period, Tls};
use crate::state::process_identity;
use crate::telemetry::Traces;

/// Timeout of one export.
const TRACES_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Export a trace of each delivered batch to an OpenTelemetry collector over HTTP, such as http://collector:4318
    /// [default: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, else none]
    ///
    /// The other variables of OpenTelemetry hold too, such as OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and
    /// OTEL_EXPORTER_OTLP_HEADERS.
    #[arg(long, value_name = "URL", value_parser = collector)]
    otlp_traces: Option<url::Url>,
}

/// Exports traces until it is ended.
pub struct TraceExport(Option<Traces>);

/// Parses the URL of a collector. `collector:4318` alone would be one of the scheme `collector`.
fn collector(text: &str) -> Result<url::Url, String> {
    let url = text.parse::<url::Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "write http://HOST:PORT or https://HOST:PORT, such as http://collector:4318".to_owned())
}

impl TraceArgs {
    /// Exports traces if the flag or the variables of OpenTelemetry ask for it.
    ///
    /// # Errors
    /// If the exporter cannot be set up.
    pub fn start(&self) -> anyhow::Result<TraceExport> {
        let endpoint = self.otlp_traces.as_ref();
        let variable = |name| std::env::var(name).is_ok_and(|value: String| !value.is_empty());
        let is_wanted = endpoint.is_some()
            || variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            || variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let variable_is = |name, value| std::env::var(name).is_ok_and(|text: String| text.eq_ignore_ascii_case(value));
        if !is_wanted || variable_is("OTEL_SDK_DISABLED", "true") || variable_is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(TraceExport(None));
        }
        let settings = HttpSettings {
            tls: Tls::default(),
            proxy: None,
            timeout: Period(TRACES_TIMEOUT),
            address_policy: AddressPolicy::Everywhere,
        };
        let client = reqwest::Client::clone(&*settings.client()?);
        let traces = Traces::start(endpoint.map(url::Url::as_str), &process_identity(), client)?;
        Ok(TraceExport(Some(traces)))
    }
}

impl TraceExport {
    /// Exports the rest.
    ///
    /// # Errors
    /// If the task that waits panics.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(traces) = self.0 {
            // The shutdown blocks until the exporter's thread has sent the rest.
            tokio::task::spawn_blocking(|| traces.shutdown()).await?;
        }
        Ok(())
    }
}
