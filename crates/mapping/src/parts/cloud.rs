//! The cloud that an endpoint runs in: the account and the machine of a provider.

use s1_forwarder_record::{Escaped, Value};

use crate::common::cloud::region_of_zone;

/// None of the values has a field of its own, so they stay in the record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cloud<'a> {
    /// The name as received.
    pub provider: Option<Escaped<'a>>,
    pub account: Value<'a>,
    pub project: Value<'a>,
    pub instance: Value<'a>,
    pub machine_type: Value<'a>,
    pub image: Value<'a>,
    pub network: Value<'a>,
    /// A region or a zone.
    pub location: Value<'a>,
    pub region: Value<'a>,
    pub zone: Value<'a>,
}

impl<'a> Cloud<'a> {
    /// Returns the region and the availability zone.
    pub fn region_and_zone(&self) -> [Option<Escaped<'a>>; 2] {
        let location = self.location.escaped();
        let zone = self.zone.escaped();
        let region_of_zone = location.or(zone).and_then(region_of_zone);
        let zone_at_location = if region_of_zone.is_some() { location } else { None };
        [self.region.escaped().or(region_of_zone).or(location), zone.or(zone_at_location)]
    }
}
