//! `cloud.*`, from `cloudProviders` or from the flat object of unified alerts.

use s1_forwarder_record::Value;

use super::event::{Event, is_placeholder};
use crate::common::cloud::{provider, region_of_zone};
use crate::common::placeholder::first_scalar;

/// Writes the first provider that is not empty. The object stays in the record, since it has more values than ECS has
/// fields. An Amazon ECS task runs on AWS even if no provider is named.
pub(super) fn write(event: &mut Event<'_>, providers: Value<'_>, is_ecs_task: bool) {
    let open = event.open("cloud");
    if let Some((name, provider)) = provider(providers) {
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
    let location = location.escaped();
    let zone = zone.escaped();
    let of_zone = location.or(zone).and_then(region_of_zone);
    event.optional("region", region.escaped().or(of_zone).or(location));
    event.optional("availability_zone", zone.or(location.filter(|_| of_zone.is_some())));
}
