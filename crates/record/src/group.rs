//! Endpoint groups: `/groups`.

use super::Level;
use super::block::block;
use super::stream::{Accounting, Description, Fact, Frame, Frequency, Key, Owner, SeverityKeys, Version};

pub const STREAM: Description = Description {
    name: "groups",
    singular: "group",
    frame: Frame::List,
    keys: &[Key::Value("id", Fact::Id), Key::Value("createdAt", Fact::Created), Key::Value("updatedAt", Fact::Updated)],
    order: &[Fact::Updated],
    version: Version::Values(&[&[Fact::Updated]]),
    accounting: Accounting::Nothing,
    frequency: Frequency::Inventory,
    owners: &[Owner::Itself(Level::Group), Owner::Flat(&[])],
    severity: SeverityKeys::Nowhere,
    has_secrets: true,
};

block! {
    /// A record of `/groups`.
    Group {
        created_at = "createdAt",
        creator = "creator",
        creator_id = "creatorId",
        description = "description",
        filter_id = "filterId",
        filter_name = "filterName",
        id = "id",
        inherits = "inherits",
        is_default = "isDefault",
        name = "name",
        rank = "rank",
        registration_token = "registrationToken",
        site_id = "siteId",
        total_agents = "totalAgents",
        updated_at = "updatedAt",
    }
}
