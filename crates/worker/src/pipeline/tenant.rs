//! Restricts pipeline files of tenants, who are not the operator.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use s1_forwarder_settings::{
    AddressPolicy, FilePath, NotReachable, Period, PrivateDestinations, SettingKind, is_identity_token_path,
    is_own_variable,
};
use url::Url;

use super::forms::Forms;
use super::problem::{Problem, Severity};
use super::resources::{is_resource, resource_at, stem};
use super::yaml::{Node, Value, join};

/// The rules for tenants' files. By default, these files may have only literal secrets and public addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantRules {
    /// Whether the rules hold for files too: `--tenant-files`. They always hold for resources.
    pub for_files: bool,
    /// `--secrets-dir`: `{ file }` only below. `{pipeline}` stands for the name of the file, and `{directory}` for the
    /// name of the directory with the file, or for the namespace of a resource.
    pub secrets_dir: Option<PathBuf>,
    /// `--env-allow`: `{ env }` only with one of these prefixes. They have the placeholders of `secrets_dir`, in the
    /// form of `variable_part`.
    pub env_prefixes: Vec<String>,
    /// `--files-dir`: `file` sinks and the files of `tls:` only below. It has the placeholders of `secrets_dir`.
    pub files_dir: Option<PathBuf>,
    /// `--allow-private-destinations`.
    pub private: PrivateDestinations,
}

/// The addresses to which a tenant's pipeline may send requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reaches {
    pub console: AddressPolicy,
    pub sinks: AddressPolicy,
}

/// A tenant that shares a token with a neighbour cannot slow the neighbour below this rate.
const MIN_REQUESTS_PER_SECOND: f64 = 1.0;

/// Each stream has a lane for each sink, and lanes share memory alike.
const MAX_SINKS: usize = 16;

/// Requests at a time of one lane.
const MAX_CONCURRENCY: f64 = 64.0;

/// Longest value of any period.
const MAX_PERIOD: Duration = Duration::from_hours(2_160);

/// Longest time in which a lane remembers what it has read.
const MAX_OVERLAP: Duration = Duration::from_hours(24);

const NO_SECRET_REF: &str = "a resource has its secrets in Secrets of its own namespace: \
                             { secretRef: { name: NAME, key: KEY } }";

impl TenantRules {
    /// Returns whether the pipeline file at `path` is a tenant's.
    pub(super) fn apply_to(&self, path: &Path) -> bool {
        self.for_files || is_resource(path)
    }

    /// Returns the directory or, for a resource, the namespace of the tenant whose file is at `path`. Files of one
    /// tenant may know of each other. With the placeholder `{pipeline}` each file has an author of its own. `None` for
    /// the operator's files.
    pub fn tenant_of(&self, path: &Path) -> Option<PathBuf> {
        if let Some((namespace, _)) = resource_at(path) {
            return Some(namespace.into());
        }
        if !self.for_files {
            return None;
        }
        let directories = [&self.secrets_dir, &self.files_dir].into_iter().flatten().map(|path| path.to_string_lossy());
        let mut texts = directories.chain(self.env_prefixes.iter().map(|prefix| Cow::Borrowed(prefix.as_str())));
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if texts.any(|text| text.contains(PIPELINE)) {
            Some(path)
        } else {
            Some(path.parent().unwrap_or(&path).to_owned())
        }
    }

    /// Reports settings that the file may not have. `root` is the tree of the file alone: the operator's defaults may
    /// have all settings. Allowed paths are changed so that they are opened beneath their directory.
    pub(super) fn check(&self, root: &mut Node, file: &Path, problems: &mut Vec<Problem>) {
        let names = Names::of(file);
        let fill = |directory: &Option<PathBuf>| {
            let directory = directory.as_ref()?.to_string_lossy();
            std::path::absolute(names.fill(&directory, |name| Some(name.to_owned()))?).ok()
        };
        let prefixes = self.env_prefixes.iter().filter_map(|prefix| names.fill(prefix, variable_part));
        let mut check = Check {
            rules: self,
            file,
            name: &names.pipeline,
            is_resource: is_resource(file),
            secrets: fill(&self.secrets_dir),
            files: fill(&self.files_dir),
            env_prefixes: prefixes.collect(),
            problems,
        };
        check.node(root, "", &Forms::of_file());
    }

    /// Returns the addresses that the pipeline may reach. Those that the operator's defaults name are allowed. `root`
    /// is the tree of the file alone.
    pub(super) fn reaches(&self, root: &Node) -> Reaches {
        let tenants = |is_operators_proxy| AddressPolicy::Tenant { private: self.private.clone(), is_operators_proxy };
        let names = |kind| root.get("console").is_some_and(|console| !keys_of(console, "console", &[kind]).is_empty());
        let console = match (names(SettingKind::Address), names(SettingKind::Proxy)) {
            (false, false) => AddressPolicy::Everywhere,
            (_, own_proxy) => tenants(!own_proxy),
        };
        let sinks = if has(root, "sinks") { tenants(false) } else { AddressPolicy::Everywhere };
        Reaches { console, sinks }
    }

    /// Reports keys that would send the token of the operator's `defaults` to a console of the file's choice.
    pub(super) fn check_inherited(root: &Node, defaults: &Node, problems: &mut Vec<Problem>) {
        let (Some(own), Some(defaults)) = (root.get("console"), defaults.get("console")) else { return };
        if has(own, "token") || !has(defaults, "token") {
            return;
        }
        let kinds = [SettingKind::Address, SettingKind::Proxy, SettingKind::Trust];
        for key in keys_of(own, "console", &kinds) {
            let message = "the token comes from the operator's defaults, and is sent only where they say: write a \
                           `token` too, or leave this out";
            let key_path = format!("console.{key}");
            problems.push(Problem::at(&own.nearest(&[key]).place, &key_path, Severity::Error, message));
        }
    }
}

/// Placeholders for the name of a tenant's file and of its directory, in the flags that say what the file may name.
pub const PLACEHOLDERS: [&str; 2] = [PIPELINE, "{directory}"];
const PIPELINE: &str = "{pipeline}";

/// The values of the placeholders.
struct Names {
    pipeline: String,
    /// `None` if the directory has no name, as `..` or the root.
    directory: Option<String>,
}

impl Names {
    fn of(file: &Path) -> Self {
        let directory = match resource_at(file) {
            Some((namespace, _)) => Some(namespace.to_owned()),
            None => std::path::absolute(file).ok().and_then(|path| {
                path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
            }),
        };
        Self { pipeline: stem(file), directory }
    }

    /// Fills the placeholders. `None` if a name has no form for the text.
    fn fill(&self, text: &str, form: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut filled = text.to_owned();
        for (placeholder, name) in PLACEHOLDERS.into_iter().zip([Some(&self.pipeline), self.directory.as_ref()]) {
            if filled.contains(placeholder) {
                filled = filled.replace(placeholder, &form(name?)?);
            }
        }
        Some(filled)
    }
}

/// Returns whether each tenant has the variables that begin with the prefix for itself, or all tenants share them.
///
/// # Errors
/// If one tenant's prefix could begin another's, with the prefix to use. `S1_{pipeline}` is `S1_ACME` for `acme`, and
/// the variables of `acmecorp` begin with it. A second underscore would be the `-` of a name.
pub fn is_own_prefix(prefix: &str) -> Result<bool, String> {
    let mut own = prefix.to_owned();
    for placeholder in PLACEHOLDERS {
        let mut parts = own.split(placeholder);
        let first = parts.next().unwrap_or_default().to_owned();
        own = parts.fold(first, |text, part| format!("{text}{placeholder}_{}", part.trim_start_matches('_')));
    }
    if own == prefix { Ok(PLACEHOLDERS.iter().any(|placeholder| prefix.contains(placeholder))) } else { Err(own) }
}

/// Returns a name as a part of an environment variable's name: in upper case, with two underscores for each `-`. A name
/// with other characters has no such form, since two names would have the same form. Neither has a name that begins or
/// ends with `-`, next to the underscores of a prefix.
fn variable_part(name: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_clear = name.bytes().all(is_plain) && !name.starts_with('-') && !name.ends_with('-');
    is_clear.then(|| name.to_ascii_uppercase().replace('-', "__"))
}

fn has(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|value| !matches!(value.value, Value::Null))
}

/// Returns the keys of `node`, the value of `section`, that have a value of one of these kinds.
fn keys_of<'a>(node: &'a Node, section: &str, kinds: &[SettingKind]) -> Vec<&'a str> {
    let forms = Forms::of_file().of_key(section);
    let is_one = |key: &str| kinds.iter().any(|kind| forms.of_key(key).has(*kind));
    let given = node.entries().iter().map(|entry| entry.key.as_str()).filter(|key| has(node, key));
    given.filter(|key| is_one(key)).collect()
}

struct Check<'a> {
    rules: &'a TenantRules,
    file: &'a Path,
    /// The name of a pipeline in this file.
    name: &'a str,
    /// Whether this is a resource. Its secrets are in Secrets of its namespace, whatever files may name.
    is_resource: bool,
    secrets: Option<PathBuf>,
    files: Option<PathBuf>,
    env_prefixes: Vec<String>,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, node: &Node, key: &str, message: impl Into<Cow<'static, str>>) {
        self.problems.push(Problem::at(&node.place, key, Severity::Error, message));
    }

    fn node(&mut self, node: &mut Node, path: &str, forms: &Forms) {
        let forms = forms.clone().of_node(node);
        if forms.is_empty() || matches!(node.value, Value::Null) {
            return;
        }
        if forms.has(SettingKind::FilesInDocument) {
            self.refuse(node, path, "a tenant's file cannot use a configuration that names files of the worker");
            return;
        }
        if forms.has(SettingKind::WorkerIdentity) && !matches!(node.value, Value::Bool(false)) {
            self.refuse(node, path, "a tenant's file cannot use the worker's identity");
            return;
        }
        match &node.value {
            Value::Map(_) => self.mapping(node, path, &forms),
            Value::List(_) => self.list(node, path, &forms),
            _ => self.value(node, path, &forms),
        }
    }

    fn list(&mut self, node: &mut Node, path: &str, forms: &Forms) {
        let count = node.list().len();
        if count > MAX_SINKS && forms.has(SettingKind::Sinks) {
            let message = format!("a tenant's file has at most {MAX_SINKS} sinks, since all lanes share the memory");
            self.refuse(node, path, message);
        }
        let of_elements = forms.of_elements();
        if count > MAX_SINKS && of_elements.has(SettingKind::Address) {
            self.refuse(node, path, format!("at most {MAX_SINKS} in a tenant's file"));
        }
        let Value::List(elements) = &mut node.value else { return };
        for (index, element) in elements.iter_mut().enumerate() {
            self.node(element, &format!("{path}[{index}]"), &of_elements);
        }
    }

    fn mapping(&mut self, node: &mut Node, path: &str, forms: &Forms) {
        if node.get("type").is_some() {
            self.type_of(node, path, forms);
        }
        let Value::Map(entries) = &mut node.value else { return };
        for entry in entries {
            let inner = join(path, &entry.key);
            if forms.iter().all(|form| form.may_have(&entry.key)) {
                self.node(&mut entry.node, &inner, &forms.of_key(&entry.key));
            } else {
                self.refuse(&entry.node, &inner, "a tenant's file may not give this option of librdkafka");
            }
        }
    }

    /// Checks what the `type` of a mapping uses by itself: the worker's output or identity, or brokers at addresses
    /// that cannot be checked.
    fn type_of(&mut self, node: &Node, path: &str, forms: &Forms) {
        if forms.has(SettingKind::WorkerOutput) {
            self.refuse(node, path, "a tenant's file cannot write to the worker's own output");
        }
        let keys = |wanted: SettingKind| {
            let keys = forms.iter().flat_map(|form| form.keys());
            keys.filter(move |(_, kind)| *kind == Some(wanted)).map(|(key, _)| key)
        };
        let missing =
            keys(SettingKind::InsteadOfWorkerIdentity).find(|key| node.get(key).and_then(Node::text).is_none());
        if let Some(key) = missing {
            let message = format!("a tenant's file cannot use the worker's own identity; give `{key}`");
            self.refuse(node, path, message);
        }
        if keys(SettingKind::Broker).next().is_some() && !self.rules.private.all {
            self.refuse(
                node,
                path,
                "the addresses of Kafka brokers cannot be checked after resolution, so a list of networks cannot hold for \
                 them: a tenant's file has a Kafka sink only with --allow-private-destinations without a list",
            );
        }
    }

    /// Checks a text, a number, or a boolean. If the file does not say which form it means, the rules of all forms
    /// apply.
    fn value(&mut self, node: &mut Node, path: &str, forms: &Forms) {
        let mut kinds = Vec::new();
        for kind in forms.iter().filter_map(|form| form.kind) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for kind in kinds {
            self.value_of_kind(node, path, kind);
        }
    }

    fn value_of_kind(&mut self, node: &mut Node, path: &str, kind: SettingKind) {
        match kind {
            SettingKind::SecretFile | SettingKind::Variable if self.is_resource => {
                self.refuse(node, path, NO_SECRET_REF);
            }
            SettingKind::SecretFile => self.file_below(node, path, "secrets", self.secrets.clone(), "--secrets-dir"),
            SettingKind::Path => self.file_below(node, path, "files", self.files.clone(), "--files-dir"),
            SettingKind::Variable => self.variable(node, path),
            SettingKind::Address | SettingKind::Broker | SettingKind::Proxy => self.address(node, path),
            SettingKind::Concurrency if number(node).is_some_and(|number| number > MAX_CONCURRENCY) => {
                self.refuse(node, path, format!("at most {MAX_CONCURRENCY} in a tenant's file"));
            }
            SettingKind::RememberedPeriod if is_longer(node, MAX_OVERLAP) => {
                self.refuse(
                    node,
                    path,
                    "at most 1 day in a tenant's file, since the lane remembers what it reads in it",
                );
            }
            SettingKind::Period if is_longer(node, MAX_PERIOD) => {
                self.refuse(node, path, "at most 90 days in a tenant's file");
            }
            SettingKind::RequestRate if number(node).is_some_and(|rate| rate < MIN_REQUESTS_PER_SECOND) => {
                self.refuse(
                    node,
                    path,
                    format!(
                        "at least {MIN_REQUESTS_PER_SECOND} in a tenant's file, since the smallest value holds for \
                         all pipelines with the same token"
                    ),
                );
            }
            SettingKind::PipelineName => self.pipeline_name(node, path),
            SettingKind::FormerName => self.former_name(node, path),
            SettingKind::Concurrency
            | SettingKind::RememberedPeriod
            | SettingKind::Period
            | SettingKind::RequestRate
            | SettingKind::Text
            | SettingKind::Switch => {}
            // Mappings and lists have these kinds, and values that were refused before.
            SettingKind::Trust
            | SettingKind::WorkerIdentity
            | SettingKind::InsteadOfWorkerIdentity
            | SettingKind::FilesInDocument
            | SettingKind::WorkerOutput
            | SettingKind::Sinks => {}
        }
    }

    /// Refuses a name other than the file's own. Otherwise one file could take the name of another one, which would not
    /// start again.
    fn pipeline_name(&mut self, node: &Node, path: &str) {
        if node.text() != Some(self.name) {
            self.refuse(node, path, format!("a tenant's file may have no name but its own, `{}`", self.name));
        }
    }

    /// Checks `renamed_from`. The name of a resource's pipeline begins with its namespace, which has no dots. The lanes
    /// find out whether the checkpoints belong to the file's own place when they begin.
    fn former_name(&mut self, node: &Node, path: &str) {
        let prefix = resource_at(self.file).map(|(namespace, _)| format!("{namespace}."));
        let is_its_own_place =
            std::path::absolute(self.file).is_ok_and(|file| self.rules.tenant_of(&file) == Some(file));
        match (prefix, node.text()) {
            (None, _) if is_its_own_place => self.refuse(
                node,
                path,
                "with `{pipeline}` each file has an author of its own, and none takes over another's checkpoints; the \
                 operator can: s1-forwarder state rename OLD NEW",
            ),
            (Some(prefix), Some(source)) if !source.starts_with(&prefix) => self.refuse(
                node,
                path,
                format!("a resource takes over the checkpoints of its own namespace only: write `{prefix}NAME`"),
            ),
            _ => {}
        }
    }

    /// Checks that the path is below `directory`, which `flag` names.
    fn file_below(&mut self, node: &mut Node, path: &str, what: &str, directory: Option<PathBuf>, flag: &str) {
        let file = node.text().and_then(|text| std::path::absolute(text).ok()).unwrap_or_default();
        if is_identity_token_path(&file) {
            self.refuse(node, path, "it is a token of the worker's own identity, which no tenant's file may name");
            return;
        }
        // `..` is refused, since a symbolic link may come before it.
        let is_plain = file.components().all(|component| component != Component::ParentDir);
        let beneath = match &directory {
            Some(directory) if is_plain => FilePath::setting(&file, directory),
            _ => None,
        };
        match beneath {
            Some(beneath) => node.value = Value::Text(beneath),
            None => self.refuse(node, path, outside(what, directory.as_deref(), flag)),
        }
    }

    fn variable(&mut self, node: &Node, path: &str) {
        let name = node.text().unwrap_or_default();
        if is_own_variable(name) {
            let message = "it is a variable of the worker itself, of its identity in a cloud or cluster, or of a proxy, \
                           which no tenant's file may name";
            self.refuse(node, path, message);
            return;
        }
        let is_allowed = |prefix: &String| {
            // `S1_ACME_` also begins what `S1_ACME__EU_` is for.
            let is_of_another = |rest: &str| prefix.ends_with('_') && rest.starts_with('_');
            !prefix.is_empty() && name.strip_prefix(prefix.as_str()).is_some_and(|rest| !is_of_another(rest))
        };
        if self.env_prefixes.iter().any(is_allowed) {
            return;
        }
        let message = match self.env_prefixes.as_slice() {
            [] if self.rules.env_prefixes.is_empty() => {
                "a tenant's file may name no environment variables (see --env-allow)".to_owned()
            }
            [] => {
                "this file may name no environment variables, since its name has other characters than a to z, 0 to 9 \
                   and, between these, `-` (see --env-allow)"
                    .to_owned()
            }
            allowed => {
                format!("a tenant's file may name only environment variables that begin with {}", allowed.join(" or "))
            }
        };
        self.refuse(node, path, message);
    }

    /// Checks an address. The worker uses an address that is no name without asking a resolver.
    fn address(&mut self, node: &Node, path: &str) {
        let text = node.text().unwrap_or_default().trim();
        // Some addresses may be given without `https://`, and of some schemes the parser reads no addresses.
        let text = match text.split_once("://") {
            None => format!("https://{text}"),
            Some((scheme, rest)) if ["tls", "tcp", "udp"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                format!("https://{rest}")
            }
            _ => text.to_owned(),
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
    use s1_forwarder_settings::PrivateDestination;

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
        let mut root = document::tree(text, &file, &mut problems).unwrap();
        rules.check(&mut root, &file, &mut problems);
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
        assert_eq!(keys(detour, operators), "console.proxy console.tls");
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
            |is_operators_proxy| AddressPolicy::Tenant { private: PrivateDestinations::default(), is_operators_proxy };
        for (own, console, sinks) in [
            ("streams: {}", AddressPolicy::Everywhere, AddressPolicy::Everywhere),
            ("console: { url: null, sites: [1] }", AddressPolicy::Everywhere, AddressPolicy::Everywhere),
            ("console: { url: 'https://a.example' }", tenants(true), AddressPolicy::Everywhere),
            ("console: { proxy: 'http://a.example' }", tenants(false), AddressPolicy::Everywhere),
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
            ("console: { token: { file: /secrets/acme/./../globex/token } }", "console.token.file"),
            ("console: { token: { file: /proc/self/environ } }", "console.token.file"),
            ("console: { token: { file: '/secrets//globex/token' } }", "console.token.file"),
            ("console: { token: [{ file: /etc/passwd }] }", "console.token[0].file"),
            ("console: { token: { env: S1_FORWARDER_STATE } }", "console.token.env"),
            ("console: { token: { env: OTHERS_TOKEN } }", "console.token.env"),
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
            ("sinks: [{ retry: { max: 91d } }]", "sinks[0].retry.max"),
            (
                "sinks: [{ type: google_secops, service_account: { file: /etc/passwd } }]",
                "sinks[0].service_account.file",
            ),
            ("streams: { threats: { overlap: 25h } }", "streams.threats.overlap"),
            ("streams: { alerts: { lookback: 36500d } }", "streams.alerts.lookback"),
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
        let receivers = vec!["'tls://siem.example:6514'"; MAX_SINKS + 1].join(", ");
        let text = format!("sinks: [{{ type: syslog, addresses: [{receivers}] }}]");
        assert_eq!(refused(&rules(), &text), ["sinks[0].addresses"]);
        let sinks = |count| format!("sinks: [{}]", vec!["{ type: http }"; count].join(", "));
        assert_eq!(refused(&rules(), &sinks(MAX_SINKS)), <[&str; 0]>::default());
        assert_eq!(refused(&rules(), &sinks(MAX_SINKS + 1)), ["sinks"]);
        let nothing = TenantRules { for_files: true, ..TenantRules::default() };
        for text in ["console: { token: { file: /secrets/acme/token } }", "console: { token: { env: TENANT_A } }"] {
            assert_eq!(refused(&nothing, text).len(), 1, "{text}");
        }
        let all = TenantRules { secrets_dir: Some("/".into()), ..rules() };
        for token in [
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "/run/secrets/eks.amazonaws.com/serviceaccount/token",
            "/run/secrets/azure/tokens/azure-identity-token",
        ] {
            assert_eq!(refused(&all, &format!("console: {{ token: {{ file: {token} }} }}")), ["console.token.file"]);
        }
    }

    #[test]
    fn an_address_is_refused_in_every_form() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "2130706433",
            "127.0.0.1.",
            "１２７.０.０.１",
            "①②⑦.⓪.⓪.①",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00::1]",
            "100.64.0.1",
            "169.254.169.254",
        ] {
            for (before, after) in
                [("https://", "/"), ("HTTP://", ""), (" https://", ":8443"), ("https://a@", "#@b.example"), ("", "")]
            {
                let url = format!("{before}{host}{after}");
                for (text, key) in [
                    (format!("console: {{ url: '{url}' }}"), "console.url"),
                    (format!("console: {{ proxy: '{url}' }}"), "console.proxy"),
                    (format!("sinks: [{{ type: http, url: '{url}' }}]"), "sinks[0].url"),
                    (format!("sinks: [{{ type: splunk_hec, tls: {{}}, urls: ['{url}'] }}]"), "sinks[0].urls[0]"),
                    (format!("sinks: [{{ auth: {{ type: oauth2, token_url: '{url}' }} }}]"), "sinks[0].auth.token_url"),
                    (format!("sinks: [{{ type: syslog, address: 'TCP://{host}:514' }}]"), "sinks[0].address"),
                ] {
                    assert_eq!(refused(&rules(), &text).last().map(String::as_str), Some(key), "{text}");
                }
            }
        }
    }

    #[test]
    fn variables_and_directories_are_those_of_the_file() {
        let rules = TenantRules {
            secrets_dir: Some("/secrets/{directory}".into()),
            env_prefixes: vec!["S1_{pipeline}_".to_owned()],
            ..rules()
        };
        let refused = |file: &str, text: &str| {
            let file: Arc<Path> = Path::new(file).into();
            let mut problems = Vec::new();
            let mut root = document::tree(text, &file, &mut problems).unwrap();
            rules.check(&mut root, &file, &mut problems);
            problems.into_iter().map(|problem| problem.message.into_owned()).collect::<Vec<_>>().join(", ")
        };
        let variable = |file: &str, name: &str| refused(file, &format!("console: {{ token: {{ env: {name} }} }}"));
        assert_eq!(variable("/p/acme.yaml", "S1_ACME_TOKEN"), "");
        assert_eq!(variable("/p/acme-eu.yaml", "S1_ACME__EU_TOKEN"), "");
        assert!(variable("/p/acme.yaml", "S1_ACME__EU_TOKEN").contains("begin with S1_ACME_"));
        assert!(variable("/p/globex.yaml", "S1_ACME_TOKEN").contains("begin with S1_GLOBEX_"));
        assert!(variable("/p/acme-.yaml", "S1_ACME___TOKEN").contains("other characters"));
        // It would be the variable of `acme-eu`.
        assert!(variable("/p/acme_eu.yaml", "S1_ACME__EU_TOKEN").contains("other characters"));
        let token = "console: { token: { file: /secrets/acme/token } }";
        assert_eq!(refused("/p/acme/console.yaml", token), "");
        assert!(refused("/p/globex/acme.yaml", token).contains("below /secrets/globex"));
        assert!(refused("/p/acme/../acme.yaml", token).contains("no secrets of the worker"));
    }

    /// Also if the name of a tenant's file makes the prefix a prefix of the worker's own variables.
    #[test]
    fn no_prefix_gives_a_tenant_a_variable_of_the_worker() {
        for (prefix, file, name) in [
            ("S1_{pipeline}_", "forwarder.yaml", "S1_FORWARDER_STATE"),
            ("S1_FORWARDER_", "acme.yaml", "S1_FORWARDER_DEAD_LETTERS"),
            ("{pipeline}_", "aws.yaml", "AWS_SECRET_ACCESS_KEY"),
            ("{directory}_", "azure/acme.yaml", "AZURE_CLIENT_SECRET"),
            ("GOOGLE_", "acme.yaml", "GOOGLE_APPLICATION_CREDENTIALS"),
            ("KUBE", "acme.yaml", "KUBECONFIG"),
            ("HTTPS_", "acme.yaml", "HTTPS_PROXY"),
            ("all", "acme.yaml", "all_proxy"),
        ] {
            let rules = TenantRules { env_prefixes: vec![prefix.to_owned()], ..rules() };
            let file: Arc<Path> = Path::new("/p").join(file).into();
            let mut problems = Vec::new();
            let text = format!("console: {{ token: {{ env: {name} }} }}");
            let mut root = document::tree(&text, &file, &mut problems).unwrap();
            rules.check(&mut root, &file, &mut problems);
            let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_ref()).collect();
            assert!(
                matches!(*messages, [message] if message.contains("variable of the worker")),
                "{prefix} {messages:?}"
            );
        }
    }

    #[test]
    fn a_prefix_tells_the_end_of_a_name() {
        for own in ["S1_{pipeline}_", "{directory}_{pipeline}_", "T_{pipeline}_TOKEN"] {
            assert_eq!(is_own_prefix(own), Ok(true), "{own}");
        }
        for shared in ["", "TENANT_", "TENANT"] {
            assert_eq!(is_own_prefix(shared), Ok(false), "{shared}");
        }
        for (wrong, right) in [
            ("S1_{pipeline}", "S1_{pipeline}_"),
            ("S1_{pipeline}TOKEN", "S1_{pipeline}_TOKEN"),
            ("S1_{pipeline}__", "S1_{pipeline}_"),
            ("{directory}{pipeline}_", "{directory}_{pipeline}_"),
        ] {
            assert_eq!(is_own_prefix(wrong), Err(right.to_owned()), "{wrong}");
            assert_eq!(is_own_prefix(right), Ok(true), "{right}");
        }
    }

    #[test]
    fn a_resource_takes_over_the_checkpoints_of_its_own_namespace_only() {
        let refused = |file: &str, source: &str| {
            let file: Arc<Path> = Path::new(file).into();
            let mut problems = Vec::new();
            let mut root = document::tree(&format!("renamed_from: {source}"), &file, &mut problems).unwrap();
            rules().check(&mut root, &file, &mut problems);
            problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>().join(" ")
        };
        let resource = "pipeline customers/acme, spec";
        assert_eq!(refused(resource, "customers.old"), "");
        for source in ["others.old", "customers", "customers-2.old"] {
            assert_eq!(refused(resource, source), "renamed_from", "{source}");
        }
    }

    /// The lanes find out whether the checkpoints are of the directory.
    #[test]
    fn a_file_takes_over_checkpoints_unless_it_has_an_author_of_its_own() {
        let refused = |placeholder: &str| {
            let rules = TenantRules { secrets_dir: Some(format!("/secrets/{placeholder}").into()), ..rules() };
            let rules = TenantRules { files_dir: None, env_prefixes: Vec::new(), ..rules };
            let file: Arc<Path> = Path::new("/pipelines/acme/console.yaml").into();
            let mut problems = Vec::new();
            let mut root = document::tree("renamed_from: old", &file, &mut problems).unwrap();
            rules.check(&mut root, &file, &mut problems);
            !problems.is_empty()
        };
        assert_eq!([refused("{directory}"), refused("{pipeline}")], [false, true]);
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
