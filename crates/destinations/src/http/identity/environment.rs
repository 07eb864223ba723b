//! The environment variables of the worker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::http::transport::endpoint::Endpoint;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Environment variables, which tests replace.
#[derive(Clone)]
pub(crate) struct Environment {
    variable: Arc<Lookup>,
}

impl Default for Environment {
    /// Returns the environment of this process.
    fn default() -> Self {
        Self { variable: Arc::new(|name| std::env::var(name).ok()) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Environment")
    }
}

impl Environment {
    /// Creates an environment with these variables alone.
    pub(crate) fn of(variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variable: Arc::new(move |name| variables.get(name).cloned()) }
    }

    /// Returns the value of a variable, or `None` if it is missing or blank.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    /// Parses the URL in a variable; `None` if the variable is missing or blank.
    pub(crate) fn url(&self, name: &str) -> Result<Option<Endpoint>, String> {
        let url = self.variable(name).map(|url| url.parse());
        url.transpose().map_err(|error| format!("the environment variable {name}: {error}"))
    }

    /// Parses the URL in a variable, or `default` if the variable is missing or blank.
    pub(crate) fn url_or(&self, name: &str, default: &str) -> Result<Endpoint, String> {
        match self.url(name)? {
            Some(url) => Ok(url),
            None => default.parse().map_err(|error| format!("{default}: {error}")),
        }
    }
}
