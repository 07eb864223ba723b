//! `cloud.*`, from `cloudProviders` or from the flat object of unified alerts.

use std::borrow::Cow;

use super::endpoint::first_scalar;
use super::event::{Event, is_placeholder};
use crate::record::{Escaped, Kind, Value};

/// Writes the first provider that is not empty. The object stays in the record, since it has more values than ECS has
/// fields. An Amazon ECS task runs on AWS even if no provider is named.
pub(super) fn write(event: &mut Event<'_>, providers: Value<'_>, is_ecs_task: bool) {
    let is_present = |(name, provider): &(Cow<'_, str>, Value<'_>)| {
        !name.is_empty() && provider.kind() == Kind::Object && !provider.is_empty()
    };
    let named = providers.entries().find(is_present);
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
        region_and_zone(event, provider.get("cloudLocation"), Value::default(), Value::default());
    } else if is_ecs_task {
        event.json.word("provider", "aws");
    }
    event.close(open);
}

/// As [`write`], from the flat object of a unified alert and its provider-specific details.
pub(super) fn write_detected(event: &mut Event<'_>, detected: Value<'_>) {
    let details = detected.get("providerDetails");
    let open = event.open("cloud");
    if let Some(provider) = detected.get("cloudProvider").escaped().filter(|text| !is_placeholder(*text)) {
        event.json.lower_case("provider", provider);
    }
    for (object, field, values) in [
        ("instance", "id", [detected.get("instanceId"), details.get("instanceId")]),
        ("account", "id", [details.get("subscriptionId"), detected.get("accountId")]),
        ("machine", "type", [detected.get("instanceSize"), details.get("instanceType")]),
        ("project", "id", [details.get("projectId"), Value::default()]),
    ] {
        let open = event.open(object);
        event.optional(field, first_scalar(values).escaped());
        event.close(open);
    }
    region_and_zone(event, detected.get("location"), details.get("region"), details.get("zone"));
    event.close(open);
}

/// Writes `region` and `availability_zone`. `location` may be either of them.
fn region_and_zone(event: &mut Event<'_>, location: Value<'_>, region: Value<'_>, zone: Value<'_>) {
    let (location, zone) = (location.escaped(), zone.escaped());
    let of_zone = location.or(zone).and_then(region_of_zone);
    event.optional("region", region.escaped().or(of_zone).or(location));
    event.optional("availability_zone", zone.or(location.filter(|_| of_zone.is_some())));
}

/// `us-east-1` for `us-east-1a`, `us-central1` for `us-central1-f`; `None` for a region.
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
    fn zones_are_distinguished_from_regions() {
        let region = |text| region_of_zone(Escaped::plain(text)).map(Escaped::raw);
        assert_eq!(region("us-east-1a"), Some("us-east-1"));
        assert_eq!(region("us-central1-f"), Some("us-central1"));
        for text in ["us-east-1", "eastus", "eastus2", "westeurope", "", "a", "é"] {
            assert_eq!(region(text), None, "{text}");
        }
    }
}
