//! `cloud.*` from the open object that the console calls `cloudProviders`.

use std::borrow::Cow;

use super::event::Event;
use crate::record::{Escaped, Kind, Value};

/// The first provider that says something. The whole object stays in the record: it holds more than ECS has fields for.
/// A task of Amazon ECS runs at AWS, whatever the agent knows.
pub(super) fn write(event: &mut Event<'_>, providers: Value<'_>, is_ecs_task: bool) {
    let says = |(name, provider): &(Cow<'_, str>, Value<'_>)| {
        !name.is_empty() && provider.kind() == Kind::Object && !provider.is_empty()
    };
    let named = providers.entries().find(says);
    let open = event.open("cloud");
    if let Some((name, provider)) = named {
        event.json.text("provider", &name.to_lowercase());
        let mut nested = |object, field, key| {
            let open = event.open(object);
            event.optional(field, provider.get(key).escaped());
            event.close(open);
        };
        nested("instance", "id", "cloudInstanceId");
        nested("account", "id", "cloudAccount");
        nested("machine", "type", "cloudInstanceSize");
        if let Some(location) = provider.get("cloudLocation").escaped() {
            let region = region_of_zone(location);
            event.json.escaped("region", region.unwrap_or(location));
            if region.is_some() {
                event.json.escaped("availability_zone", location);
            }
        }
    } else if is_ecs_task {
        event.json.word("provider", "aws");
    }
    event.close(open);
}

/// `us-east-1` of `us-east-1a`, `us-central1` of `us-central1-f`; nothing of a region.
fn region_of_zone(location: Escaped<'_>) -> Option<Escaped<'_>> {
    let text = location.raw();
    let (before, letter) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let region = before.strip_suffix('-').unwrap_or(before);
    let is_zone =
        letter.bytes().all(|byte| byte.is_ascii_lowercase()) && region.ends_with(|c: char| c.is_ascii_digit());
    (is_zone && region.contains('-')).then_some(Escaped::plain(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_told_from_regions() {
        let region = |text| region_of_zone(Escaped::plain(text)).map(Escaped::raw);
        assert_eq!(region("us-east-1a"), Some("us-east-1"));
        assert_eq!(region("us-central1-f"), Some("us-central1"));
        for text in ["us-east-1", "eastus", "eastus2", "westeurope", "", "a", "é"] {
            assert_eq!(region(text), None, "{text}");
        }
    }
}
