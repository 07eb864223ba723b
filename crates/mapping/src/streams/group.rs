//! Endpoint groups: `/groups`.

use s1_forwarder_record::Value;
use s1_forwarder_record::group::Group;

use crate::common::missing::trimmed;
use crate::parts::{Owner, Sentence};

#[derive(Debug, Clone, Copy)]
pub struct GroupParts<'a> {
    pub created: Value<'a>,
    pub updated: Value<'a>,
    /// The user who made the group.
    pub creator: Value<'a>,
    pub creator_id: Value<'a>,
    /// The group itself is the endpoint group of its record.
    pub owner: Owner<'a>,
}

impl<'a> GroupParts<'a> {
    pub fn of(group: &Group<'a>) -> Self {
        let none = Value::default();
        Self {
            created: group.created_at,
            updated: group.updated_at,
            creator: group.creator,
            creator_id: group.creator_id,
            owner: Owner {
                site_ids: [group.site_id, none],
                group_ids: [group.id, none],
                group_names: [group.name, none, none],
                ..Owner::default()
            },
        }
    }

    pub fn id(&self) -> Value<'a> {
        self.owner.group_ids[0]
    }

    pub fn message(&self) -> Sentence<'a, 1> {
        [("Group ", trimmed(self.owner.group_names[0]))]
    }
}
