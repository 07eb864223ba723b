//! An endpoint with an agent, its owner, and the user who is logged in to it.

use s1_forwarder_record::Value;

use super::Cloud;
use crate::common::account::is_email;
use crate::common::missing::first_scalar;
use crate::common::os::Architecture;

#[derive(Debug, Clone, Copy, Default)]
pub struct Endpoint<'a> {
    pub agent_id: Value<'a>,
    pub agent_uuids: [Value<'a>; 2],
    pub agent_versions: [Value<'a>; 2],
    /// Whether the agent is installed and in use.
    pub is_managed: bool,
    pub names: [Value<'a>; 2],
    pub domains: [Value<'a>; 2],
    /// The console's word for the type of the machine.
    pub machine_type: Value<'a>,
    pub os: Os<'a>,
    pub architecture: Option<Architecture>,
    pub interfaces: Interfaces<'a>,
    /// Addresses outside the interfaces. A value may be a list.
    pub addresses: [Value<'a>; 4],
    /// The address that the console sees.
    pub external: Value<'a>,
    /// The path of `external` in the record, if the path belongs to only one endpoint.
    pub external_path: Option<&'static str>,
    /// MAC addresses in one text, if there are no interfaces.
    pub macs: Value<'a>,
    pub cloud: Cloud<'a>,
    pub owner: Owner<'a>,
}

impl<'a> Endpoint<'a> {
    /// Returns the first name that is not a placeholder.
    pub fn name(&self) -> Value<'a> {
        first_scalar(self.names)
    }
}

/// The interfaces of an endpoint. `each` reads the list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interfaces<'a> {
    pub list: Value<'a>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Interface<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub mac: Value<'a>,
    /// Addresses of version 4 and of version 6: each a list or one address.
    pub addresses: [Value<'a>; 2],
    pub gateway: Value<'a>,
    /// Whether the list has more values of the interface.
    pub has_more: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Os<'a> {
    pub names: [Value<'a>; 2],
    pub versions: [Value<'a>; 2],
    /// Name and version in one text.
    pub full: Value<'a>,
    /// Possible types; the first that the schema has is used.
    pub types: [Value<'a>; 3],
    /// The console's word that ECS has as the family.
    pub family: Value<'a>,
    /// `64 bit`
    pub bits: Value<'a>,
}

/// The account, the site and the group that a record belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner<'a> {
    pub account_ids: [Value<'a>; 2],
    pub account_names: [Value<'a>; 3],
    pub site_ids: [Value<'a>; 2],
    pub site_names: [Value<'a>; 2],
    pub group_ids: [Value<'a>; 2],
    pub group_names: [Value<'a>; 3],
}

/// The user who is, or was, logged in to an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interactive<'a> {
    pub names: [Value<'a>; 2],
    pub email: Value<'a>,
    pub principal_name: Value<'a>,
}

impl<'a> Interactive<'a> {
    /// Returns the value that names the user: a name, else the value that the directory has in its place. The second of
    /// `names` comes last, because it may belong to another user.
    pub fn name(&self) -> Value<'a> {
        let [name, other] = self.names;
        first_scalar([name, self.principal_name, self.email, other])
    }

    /// Returns `email`, if it is an address.
    pub fn address(&self) -> Value<'a> {
        if self.email.escaped().is_some_and(is_email) { self.email } else { Value::default() }
    }
}
