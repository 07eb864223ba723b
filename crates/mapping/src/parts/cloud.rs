//! Where an endpoint runs: the account and the machine of a cloud provider.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind, Value};

use crate::common::cloud::region_of_zone;
use crate::common::placeholder::{first_scalar, is_placeholder};

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
    pub subnet: Value<'a>,
    /// A region or a zone.
    location: Value<'a>,
    region: Value<'a>,
    zone: Value<'a>,
}

impl<'a> Cloud<'a> {
    /// The first of `cloudProviders` that is not empty.
    pub fn of_providers(providers: Value<'a>) -> Self {
        let is_used = |(name, provider): &(Cow<'a, str>, Value<'a>)| {
            !name.is_empty() && provider.kind() == Kind::Object && !provider.is_empty()
        };
        // No provider's name has escapes.
        let Some((Cow::Borrowed(name), provider)) = providers.entries().find(is_used) else { return Self::default() };
        Self {
            provider: Some(Escaped::plain(name)),
            account: provider.get("cloudAccount"),
            instance: provider.get("cloudInstanceId"),
            machine_type: provider.get("cloudInstanceSize"),
            image: provider.get("cloudImage"),
            network: provider.get("cloudNetwork"),
            subnet: first_scalar([provider.get("cloudSubnet"), provider.get("subnetUid")]),
            location: provider.get("cloudLocation"),
            ..Self::default()
        }
    }

    /// From the flat object of a unified alert with its provider-specific details.
    pub fn of_details(cloud: Value<'a>) -> Self {
        let details = cloud.get("providerDetails");
        Self {
            provider: cloud.get("cloudProvider").escaped().filter(|text| !is_placeholder(*text)),
            account: first_scalar([details.get("subscriptionId"), cloud.get("accountId")]),
            project: details.get("projectId"),
            instance: first_scalar([cloud.get("instanceId"), details.get("instanceId")]),
            machine_type: first_scalar([cloud.get("instanceSize"), details.get("instanceType")]),
            location: cloud.get("location"),
            region: details.get("region"),
            zone: details.get("zone"),
            ..Self::default()
        }
    }

    /// The region and the availability zone.
    pub fn region_and_zone(&self) -> [Option<Escaped<'a>>; 2] {
        let location = self.location.escaped();
        let zone = self.zone.escaped();
        let region_of_zone = location.or(zone).and_then(region_of_zone);
        let zone_at_location = if region_of_zone.is_some() { location } else { None };
        [self.region.escaped().or(region_of_zone).or(location), zone.or(zone_at_location)]
    }
}
