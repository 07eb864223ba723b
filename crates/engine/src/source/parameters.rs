//! Parameters of the console's lists.

use std::borrow::Cow;

/// A parameter and its value.
pub(super) type Parameter = (Cow<'static, str>, String);
pub(super) type Parameters = Vec<Parameter>;

/// Returns the parameters of a page with this sort order.
pub(super) fn order(sort_by: &str, direction: &str) -> Parameters {
    let pairs = [("sortBy", sort_by), ("sortOrder", direction), ("skipCount", "true")];
    pairs.into_iter().map(|(name, value)| (name.into(), value.to_owned())).collect()
}

/// Returns the parameters of a request that only counts.
pub(super) fn count_only() -> Parameters {
    vec![("countOnly".into(), "true".to_owned())]
}

pub(super) fn named(pairs: impl IntoIterator<Item = (&'static str, String)>) -> impl Iterator<Item = Parameter> {
    pairs.into_iter().map(|(name, value)| (name.into(), value))
}
