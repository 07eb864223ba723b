//! What can be said of a cluster, its data stream and the credentials without writing a document.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sink::Probe;
use crate::sink::http::request::Reply;
use crate::sink::http::{Answer, Endpoint, Requests};

/// Asks one thing after another, until one of them is wrong.
pub(super) async fn probe(base: &Endpoint, name: &str, requests: &Requests) -> Probe {
    let asks = Asks { base, name, requests };
    asks.all().await.unwrap_or_else(|found| found)
}

struct Asks<'a> {
    base: &'a Endpoint,
    name: &'a str,
    requests: &'a Requests,
}

/// What the credentials may do; nothing is known of a cluster that cannot be asked.
#[derive(Default)]
struct Rights {
    may_create: Option<bool>,
    may_make_stream: Option<bool>,
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

impl Asks<'_> {
    /// `Err` ends it early, with what was found.
    async fn all(&self) -> Result<Probe, Probe> {
        let Self { base, name, .. } = self;
        let hidden = self.cluster().await?;
        let rights = self.rights().await?;
        if rights.may_create == Some(false) {
            return Err(self.failed(format!("the credentials lack the privilege `create_doc` on `{name}`")));
        }
        let reply = self.get(&base.join(&format!("_data_stream/{name}"))).await?;
        match (reply.status.as_u16(), read::<Streams>(&reply)) {
            (200, Some(Streams { data_streams })) if !data_streams.is_empty() => {
                return Ok(self.good(format!("data stream `{name}` exists"), &rights));
            }
            (200, Some(_)) => {
                return Err(self.failed(format!("`{name}` is an index; documents are only created in a data stream")));
            }
            (404, _) => {}
            (403, _) if rights.may_create == Some(true) => {
                return Ok(self.good(format!("the credentials may not look whether `{name}` exists"), &rights));
            }
            (403, _) => {
                let what = if hidden { "at the cluster" } else { "at its data streams" };
                return Ok(Probe::Reached(format!("{base} takes the credentials, and does not let them look {what}")));
            }
            _ => return Err(self.failed(reason(&reply))),
        }
        self.template(&rights).await
    }

    /// Whether it is a cluster and takes the credentials; true when it does not let them look.
    async fn cluster(&self) -> Result<bool, Probe> {
        #[derive(Deserialize)]
        struct Cluster {
            #[serde(rename = "version")]
            _version: Value,
        }
        let reply = self.get(self.base).await?;
        match (reply.status.as_u16(), read::<Cluster>(&reply)) {
            (200, Some(_)) => Ok(false),
            (200, None) => Err(self.failed("does not answer as Elasticsearch does; check `url`".to_owned())),
            (401, _) => Err(self.failed(format!("the credentials are refused: {}", reason(&reply)))),
            (403, _) => Ok(true),
            _ => Err(self.failed(format!("{}; check `url`", reason(&reply)))),
        }
    }

    /// Elasticsearch tells everybody what they may do; others have no such address.
    async fn rights(&self) -> Result<Rights, Probe> {
        let body = json!({ "index": [{ "names": [self.name], "privileges": ["create_doc", "auto_configure"] }] });
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let url = self.base.join("_security/user/_has_privileges");
        let reply = self.requests.ask_with(Method::POST, url.url(), headers, Bytes::from(body.to_string())).await;
        let reply = reply.map_err(|failure| failure.into_probe())?;
        let Some(answer) = (reply.status.as_u16() == 200).then(|| read::<Value>(&reply)).flatten() else {
            return Ok(Rights::default());
        };
        let may = |right: &str| answer.get("index")?.get(self.name)?.get(right)?.as_bool();
        Ok(Rights { may_create: may("create_doc"), may_make_stream: may("auto_configure") })
    }

    /// The data stream does not exist: what would the first document make?
    async fn template(&self, rights: &Rights) -> Result<Probe, Probe> {
        let name = self.name;
        let reply = self.get(&self.base.join("_index_template").with_query("filter_path", TEMPLATES)).await?;
        let templates = match (reply.status.as_u16(), read::<Templates>(&reply)) {
            (200, Some(Templates { index_templates })) => index_templates,
            _ => {
                let reason = reason(&reply);
                return Ok(Probe::Reached(format!(
                    "{} takes the credentials; data stream `{name}` does not exist, and whether an index template will make it cannot be told ({reason})",
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
                format!("the index template `{template}` would make `{name}` an index instead of a data stream");
            return Err(self.failed(problem));
        }
        if rights.may_make_stream == Some(false) {
            let problem =
                format!("data stream `{name}` does not exist, and the credentials lack `auto_configure` to make it");
            return Err(self.failed(problem));
        }
        Ok(self
            .good(format!("the first document makes data stream `{name}` by the index template `{template}`"), rights))
    }

    async fn get(&self, url: &Endpoint) -> Result<Reply, Probe> {
        let reply = self.requests.ask(Method::GET, url.url(), HeaderMap::new()).await;
        reply.map_err(|failure| failure.into_probe())
    }

    fn good(&self, what: String, rights: &Rights) -> Probe {
        let write = if rights.may_create == Some(true) { " and may write" } else { "" };
        Probe::Verified(format!("{} takes the credentials{write}; {what}", self.base))
    }

    fn failed(&self, problem: String) -> Probe {
        Probe::Failed(format!("{}: {problem}", self.base))
    }
}

fn read<T: DeserializeOwned>(reply: &Reply) -> Option<T> {
    serde_json::from_slice(&reply.body).ok()
}

fn reason(reply: &Reply) -> String {
    Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 }.reason()
}

/// Patterns of index templates know `*` alone.
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
