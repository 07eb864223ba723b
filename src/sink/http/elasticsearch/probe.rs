//! Checks a cluster, its data stream and the credentials without writing a document.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sink::Probe;
use crate::sink::http::request::{RequestError, Response};
use crate::sink::http::response::not_from;
use crate::sink::http::{Endpoint, SinkClient};

/// `name` is the data stream. The checks end with the first that fails.
pub(super) async fn probe(base: &Endpoint, name: &str, client: &SinkClient) -> Probe {
    let probe = ClusterProbe { base, name, client };
    probe.run().await.unwrap_or_else(|result| result)
}

struct ClusterProbe<'a> {
    base: &'a Endpoint,
    name: &'a str,
    client: &'a SinkClient,
}

/// Privileges of the credentials. `None` if the cluster does not report them, as OpenSearch.
#[derive(Default)]
struct Rights {
    may_create: Option<bool>,
    may_create_stream: Option<bool>,
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

const TEMPLATES: &str = "index_templates.name,index_templates.index_template.index_patterns,\
                         index_templates.index_template.priority,index_templates.index_template.data_stream";

impl ClusterProbe<'_> {
    /// `Err` is a result as well. It ends the probe early.
    async fn run(&self) -> Result<Probe, Probe> {
        let Self { base, name, .. } = self;
        let hidden = self.check_cluster().await?;
        let rights = self.rights().await?;
        if rights.may_create == Some(false) {
            return Err(self.failed(format!("the credentials lack the privilege `create_doc` on `{name}`")));
        }
        let response = self.get(&base.join(&format!("_data_stream/{name}"))).await?;
        match (response.status.as_u16(), read::<Streams>(&response)) {
            (200, Some(Streams { data_streams })) if !data_streams.is_empty() => {
                return Ok(self.good(format!("data stream `{name}` exists"), &rights));
            }
            (200, Some(_)) => {
                return Err(self.failed(format!("`{name}` is an index; documents are only created in a data stream")));
            }
            (404, _) => {}
            (403, _) if rights.may_create == Some(true) => {
                return Ok(self.good(format!("the credentials may not read whether `{name}` exists"), &rights));
            }
            (403, _) => {
                let what = if hidden { "the cluster's information" } else { "its data streams" };
                return Ok(Probe::Reached(format!("{base} accepts the credentials, which may not read {what}")));
            }
            _ => return Err(self.failed(reason(&response))),
        }
        self.check_template(&rights).await
    }

    /// Checks that the URL is a cluster's and that it accepts the credentials. True if they may not read the cluster's
    /// information.
    async fn check_cluster(&self) -> Result<bool, Probe> {
        #[derive(Deserialize)]
        struct Cluster {
            #[serde(rename = "version")]
            _version: Value,
        }
        let response = self.get(self.base).await?;
        match (response.status.as_u16(), read::<Cluster>(&response)) {
            (200, Some(_)) => Ok(false),
            (200, None) => Err(self.failed(not_from("Elasticsearch", &reason(&response)))),
            (401, _) => Err(self.failed(format!("the credentials are refused: {}", reason(&response)))),
            (403, _) => Ok(true),
            _ => Err(self.failed(format!("{}; check `url`", reason(&response)))),
        }
    }

    /// Asks for the privileges of the credentials, which Elasticsearch reports to all users.
    async fn rights(&self) -> Result<Rights, Probe> {
        let body = json!({ "index": [{ "names": [self.name], "privileges": ["create_doc", "auto_configure"] }] });
        let url = self.base.join("_security/user/_has_privileges");
        let response = self.client.post(url.url(), "application/json", Bytes::from(body.to_string())).await;
        let response = response.map_err(RequestError::into_probe)?;
        let Some(privileges) = (response.status.as_u16() == 200).then(|| read::<Value>(&response)).flatten() else {
            return Ok(Rights::default());
        };
        let may = |right: &str| privileges.get("index")?.get(self.name)?.get(right)?.as_bool();
        Ok(Rights { may_create: may("create_doc"), may_create_stream: may("auto_configure") })
    }

    /// Checks that the first document would create the data stream.
    async fn check_template(&self, rights: &Rights) -> Result<Probe, Probe> {
        let name = self.name;
        let response = self.get(&self.base.join("_index_template").with_query("filter_path", TEMPLATES)).await?;
        let templates = match (response.status.as_u16(), read::<Templates>(&response)) {
            (200, Some(Templates { index_templates })) => index_templates,
            _ => {
                let reason = reason(&response);
                return Ok(Probe::Reached(format!(
                    "{} accepts the credentials; data stream `{name}` does not exist, and its index template cannot be \
                     read ({reason})",
                    self.base
                )));
            }
        };
        let fits = |named: &&Named| named.index_template.index_patterns.iter().any(|pattern| matches(pattern, name));
        let Some(Named { name: template, index_template }) =
            templates.iter().filter(fits).max_by_key(|named| named.index_template.priority)
        else {
            return Err(self.failed(format!("neither data stream `{name}` nor an index template for it exists")));
        };
        if index_template.data_stream.is_none() {
            let problem =
                format!("the index template `{template}` would create `{name}` as an index, not as a data stream");
            return Err(self.failed(problem));
        }
        if rights.may_create_stream == Some(false) {
            let problem =
                format!("data stream `{name}` does not exist, and the credentials lack `auto_configure` to create it");
            return Err(self.failed(problem));
        }
        Ok(self.good(
            format!("the first document creates data stream `{name}` by the index template `{template}`"),
            rights,
        ))
    }

    async fn get(&self, url: &Endpoint) -> Result<Response, Probe> {
        let response = self.client.send_empty(Method::GET, url.url()).await;
        response.map_err(RequestError::into_probe)
    }

    fn good(&self, what: String, rights: &Rights) -> Probe {
        let write = if rights.may_create == Some(true) { " and may write" } else { "" };
        Probe::Verified(format!("{} accepts the credentials{write}; {what}", self.base))
    }

    fn failed(&self, problem: String) -> Probe {
        Probe::Failed(format!("{}: {problem}", self.base))
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Option<T> {
    serde_json::from_slice(&response.body).ok()
}

fn reason(response: &Response) -> String {
    response.view(0).reason()
}

/// `*` is the only wildcard in patterns of index templates.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("logs-*-*", "logs-a-b", true),
            ("logs-*-*", "logs-a", false),
            ("*", "anything", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
