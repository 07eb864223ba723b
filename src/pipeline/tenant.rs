//! Pipeline files from other hands than the operator's: what they may not say.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::document::has_chosen_keys;
use super::problem::{Problem, Severity};
use super::resources::{is_resource, resource_at, stem};
use super::yaml::{Node, Value, join};
use crate::settings::{NotReachable, Period, PrivateDestinations, Reach};

/// What tenants' files may use of the worker: by default nothing but literal secrets and public addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// `--tenant-files`: the rules hold for files too. They always hold for resources.
    pub for_files: bool,
    /// `--secrets-dir`: `{ file }` only below. `{pipeline}` stands for the name of the file.
    pub secrets_dir: Option<PathBuf>,
    /// `--env-allow`: `{ env }` only with one of these prefixes.
    pub env_prefixes: Vec<String>,
    /// `--files-dir`: `file` sinks and the files of `tls:` only below. `{pipeline}` as above.
    pub files_dir: Option<PathBuf>,
    /// `--allow-private-destinations`.
    pub private: PrivateDestinations,
}

/// Where the requests of a tenant's pipeline may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reaches {
    pub console: Reach,
    pub sinks: Reach,
}

/// A tenant that shares a token with a neighbour cannot slow the neighbour below this rate.
const LEAST_REQUESTS_PER_SECOND: f64 = 1.0;

/// Each stream has a lane for each sink, and lanes share memory alike.
const MAX_SINKS: usize = 16;

/// Requests at a time of one lane.
const MAX_CONCURRENCY: f64 = 64.0;

/// Of a timeout, and of the time in which a lane remembers what it has read.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

const NO_SECRET_REF: &str = "a resource has its secrets in Secrets of its own namespace: \
                             { secretRef: { name: NAME, key: KEY } }";

/// Never read for a tenant: the tokens that Kubernetes gives to the worker.
const SERVICE_ACCOUNTS: [&str; 2] = ["/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"];

/// Settings of librdkafka that tenants may give: none names a file, takes much memory, or logs.
const KAFKA_OPTIONS: [&str; 24] = [
    "acks",
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "linger.ms",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "partitioner",
    "request.timeout.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.key.pem",
];

impl TenantRules {
    /// Whether the pipeline file at `path` is a tenant's.
    pub(super) fn apply_to(&self, path: &Path) -> bool {
        self.for_files || is_resource(path)
    }

    /// Reports what the file may not say. `root` is the tree of the file alone: the operator's defaults may say all.
    pub(super) fn check(&self, root: &Node, file: &Path, problems: &mut Vec<Problem>) {
        let own = stem(file);
        let fill = |directory: &Option<PathBuf>| {
            directory.as_ref().map(|path| PathBuf::from(path.to_string_lossy().replace("{pipeline}", &own)))
        };
        let is_resource = is_resource(file);
        let (secrets, files) = (fill(&self.secrets_dir), fill(&self.files_dir));
        let mut check = Check { rules: self, is_resource, secrets, files, problems };
        check.name(root, &own);
        check.renamed_from(root, resource_at(file).map(|(namespace, _)| namespace));
        check.sinks(root);
        check.node(root, "", "", false);
    }

    /// What the operator's defaults say goes where they say. `root` is the tree of the file alone.
    pub(super) fn reaches(&self, root: &Node) -> Reaches {
        let tenants = |is_operators_proxy| Reach::Tenant { private: self.private.clone(), is_operators_proxy };
        let names = |key| root.get("console").is_some_and(|console| has(console, key));
        let console = match (names("url"), names("proxy")) {
            (false, false) => Reach::Everywhere,
            (_, own_proxy) => tenants(!own_proxy),
        };
        let sinks = if has(root, "sinks") { tenants(false) } else { Reach::Everywhere };
        Reaches { console, sinks }
    }

    /// Reports what would send the token of the operator's `defaults` to a console of the file's choice.
    pub(super) fn check_inherited(root: &Node, defaults: &Node, problems: &mut Vec<Problem>) {
        let (Some(own), Some(defaults)) = (root.get("console"), defaults.get("console")) else { return };
        if has(own, "token") || !has(defaults, "token") {
            return;
        }
        for key in ["url", "tls", "proxy"].into_iter().filter(|key| has(own, key)) {
            let message = "the token is that of the operator's defaults, and goes only where these say: name a `token` \
                           too, or leave this out";
            let key_path = format!("console.{key}");
            problems.push(Problem::at(&own.nearest(&[key]).place, &key_path, Severity::Error, message));
        }
    }
}

fn has(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|value| !matches!(value.value, Value::Null))
}

struct Check<'a> {
    rules: &'a TenantRules,
    /// Its secrets are in Secrets of its namespace, whatever files may name.
    is_resource: bool,
    secrets: Option<PathBuf>,
    files: Option<PathBuf>,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, node: &Node, key: &str, message: impl Into<Cow<'static, str>>) {
        self.problems.push(Problem::at(&node.place, key, Severity::Error, message));
    }

    /// Otherwise one file could take the name of another one, which would not start again.
    fn name(&mut self, root: &Node, stem: &str) {
        if let Some(node) = root.get("name").filter(|node| node.text().is_none_or(|name| name != stem)) {
            self.refuse(node, "name", format!("a tenant's file may have no name but its own, `{stem}`"));
        }
    }

    /// Otherwise a tenant would continue from the checkpoints of another one. Which directory a pipeline's file was in
    /// is not stored. The name of a resource's pipeline begins with its namespace, which has no dots.
    fn renamed_from(&mut self, root: &Node, namespace: Option<&str>) {
        let Some(node) = root.get("renamed_from") else { return };
        let prefix = namespace.map(|namespace| format!("{namespace}."));
        match (prefix, node.text()) {
            (None, _) => self.refuse(
                node,
                "renamed_from",
                "a tenant's file cannot take over checkpoints, since it is not known whose they were; the operator can: \
                 s1-forwarder state rename",
            ),
            (Some(prefix), Some(source)) if !source.starts_with(&prefix) => self.refuse(
                node,
                "renamed_from",
                format!("a resource takes over the checkpoints of its own namespace only: write `{prefix}NAME`"),
            ),
            _ => {}
        }
    }

    fn sinks(&mut self, root: &Node) {
        if let Some(node) = root.get("sinks").filter(|node| node.list().len() > MAX_SINKS) {
            let message = format!("a tenant's file has at most {MAX_SINKS} sinks, since all lanes share the memory");
            self.refuse(node, "sinks", message);
        }
    }

    /// `key` is the last part of `path`, without the index in a list. One that `is_chosen` by the file's author, as the
    /// name of a header, says nothing of what is in the node.
    fn node(&mut self, node: &Node, path: &str, key: &str, is_chosen: bool) {
        match &node.value {
            Value::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.node(element, &format!("{path}[{index}]"), key, is_chosen);
                }
            }
            Value::Map(entries) => {
                self.mapping(node, path, key);
                let has_chosen_keys = !is_chosen && has_chosen_keys(key);
                if has_chosen_keys && key == "labels" {
                    // Free texts.
                    return;
                }
                for entry in entries {
                    let inner = join(path, &entry.key);
                    if self.entry(node, key, &entry.key, &entry.node, &inner) {
                        self.node(&entry.node, &inner, &entry.key, has_chosen_keys);
                    }
                }
            }
            Value::Text(text) => self.address(node, path, key, text),
            _ => {}
        }
    }

    /// What a mapping lacks.
    fn mapping(&mut self, node: &Node, path: &str, key: &str) {
        let is = |name: &str| node.get("type").and_then(Node::text) == Some(name);
        if key == "auth" && (is("aws") || is("aws_msk_iam")) && node.get("access_key_id").and_then(Node::text).is_none()
        {
            self.refuse(node, path, "a tenant's file cannot use the worker's identity in AWS; give `access_key_id`");
        }
        if key == "sinks" && is("kafka") && !self.rules.private.all {
            self.refuse(
                node,
                path,
                "the addresses of Kafka brokers cannot be checked after resolution, so a list of networks cannot hold for \
                 them: a tenant's file has a Kafka sink only with --allow-private-destinations without a list",
            );
        }
        if key == "sinks" && is("stdout") {
            self.refuse(node, path, "a tenant's file cannot write to the worker's own output");
        }
    }

    /// False if there is nothing more to check in it.
    fn entry(&mut self, parent: &Node, parent_key: &str, key: &str, node: &Node, path: &str) -> bool {
        // Records are not settings.
        if path == "tests" {
            return false;
        }
        let text = node.text();
        match (parent_key, key) {
            (_, "file" | "env") if text.is_some() && self.is_resource => self.refuse(node, path, NO_SECRET_REF),
            (_, "file") if text.is_some() => self.secret_file(node, path, text.unwrap_or_default()),
            (_, "env") if text.is_some() => self.variable(node, path, text.unwrap_or_default()),
            ("tls", _) if key.ends_with("_file") && text.is_some() => self.file(node, path, text.unwrap_or_default()),
            ("sinks", "path") if parent.get("type").and_then(Node::text) == Some("file") => {
                self.file(node, path, text.unwrap_or_default());
            }
            ("options", _) if !KAFKA_OPTIONS.contains(&key) => {
                self.refuse(node, path, "a tenant's file may not give this option of librdkafka");
            }
            (_, "managed_identity" | "workload_identity" | "metadata_server")
                if !matches!(node.value, Value::Bool(false)) =>
            {
                self.refuse(node, path, "a tenant's file cannot use the worker's identity");
            }
            (_, "external_account") => {
                self.refuse(node, path, "a tenant's file cannot use a configuration that names files of the worker");
            }
            ("sinks", "urls") if node.list().len() > MAX_SINKS => {
                self.refuse(node, path, format!("at most {MAX_SINKS} in a tenant's file"));
            }
            ("sinks", "concurrency") if number(node).is_some_and(|number| number > MAX_CONCURRENCY) => {
                self.refuse(node, path, format!("at most {MAX_CONCURRENCY} in a tenant's file"));
            }
            (_, "overlap" | "lookback" | "timeout") if is_longer(node, LONGEST) => {
                self.refuse(node, path, "at most 90 days in a tenant's file");
            }
            ("console", "requests_per_second") if number(node).is_some_and(|rate| rate < LEAST_REQUESTS_PER_SECOND) => {
                self.refuse(
                    node,
                    path,
                    format!(
                        "at least {LEAST_REQUESTS_PER_SECOND} in a tenant's file, since the smallest value holds for \
                         all pipelines with the same token"
                    ),
                );
            }
            _ => return true,
        }
        false
    }

    fn secret_file(&mut self, node: &Node, path: &str, file: &str) {
        let allowed = is_below(file, self.secrets.as_deref())
            && !SERVICE_ACCOUNTS.iter().any(|directory| is_below(file, Some(Path::new(directory))));
        if !allowed {
            let message = outside("secrets", self.secrets.as_deref(), "--secrets-dir");
            self.refuse(node, path, message);
        }
    }

    fn file(&mut self, node: &Node, path: &str, file: &str) {
        if !is_below(file, self.files.as_deref()) {
            let message = outside("files", self.files.as_deref(), "--files-dir");
            self.refuse(node, path, message);
        }
    }

    fn variable(&mut self, node: &Node, path: &str, name: &str) {
        let prefixes = &self.rules.env_prefixes;
        if !prefixes.iter().any(|prefix| !prefix.is_empty() && name.starts_with(prefix.as_str())) {
            let message = match prefixes.as_slice() {
                [] => "a tenant's file may name no environment variables (see --env-allow)".to_owned(),
                allowed => format!(
                    "a tenant's file may name only environment variables that begin with {}",
                    allowed.join(" or ")
                ),
            };
            self.refuse(node, path, message);
        }
    }

    /// An address that is no name is used without asking a resolver.
    fn address(&mut self, node: &Node, path: &str, key: &str, text: &str) {
        // Some addresses may be given without `https://`.
        let is_address = matches!(key, "url" | "urls" | "proxy" | "endpoint" | "address" | "addresses" | "brokers")
            || key.ends_with("_url");
        let text = match text.trim().split_once("://") {
            None if is_address => format!("https://{}", text.trim()),
            // Of other schemes the parser reads no addresses.
            Some(("tls" | "tcp" | "udp", rest)) => format!("https://{rest}"),
            _ => text.trim().to_owned(),
        };
        let refused = Url::parse(&text).ok().and_then(|url| self.rules.private.check(&url).err());
        if let Some(NotReachable::NotPublic { address, .. }) = refused {
            let message = format!(
                "{address} is not a public address; a tenant's file may name it only if --allow-private-destinations \
                 names its network"
            );
            self.refuse(node, path, message);
        }
    }
}

fn outside(what: &str, directory: Option<&Path>, flag: &str) -> String {
    match directory {
        Some(directory) => format!("a tenant's file may name only {what} below {}", directory.display()),
        None => format!("a tenant's file may name no {what} of the worker (see {flag})"),
    }
}

/// By its text: `..` is refused, since a symbolic link may come before it.
fn is_below(file: &str, directory: Option<&Path>) -> bool {
    let (Ok(file), Some(Ok(directory))) = (std::path::absolute(file), directory.map(std::path::absolute)) else {
        return false;
    };
    let is_plain = file.components().all(|component| component != Component::ParentDir);
    is_plain && file != directory && file.starts_with(directory)
}

fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Unsigned(number) => Some(*number as f64),
        Value::Negative(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn is_longer(node: &Node, longest: Duration) -> bool {
    node.text().and_then(|text| text.parse::<Period>().ok()).is_some_and(|Period(period)| period > longest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::document;
    use super::*;
    use crate::settings::PrivateDestination;

    fn rules() -> TenantRules {
        TenantRules {
            for_files: true,
            secrets_dir: Some("/secrets/{pipeline}".into()),
            env_prefixes: vec!["TENANT_".to_owned()],
            files_dir: Some("/files".into()),
            private: PrivateDestinations::default(),
        }
    }

    fn named(texts: &[&str]) -> PrivateDestinations {
        texts.iter().map(|text| text.parse::<PrivateDestination>().unwrap()).collect()
    }

    /// Keys of what is refused in `acme.yaml`.
    fn refused(rules: &TenantRules, text: &str) -> Vec<String> {
        let file: Arc<Path> = Path::new("/pipelines/acme.yaml").into();
        let mut problems = Vec::new();
        let root = document::tree(text, &file, &mut problems).unwrap();
        rules.check(&root, &file, &mut problems);
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_operators_token_goes_only_where_the_operator_sends_it() {
        let keys = |own: &str, defaults: &str| {
            let file: Arc<Path> = Path::new("/pipelines/acme.yaml").into();
            let mut problems = Vec::new();
            let tree = |text: &str| document::tree(text, &file, &mut Vec::new()).unwrap();
            TenantRules::check_inherited(&tree(own), &tree(defaults), &mut problems);
            problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>().join(" ")
        };
        let operators = "console: { url: https://a.example, token: { file: /run/token } }";
        assert_eq!(keys("console: { url: https://b.example }", operators), "console.url");
        let detour = "console: { token: null, proxy: http://b.example, tls: { ca_file: b.pem } }";
        assert_eq!(keys(detour, operators), "console.tls console.proxy");
        assert_eq!(keys("console: { site_ids: [1] }", operators), "");
        assert_eq!(keys("console: { url: https://b.example, token: own }", operators), "");
        assert_eq!(keys("console: { url: https://b.example }", "console: { timeout: 5s }"), "");
        assert_eq!(keys("streams: {}", operators), "");
    }

    #[test]
    fn what_the_operators_defaults_name_may_be_anywhere() {
        let reaches = |own: &str| {
            let file: Arc<Path> = Path::new("/pipelines/acme.yaml").into();
            rules().reaches(&document::tree(own, &file, &mut Vec::new()).unwrap())
        };
        let tenants =
            |is_operators_proxy| Reach::Tenant { private: PrivateDestinations::default(), is_operators_proxy };
        for (own, console, sinks) in [
            ("streams: {}", Reach::Everywhere, Reach::Everywhere),
            ("console: { url: null, sites: [1] }", Reach::Everywhere, Reach::Everywhere),
            ("console: { url: 'https://a.example' }", tenants(true), Reach::Everywhere),
            ("console: { proxy: 'http://a.example' }", tenants(false), Reach::Everywhere),
            ("{ console: { url: 'https://a.example', proxy: b.example }, sinks: [] }", tenants(false), tenants(false)),
        ] {
            assert_eq!(reaches(own), Reaches { console, sinks }, "{own}");
        }
    }

    #[test]
    fn what_is_the_operators_is_refused() {
        for (text, key) in [
            ("console: { token: { file: /secrets/globex/token } }", "console.token.file"),
            ("console: { token: { file: /secrets/acme/../globex/token } }", "console.token.file"),
            ("console: { token: { file: token } }", "console.token.file"),
            ("console: { token: [{ file: /etc/passwd }] }", "console.token[0].file"),
            ("console: { token: { env: S1_FORWARDER_STATE } }", "console.token.env"),
            ("console: { tls: { ca_file: /etc/passwd } }", "console.tls.ca_file"),
            ("console: { requests_per_second: 0.001 }", "console.requests_per_second"),
            ("console: { url: 'https://169.254.169.254' }", "console.url"),
            ("console: { url: 10.0.0.1 }", "console.url"),
            ("console: { url: 'https://[::ffff:127.0.0.1]:9000' }", "console.url"),
            ("console: { url: 'https://2130706433/' }", "console.url"),
            ("console: { proxy: 'http://user:secret@10.0.0.1:3128' }", "console.proxy"),
            ("name: globex", "name"),
            ("renamed_from: globex", "renamed_from"),
            ("sinks: [{ type: file, path: /state/lanes/globex }]", "sinks[0].path"),
            ("sinks: [{ type: file, path: /files/../state }]", "sinks[0].path"),
            ("sinks: [{ type: stdout }]", "sinks[0]"),
            ("sinks: [{ concurrency: 65 }]", "sinks[0].concurrency"),
            ("sinks: [{ batch: { timeout: 36500d } }]", "sinks[0].batch.timeout"),
            ("streams: { threats: { overlap: 36500d } }", "streams.threats.overlap"),
            ("console: { tls: { cert_file: { secretRef: a/b/c, x: 1 } } }", "console.tls.cert_file.secretRef"),
            ("sinks: [{ type: kafka }]", "sinks[0]"),
            ("sinks: [{ type: elasticsearch, urls: ['https://10.0.0.1:9200'] }]", "sinks[0].urls[0]"),
            ("sinks: [{ auth: { type: aws } }]", "sinks[0].auth"),
            ("sinks: [{ auth: { type: oauth2, token_url: 'http://127.1' } }]", "sinks[0].auth.token_url"),
            ("sinks: [{ managed_identity: true }]", "sinks[0].managed_identity"),
            ("sinks: [{ workload_identity: true }]", "sinks[0].workload_identity"),
            ("sinks: [{ metadata_server: true }]", "sinks[0].metadata_server"),
            ("sinks: [{ external_account: '{}' }]", "sinks[0].external_account"),
            ("sinks: [{ headers: { X: { file: /etc/passwd } } }]", "sinks[0].headers.X.file"),
            ("sinks: [{ headers: { labels: { file: /etc/passwd } } }]", "sinks[0].headers.labels.file"),
            ("sinks: [{ headers: { headers: { env: S1_FORWARDER_STATE } } }]", "sinks[0].headers.headers.env"),
            ("sinks: [{ auth: { type: aws, access_key_id: null } }]", "sinks[0].auth"),
            ("sinks: [{ auth: { type: aws_msk_iam } }]", "sinks[0].auth"),
            ("sinks: [{ options: { ssl.ca.location: /etc/passwd } }]", "sinks[0].options.ssl.ca.location"),
        ] {
            assert_eq!(refused(&rules(), text).last().map(String::as_str), Some(key), "{text}");
        }
        let sinks = |count| format!("sinks: [{}]", vec!["{ type: http }"; count].join(", "));
        assert_eq!(refused(&rules(), &sinks(MAX_SINKS)), <[&str; 0]>::default());
        assert_eq!(refused(&rules(), &sinks(MAX_SINKS + 1)), ["sinks"]);
        let nothing = TenantRules { for_files: true, ..TenantRules::default() };
        for text in ["console: { token: { file: /secrets/acme/token } }", "console: { token: { env: TENANT_A } }"] {
            assert_eq!(refused(&nothing, text).len(), 1, "{text}");
        }
        let all = TenantRules { secrets_dir: Some("/".into()), ..rules() };
        let token = "console: { token: { file: /var/run/secrets/kubernetes.io/serviceaccount/token } }";
        assert_eq!(refused(&all, token), ["console.token.file"]);
    }

    #[test]
    fn a_resource_takes_over_the_checkpoints_of_its_own_namespace_only() {
        let refused = |file: &str, source: &str| {
            let file: Arc<Path> = Path::new(file).into();
            let mut problems = Vec::new();
            let root = document::tree(&format!("renamed_from: {source}"), &file, &mut problems).unwrap();
            rules().check(&root, &file, &mut problems);
            problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>().join(" ")
        };
        let resource = "pipeline customers/acme, spec";
        assert_eq!(refused(resource, "customers.old"), "");
        for source in ["others.old", "customers", "customers-2.old"] {
            assert_eq!(refused(resource, source), "renamed_from", "{source}");
        }
    }

    #[test]
    fn what_is_allowed_is_not() {
        let text = "
name: acme
console: { url: 'https://usea1.sentinelone.net', token: { file: /secrets/acme/token }, requests_per_second: 2 }
transform: { labels: { file: /etc/passwd, address: 'http://10.0.0.1' } }
tests: [{ record: { url: 'http://10.0.0.5', file: /etc/passwd } }]
sinks:
  - { type: file, path: /files/acme.ndjson }
  - { type: http, url: 'https://siem.example', headers: { X: { env: TENANT_KEY } }, auth: { type: aws, access_key_id: A } }
";
        assert_eq!(refused(&rules(), text), <[&str; 0]>::default());
        let private = TenantRules { private: named(&["true"]), ..rules() };
        let text = "
console: { url: 'http://10.0.0.1' }
sinks: [{ type: kafka, brokers: ['10.0.0.2:9092'], options: { compression.type: zstd } }]
";
        assert_eq!(refused(&private, text), <[&str; 0]>::default());
        for text in
            ["console: { url: 'http://169.254.169.254' }", "sinks: [{ type: kafka, brokers: ['169.254.1.1:9092'] }]"]
        {
            assert_eq!(refused(&private, text).len(), 1, "{text}");
        }
        // A list holds for what it names, and for no broker.
        let some = TenantRules { private: named(&["10.0.0.0/31"]), ..rules() };
        assert_eq!(refused(&some, text), ["sinks[0]", "sinks[0].brokers[0]"]);
        assert!(rules().apply_to(Path::new("x.yaml")) && !TenantRules::default().apply_to(Path::new("x.yaml")));
        assert!(TenantRules::default().apply_to(Path::new("pipeline ns/acme, spec")));
    }
}
