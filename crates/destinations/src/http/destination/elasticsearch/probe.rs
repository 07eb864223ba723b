//! Checks a cluster, its data stream and the credentials without writing a document.

use bytes::Bytes;
use http::{Method, StatusCode};
use s1_forwarder_engine::sink::ProbeResult;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::{Cluster, Storage};
use super::distribution::is_opensearch;
use super::package;
use super::pattern::matches;
use super::templates::{self, ADVICE};
use crate::http::identity::aws::refuses_signature;
use crate::http::transport::exchange::{RequestError, Response};
use crate::http::transport::response::not_from;
use crate::http::{Endpoint, SinkClient};

/// Checks the cluster, the data stream and the credentials. The first check that fails ends the probe.
pub(super) async fn probe(cluster: &Cluster, client: &SinkClient) -> ProbeResult {
    let probe = ClusterProbe { base: &cluster.base, name: &cluster.name, cluster, client };
    probe.run().await.unwrap_or_else(|result| result)
}

struct ClusterProbe<'a> {
    base: &'a Endpoint,
    name: &'a str,
    cluster: &'a Cluster,
    client: &'a SinkClient,
}

/// Privileges of the credentials. `None` if the cluster does not report them, as OpenSearch.
#[derive(Default)]
struct Rights {
    may_create: Option<bool>,
    may_create_stream: Option<bool>,
    may_install_templates: Option<bool>,
}

#[derive(Deserialize)]
struct Streams {
    data_streams: Vec<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Templates {
    index_templates: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    index_template: Template,
}

#[derive(Deserialize)]
struct Template {
    index_patterns: Vec<String>,
    #[serde(default)]
    priority: i64,
    data_stream: Option<Value>,
}

fn no_auto_configure(name: &str) -> String {
    format!("data stream `{name}` does not exist, and the credentials lack `auto_configure` to create it")
}

const TEMPLATES: &str = "index_templates.name,index_templates.index_template.index_patterns,\
                         index_templates.index_template.priority,index_templates.index_template.data_stream";

impl ClusterProbe<'_> {
    /// Runs the checks. `Err` is a result as well. It ends the probe early.
    async fn run(&self) -> Result<ProbeResult, ProbeResult> {
        let Self { base, name, .. } = self;
        let hidden = self.check_cluster().await?;
        let rights = self.rights().await?;
        if rights.may_create == Some(false) {
            return Err(self.failed(format!("the credentials lack the privilege `create_doc` on `{name}`")));
        }
        if let Some(dataset) = self.cluster.dataset {
            let pipeline = package::pipeline(self.cluster, dataset, self.client).await?;
            if pipeline.creates_stream && rights.may_create_stream == Some(false) {
                return Err(self.failed(no_auto_configure(name)));
            }
            let found = format!("`{name}` has the pipeline `{}`", pipeline.name);
            // Elasticsearch reports its privileges to every user, OpenSearch to none.
            if hidden && rights.may_create.is_none() {
                return Ok(ProbeResult::Reached(format!(
                    "{base} {}; {found}; not known whether this is Elasticsearch, or OpenSearch, which has no SentinelOne \
                     integration: the credentials may not read the cluster's information",
                    self.client.accepts()
                )));
            }
            return Ok(self.good(found, &rights));
        }
        if self.cluster.storage == Storage::Index {
            return self.check_index(&rights, hidden).await;
        }
        let response = self.get(&base.join(&format!("_data_stream/{name}"))).await?;
        match (response.status.as_u16(), read::<Streams>(&response)) {
            (200, Some(Streams { data_streams })) if !data_streams.is_empty() => {
                let template = match self.missing_template().await? {
                    Some(missing) => format!("; {}", missing_template(missing, &rights)),
                    None => String::new(),
                };
                return Ok(self.good(format!("data stream `{name}` exists{template}"), &rights));
            }
            (200, Some(_)) => {
                return Err(self.failed(format!("`{name}` is an index, which is given as `index` instead")));
            }
            (404, _) => {}
            (403, _) if rights.may_create == Some(true) => {
                return Ok(self.good(format!("the credentials may not read whether `{name}` exists"), &rights));
            }
            (403, _) => return Ok(self.hidden(if hidden { "the cluster's information" } else { "its data streams" })),
            _ => return Err(self.failed(reason(&response))),
        }
        self.check_template(&rights).await
    }

    /// Checks that the index or alias exists, or that the first document creates it.
    async fn check_index(&self, rights: &Rights, hidden: bool) -> Result<ProbeResult, ProbeResult> {
        let name = self.name;
        let response = self.get(&self.base.join(name).with_query("filter_path", "*.aliases")).await?;
        match response.status.as_u16() {
            200 => Ok(self.good(format!("index `{name}` exists"), rights)),
            404 if rights.may_create_stream == Some(false) => {
                let problem =
                    format!("index `{name}` does not exist, and the credentials lack `auto_configure` to create it");
                Err(self.failed(problem))
            }
            404 => Ok(self.good(format!("the first document creates index `{name}`"), rights)),
            403 if rights.may_create == Some(true) => {
                Ok(self.good(format!("the credentials may not read whether `{name}` exists"), rights))
            }
            403 => Ok(self.hidden(if hidden { "the cluster's information" } else { "its indices" })),
            _ => Err(self.failed(reason(&response))),
        }
    }

    fn hidden(&self, what: &str) -> ProbeResult {
        ProbeResult::Reached(format!("{} {}, which may not read {what}", self.base, self.client.accepts()))
    }

    /// Returns the name of the index template if it is missing, so that a worker would install it.
    async fn missing_template(&self) -> Result<Option<&'static str>, ProbeResult> {
        let Some(template) = self.cluster.template else { return Ok(None) };
        let installed = templates::is_installed(template, self.base, self.client).await;
        let is_missing = installed.map_err(RequestError::into_probe)? == Some(false);
        Ok(is_missing.then_some(template.name))
    }

    /// Checks that the URL is a cluster's and that it accepts the credentials. Returns true if they may not read the
    /// cluster's information.
    async fn check_cluster(&self) -> Result<bool, ProbeResult> {
        #[derive(Deserialize)]
        struct Cluster {
            #[serde(rename = "version")]
            _version: Value,
        }
        let response = self.get(self.base).await?;
        match (response.status.as_u16(), read::<Cluster>(&response)) {
            (200, Some(_)) if self.cluster.dataset.is_some() && is_opensearch(&response) => {
                Err(self.failed(package::NO_PACKAGE.to_owned()))
            }
            (200, Some(_)) => Ok(false),
            (200, None) => Err(self.failed(not_from("Elasticsearch", &reason(&response)))),
            (401 | 403, _) if response.status == StatusCode::UNAUTHORIZED || refuses_signature(&response) => {
                Err(self.failed(format!("the credentials are refused: {}", reason(&response))))
            }
            (403, _) => Ok(true),
            (404, _) if self.cluster.is_serverless => Ok(true),
            _ => Err(self.failed(format!("{}; check `url`", reason(&response)))),
        }
    }

    /// Asks for the privileges of the credentials, which Elasticsearch reports to all users.
    async fn rights(&self) -> Result<Rights, ProbeResult> {
        let body = json!({
            "cluster": ["manage_index_templates"],
            "index": [{ "names": [self.name], "privileges": ["create_doc", "auto_configure"] }],
        });
        let url = self.base.join("_security/user/_has_privileges");
        let response = self.client.post(url.url(), "application/json", Bytes::from(body.to_string())).await;
        let response = response.map_err(RequestError::into_probe)?;
        let Some(privileges) = (response.status.as_u16() == 200).then(|| read::<Value>(&response)).flatten() else {
            return Ok(Rights::default());
        };
        let may = |right: &str| privileges.get("index")?.get(self.name)?.get(right)?.as_bool();
        Ok(Rights {
            may_create: may("create_doc"),
            may_create_stream: may("auto_configure"),
            may_install_templates: privileges
                .get("cluster")
                .and_then(|cluster| cluster.get("manage_index_templates")?.as_bool()),
        })
    }

    /// Checks that the first document would create the data stream.
    async fn check_template(&self, rights: &Rights) -> Result<ProbeResult, ProbeResult> {
        let name = self.name;
        let response = self.get(&self.base.join("_index_template").with_query("filter_path", TEMPLATES)).await?;
        let templates = match (response.status.as_u16(), read::<Templates>(&response)) {
            (200, Some(Templates { index_templates })) => index_templates,
            _ => {
                let reason = reason(&response);
                return Ok(ProbeResult::Reached(format!(
                    "{} {}; data stream `{name}` does not exist, and its index template cannot be read ({reason})",
                    self.base,
                    self.client.accepts()
                )));
            }
        };
        let fits = |named: &&Named| named.index_template.index_patterns.iter().any(|pattern| matches(pattern, name));
        let Some(Named { name: template, index_template }) =
            templates.iter().filter(fits).max_by_key(|named| named.index_template.priority)
        else {
            let problem = format!("neither data stream `{name}` nor an index template for it exists");
            return match self.cluster.template {
                Some(template) if rights.may_install_templates == Some(false) => {
                    Err(self.failed(format!("{problem}; {}", missing_template(template.name, rights))))
                }
                Some(template) => {
                    Ok(self.good(format!("{problem}; {}", missing_template(template.name, rights)), rights))
                }
                None => Err(self.failed(problem)),
            };
        };
        let missing = match self.missing_template().await? {
            Some(missing) => format!("; {}", missing_template(missing, rights)),
            None => String::new(),
        };
        if index_template.data_stream.is_none() {
            let problem =
                format!("the index template `{template}` would create `{name}` as an index, not as a data stream");
            return Err(self.failed(problem));
        }
        if rights.may_create_stream == Some(false) {
            return Err(self.failed(no_auto_configure(name)));
        }
        Ok(self.good(
            format!("the first document creates data stream `{name}` by the index template `{template}`{missing}"),
            rights,
        ))
    }

    async fn get(&self, url: &Endpoint) -> Result<Response, ProbeResult> {
        let response = self.client.send_empty(Method::GET, url.url()).await;
        response.map_err(RequestError::into_probe)
    }

    fn good(&self, what: String, rights: &Rights) -> ProbeResult {
        let write = if rights.may_create == Some(true) { " and may write" } else { "" };
        ProbeResult::Verified(format!("{} {}{write}; {what}", self.base, self.client.accepts()))
    }

    fn failed(&self, problem: String) -> ProbeResult {
        ProbeResult::Failed(format!("{}: {problem}", self.base))
    }
}

/// Says who installs an index template that is missing.
fn missing_template(name: &str, rights: &Rights) -> String {
    match rights.may_install_templates {
        Some(false) => {
            format!("the index template `{name}` is missing, and the credentials may not install it: {ADVICE}")
        }
        _ => format!("a worker installs the index template `{name}` before the first document"),
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Option<T> {
    serde_json::from_slice(&response.body).ok()
}

fn reason(response: &Response) -> String {
    response.view(0).reason()
}
