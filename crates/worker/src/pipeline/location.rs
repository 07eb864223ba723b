//! The values of `--pipelines`: files and directories, or objects of Kubernetes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use s1_forwarder_settings::is_namespace;

/// One value of `--pipelines`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file, or a directory one level deep.
    Path(PathBuf),
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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// A location that starts with `kubernetes:`.
    #[error(
        "ConfigMaps and Secrets are not searched for pipeline files: write kubernetes-resources:[NAMESPACE|*] for \
         Pipeline resources, or mount the object and name its directory; for a file of that name write ./{0}"
    )]
    Objects(String),
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

/// Names of other files that a message has.
const MAX_NAMED: usize = 5;
const OBJECTS: &str = "kubernetes:";
const RESOURCES: &str = "kubernetes-resources:";

impl Location {
    /// Says where the worker looked for pipeline files, and what is there instead. Blocks.
    pub fn explain_empty(&self, defaults: Option<&Path>) -> String {
        let Self::Path(path) = self else { return format!("{self} has none") };
        let shown = path.display();
        if defaults == Some(path) {
            return format!("{shown} is the --defaults file, and no pipeline");
        }
        let Ok(entries) = std::fs::read_dir(path) else { return format!("{shown} is none") };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| {
                let slash = if entry.path().is_dir() { "/" } else { "" };
                format!("{}{slash}", entry.file_name().display())
            })
            .collect();
        names.sort();
        let more = names.len().saturating_sub(MAX_NAMED);
        names.truncate(MAX_NAMED);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        if names.is_empty() {
            format!("{shown} is empty")
        } else {
            format!("{shown} has no *.yaml or *.yml itself (it has {})", names.join(", "))
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(OBJECTS) {
            return Err(LocationError::Objects(text.to_owned()));
        }
        let Some(namespaces) = text.strip_prefix(RESOURCES) else { return Ok(Self::Path(text.into())) };
        if cfg!(not(feature = "kubernetes")) {
            return Err(LocationError::NotBuilt);
        }
        match namespaces {
            "" => Ok(Self::Resources(Namespaces::Own)),
            "*" => Ok(Self::Resources(Namespaces::All)),
            namespace if is_namespace(namespace) => Ok(Self::Resources(Namespaces::Named(namespace.to_owned()))),
            _ => Err(LocationError::Resources(text.to_owned())),
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
            Self::Resources(namespaces) => namespaces.fmt(formatter),
        }
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
    pub resources: Vec<Namespaces>,
}

pub(super) fn split(locations: &[Location]) -> Split {
    let mut split = Split::default();
    for location in locations {
        match location {
            Location::Path(path) => split.paths.push(path.clone()),
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
        for objects in ["kubernetes:", "kubernetes:label=s1-forwarder/pipelines", "kubernetes:acme/label=a=b"] {
            assert_eq!(objects.parse::<Location>(), Err(LocationError::Objects(objects.to_owned())));
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
    }
}
