//! Endpoint groups: `/groups`.

use super::block::block;

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
