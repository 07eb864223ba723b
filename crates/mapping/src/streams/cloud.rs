//! `cloudProviders` of agents, and of threats at their detection.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind, Value};

use crate::common::missing::is_set;
use crate::parts::Cloud;

/// Returns the first of `cloudProviders` that has a value.
pub fn of_providers<'a>(providers: Value<'a>) -> Cloud<'a> {
    let is_used = |(name, provider): &(Cow<'a, str>, Value<'a>)| {
        !name.is_empty() && provider.kind() == Kind::Object && provider.entries().any(|(_, value)| is_said(value))
    };
    // No provider's name has escapes.
    let Some((Cow::Borrowed(name), provider)) = providers.entries().find(is_used) else { return Cloud::default() };
    Cloud {
        provider: Some(Escaped::plain(name)),
        account: provider.get("cloudAccount"),
        instance: provider.get("cloudInstanceId"),
        machine_type: provider.get("cloudInstanceSize"),
        image: provider.get("cloudImage"),
        network: provider.get("cloudNetwork"),
        location: provider.get("cloudLocation"),
        ..Cloud::default()
    }
}

fn is_said(value: Value<'_>) -> bool {
    if value.kind() == Kind::Array { value.elements().next().is_some() } else { is_set(value) }
}
