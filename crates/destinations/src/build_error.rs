//! The error of a sink that cannot be built from its settings. Every destination returns it.

use s1_forwarder_settings::ClientError;

use super::compression::Compression;

/// Invalid settings of a sink.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("`compression: {}` is not supported by sinks of type {type_name}: {}", compression.name(), instead(known))]
    Compression { type_name: &'static str, compression: Compression, known: &'static [Compression] },
    /// An unknown `{…}` in a template.
    #[error(
        "`{key}`: `{{{placeholder}}}` is not a placeholder; use {{pipeline}}, {{stream}} or the labels ({})",
        names(labels)
    )]
    Placeholder {
        key: &'static str,
        placeholder: String,
        /// The labels that exist.
        labels: Vec<String>,
    },
    #[error("`{key}`: {problem}")]
    Value {
        key: String,
        /// A text that says what is wrong, and what would be right.
        problem: String,
    },
    /// TLS or proxy settings that no client can use.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl BuildError {
    pub(crate) fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}

fn instead(known: &[Compression]) -> String {
    match known {
        [] | [Compression::None] => "leave the key out".to_owned(),
        known => format!("write one of {}", known.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")),
    }
}

fn names(labels: &[String]) -> String {
    if labels.is_empty() {
        return "{label.NAME}; `transform.labels` has none".to_owned();
    }
    let names: Vec<_> = labels.iter().map(|name| format!("{{label.{name}}}")).collect();
    names.join(", ")
}
