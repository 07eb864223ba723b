//! `cloud.*`.

use super::event::Event;
use crate::parts::Cloud;

/// Writes the provider, the account, the machine, the region and the zone. An Amazon ECS task runs on AWS even if the
/// record names no provider.
pub(super) fn write(event: &mut Event<'_>, cloud: &Cloud<'_>, is_ecs_task: bool) {
    let open = event.open("cloud");
    match cloud.provider {
        Some(provider) => event.json.lower_case("provider", provider),
        None if is_ecs_task => event.json.word("provider", "aws"),
        None => {}
    }
    for (object, field, value) in [
        ("instance", "id", cloud.instance),
        ("account", "id", cloud.account),
        ("machine", "type", cloud.machine_type),
        ("project", "id", cloud.project),
    ] {
        let open = event.open(object);
        event.optional(field, value.escaped());
        event.close(open);
    }
    let [region, zone] = cloud.region_and_zone();
    event.optional("region", region);
    event.optional("availability_zone", zone);
    event.close(open);
}
