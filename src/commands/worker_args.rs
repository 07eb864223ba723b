//! The flags that name a worker, and the client that asks it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::StatusCode;

use super::ArgumentError;
use crate::server::{PeerClient, Status, WebConfig};
use crate::settings::{AddressPolicy, HttpSettings, Period, Secret, Tls, TlsFile};
use crate::worker::DEFAULT_LISTEN;

/// A larger response is not from a worker.
const MAX_BYTES: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which worker is asked, and with which credentials.
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// Address of the worker (its --listen); without http:// or https://, --web-config decides which
    #[arg(long, value_name = "URL", default_value = DEFAULT_LISTEN)]
    url: String,

    /// The worker's own file: its first token in a file is presented, and its certificate is trusted
    #[arg(long, value_name = "FILE")]
    web_config: Option<PathBuf>,

    /// A file with a bearer token that the worker accepts; instead of --web-config
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// PEM file with the authority of the worker's certificate [default: those of the system]; instead of --web-config
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// A worker that is asked about its lanes.
#[derive(Debug)]
pub struct RemoteWorker {
    client: PeerClient,
    base: String,
}

impl WorkerArgs {
    /// Creates the client of the worker.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn connect(&self) -> anyhow::Result<RemoteWorker> {
        let client = self.client()?;
        let base = self.url.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("{}://{base}", client.scheme()) };
        Ok(RemoteWorker { client, base })
    }

    fn client(&self) -> anyhow::Result<PeerClient> {
        match &self.web_config {
            Some(file) if self.token_file.is_none() && self.ca_file.is_none() => {
                Ok(WebConfig::read(file).map_err(|error| ArgumentError(error.to_string()))?.peers())
            }
            _ => {
                let tls = Tls { ca_file: self.ca_file.clone().map(TlsFile::from), ..Tls::default() };
                let token = self.token_file.clone().map(|file| Secret::File(file.into()).read()).transpose()?;
                let settings = HttpSettings {
                    tls,
                    proxy: None,
                    timeout: Period(TIMEOUT),
                    address_policy: AddressPolicy::Everywhere,
                };
                Ok(PeerClient::new(reqwest::Client::clone(&*settings.client()?), token.as_ref()))
            }
        }
    }
}

impl RemoteWorker {
    /// Returns the answer to `/api/v1/lanes?QUERY`.
    ///
    /// # Errors
    /// If no worker responds. The error says why.
    pub async fn lanes(&self, query: &str) -> anyhow::Result<Status> {
        let answer = self.get(&format!("{}/api/v1/lanes?{query}", self.base)).await;
        answer.with_context(|| format!("no worker responds at {}", without_password(&self.base)))
    }

    async fn get(&self, url: &str) -> anyhow::Result<Status> {
        let Self { client, .. } = self;
        let mut response = client.get(url, TIMEOUT).await.map_err(|error| anyhow!(client.describe(&error, TIMEOUT)))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            bail!("it requires credentials: give --web-config or --token-file");
        }
        if !response.status().is_success() {
            bail!("it responds with {}", response.status());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BYTES {
                bail!("its response is larger than {MAX_BYTES} bytes");
            }
        }
        // An error could quote the response, and with it the token.
        serde_json::from_slice(&body).map_err(|_| anyhow!("its response is not from a worker of this version"))
    }
}

/// Returns an address without the part before the `@`.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}
