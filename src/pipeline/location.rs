use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::settings::is_namespace;

/// One value of `--pipelines`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, or a directory one level deep.
    Path(PathBuf),
    /// ConfigMaps and Secrets with some labels.
    Labelled(Labelled),
    /// `Pipeline` resources.
    Resources(Namespaces),
}

/// `kubernetes-resources:[NAMESPACE|*]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// The worker's own.
    Own,
    Named(String),
    All,
}

/// Objects in a Kubernetes namespace with some labels: `kubernetes:[NAMESPACE/]label=SELECTOR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// `None` is the worker's own namespace.
    pub namespace: Option<String>,
    /// A label selector in the syntax of Kubernetes.
    pub selector: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// A location that starts with `kubernetes:` and is invalid.
    #[error(
        "write it as kubernetes:label=SELECTOR or kubernetes:NAMESPACE/label=SELECTOR, for example \
         kubernetes:label=s1-forwarder/pipelines=true; for a file of that name write ./{0}"
    )]
    Labelled(String),
    /// A location that starts with `kubernetes-resources:` and is invalid.
    #[error(
        "write it as kubernetes-resources:, kubernetes-resources:NAMESPACE or kubernetes-resources:* (all namespaces); \
         for a file of that name write ./{0}"
    )]
    Resources(String),
    /// This build is without the feature `kubernetes`.
    #[error("this program was built without Kubernetes")]
    NotBuilt,
}

const PREFIX: &str = "kubernetes:";
const RESOURCES: &str = "kubernetes-resources:";

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (objects, resources) = (text.strip_prefix(PREFIX), text.strip_prefix(RESOURCES));
        if cfg!(not(feature = "kubernetes")) && objects.or(resources).is_some() {
            return Err(LocationError::NotBuilt);
        }
        match resources {
            Some("") => return Ok(Self::Resources(Namespaces::Own)),
            Some("*") => return Ok(Self::Resources(Namespaces::All)),
            Some(namespace) if is_namespace(namespace) => {
                return Ok(Self::Resources(Namespaces::Named(namespace.to_owned())));
            }
            Some(_) => return Err(LocationError::Resources(text.to_owned())),
            None => {}
        }
        let Some(objects) = objects else { return Ok(Self::Path(text.into())) };
        // A selector may contain slashes. A namespace contains no equals sign.
        let (namespace, selector) = match objects.strip_prefix("label=") {
            Some(selector) => (None, Some(selector)),
            None => match objects.split_once("/label=") {
                Some((namespace, selector)) => (Some(namespace), Some(selector)),
                None => (None, None),
            },
        };
        match selector.map(str::trim).filter(|selector| !selector.is_empty() && namespace.is_none_or(is_namespace)) {
            Some(selector) => {
                let namespace = namespace.map(str::to_owned);
                Ok(Self::Labelled(Labelled { namespace, selector: selector.to_owned() }))
            }
            None => Err(LocationError::Labelled(text.to_owned())),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(formatter),
            Self::Labelled(labelled) => labelled.fmt(formatter),
            Self::Resources(namespaces) => namespaces.fmt(formatter),
        }
    }
}

impl fmt::Display for Labelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        if let Some(namespace) = &self.namespace {
            write!(formatter, "{namespace}/")?;
        }
        write!(formatter, "label={}", self.selector)
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = match self {
            Self::Own => "",
            Self::Named(namespace) => namespace,
            Self::All => "*",
        };
        write!(formatter, "{RESOURCES}{namespace}")
    }
}

/// [`Location`]s by kind.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub paths: Vec<PathBuf>,
    pub labelled: Vec<Labelled>,
    pub resources: Vec<Namespaces>,
}

pub(super) fn split(locations: &[Location]) -> Split {
    let mut split = Split::default();
    for location in locations {
        match location {
            Location::Path(path) => split.paths.push(path.clone()),
            Location::Labelled(labelled) => split.labelled.push(labelled.clone()),
            Location::Resources(namespaces) => split.resources.push(namespaces.clone()),
        }
    }
    split
}

#[cfg(all(test, feature = "kubernetes"))]
mod tests {
    use super::*;

    #[test]
    fn locations_of_pipelines() {
        let labelled = |text: &str| match text.parse() {
            Ok(Location::Labelled(Labelled { namespace, selector })) => Some((namespace.unwrap_or_default(), selector)),
            _ => None,
        };
        let own = |selector: &str| Some((String::new(), selector.to_owned()));
        assert_eq!(labelled("kubernetes:label=s1-forwarder/pipelines=true"), own("s1-forwarder/pipelines=true"));
        assert_eq!(labelled("kubernetes:label=pipelines"), own("pipelines"));
        assert_eq!(labelled("kubernetes:label=a=b,c in (d, e)"), own("a=b,c in (d, e)"));
        assert_eq!(labelled("kubernetes:label=label=x"), own("label=x"));
        assert_eq!(labelled("kubernetes:customers/label=a/b=c"), Some(("customers".to_owned(), "a/b=c".to_owned())));
        for wrong in ["kubernetes:", "kubernetes:label=", "kubernetes:x", "kubernetes:A/label=x", "kubernetes:/label=x"]
        {
            assert_eq!(wrong.parse::<Location>(), Err(LocationError::Labelled(wrong.to_owned())), "{wrong}");
        }
        let resources = |text: &str| text.parse::<Location>().map(|location| format!("{location:?}"));
        assert_eq!(resources("kubernetes-resources:"), Ok("Resources(Own)".to_owned()));
        assert_eq!(resources("kubernetes-resources:acme"), Ok("Resources(Named(\"acme\"))".to_owned()));
        assert_eq!(resources("kubernetes-resources:*"), Ok("Resources(All)".to_owned()));
        for wrong in ["kubernetes-resources:a/b", "kubernetes-resources:Acme", "kubernetes-resources:a*"] {
            assert_eq!(wrong.parse::<Location>(), Err(LocationError::Resources(wrong.to_owned())), "{wrong}");
        }
        for path in ["pipelines", "./kubernetes:label=x", "label=x", "kubernetes-resources"] {
            assert_eq!(path.parse(), Ok(Location::Path(path.into())));
        }
        for text in ["kubernetes:label=a/b=c", "kubernetes:customers/label=a"] {
            assert_eq!(
                labelled(text).map(|(namespace, selector)| {
                    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
                    Labelled { namespace, selector }.to_string()
                }),
                Some(text.to_owned())
            );
        }
    }
}
