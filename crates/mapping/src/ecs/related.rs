//! The fields `related.*` of an ECS event.

use s1_forwarder_record::Escaped;

use crate::common::address::Address;
use crate::common::missing::is_missing_word;
use crate::common::text_set::TextSet;
use crate::json::Json;

/// `related.*`: values that analysts search by, without duplicates, in order of first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Related {
    pub ip: TextSet,
    pub hash: TextSet,
    pub user: TextSet,
    pub hosts: TextSet,
}

impl Related {
    pub fn clear(&mut self) {
        [&mut self.ip, &mut self.hash, &mut self.user, &mut self.hosts].into_iter().for_each(TextSet::clear);
    }

    /// Adds an address, unless it is loopback or unspecified: every machine has these.
    pub fn add_ip(&mut self, address: &Address) {
        if address.is_own() {
            self.ip.add(address.as_escaped());
        }
    }

    /// Adds the name of a host. A name that is an address goes to `related.ip`.
    pub fn add_host(&mut self, name: Escaped<'_>) {
        match Address::of(name) {
            Some(address) => self.add_ip(&address),
            None if is_missing_word(name) => {}
            None => self.hosts.insert(name),
        }
    }

    pub fn write(&self, json: &mut Json<'_>) {
        let related = json.open("related");
        for (name, set) in [("ip", &self.ip), ("hash", &self.hash), ("user", &self.user), ("hosts", &self.hosts)] {
            set.write(json, name);
        }
        json.close(related);
    }
}
