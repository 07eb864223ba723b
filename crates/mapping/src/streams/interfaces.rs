//! `networkInterfaces` of agents and threats.

use s1_forwarder_record::Cursor;

use crate::parts::{Interface, Interfaces};

impl<'a> Interfaces<'a> {
    /// Calls `visit` with each interface, in one pass over the list.
    pub fn each(self, mut visit: impl FnMut(&Interface<'a>)) {
        Cursor::new(self.list).each_element(|cursor| {
            // An element that is not an object has more than an interface can hold.
            let mut interface = Interface { has_more: true, ..Interface::default() };
            let mut is_object = false;
            cursor.each_entry(|cursor, key| {
                let value = cursor.value();
                interface.has_more &= is_object;
                is_object = true;
                let known = match key {
                    "id" => &mut interface.id,
                    "name" => &mut interface.name,
                    "physical" => &mut interface.mac,
                    "inet" => &mut interface.addresses[0],
                    "inet6" => &mut interface.addresses[1],
                    "gatewayIp" => &mut interface.gateway,
                    _ => return interface.has_more |= !value.is_empty(),
                };
                if known.is_empty() {
                    *known = value;
                } else {
                    interface.has_more = true;
                }
            });
            visit(&interface);
        });
    }
}
