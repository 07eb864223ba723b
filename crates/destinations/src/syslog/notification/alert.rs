//! A new unified alert, for which the console has a line in CEF:2 with keys of its own.

use std::borrow::Cow;

use s1_forwarder_record::{Timestamp, Value};

use super::keys::says_something;
use crate::syslog::cef_fields::Cut;

/// A record of the stream.
#[derive(Debug)]
pub(in crate::syslog) struct Alert<'a> {
    record: Value<'a>,
    /// The primary asset, else the first one.
    asset: Value<'a>,
}

/// Begins the paths below the [asset](Alert::asset).
const ASSET: &str = "asset";

/// The keys in the console's order. The first path that has a value counts.
const KEYS: &[(&str, Cut, &[&str])] = &[
    ("alertId", Cut::Never, &["id"]),
    ("alertName", Cut::Late, &["name"]),
    ("description", Cut::Early, &["description"]),
    ("severity", Cut::Never, &["severity"]),
    ("detectionEngine", Cut::Late, &["analytics.category"]),
    ("product", Cut::Late, &["detectionSource.product"]),
    ("vendor", Cut::Late, &["detectionSource.vendor"]),
    ("detectedAt", Cut::Never, &["detectedAt"]),
    ("firstSeenAt", Cut::Never, &["firstSeenAt"]),
    ("classification", Cut::Late, &["classification"]),
    ("confidenceLevel", Cut::Never, &["confidenceLevel"]),
    ("status", Cut::Never, &["status"]),
    ("analystVerdict", Cut::Never, &["analystVerdict"]),
    ("mitigationStatus", Cut::Never, &["result"]),
    ("assetName", Cut::Late, &["asset.name"]),
    ("assetCategory", Cut::Late, &["asset.category"]),
    ("assetLastLoggedInUser", Cut::Late, &["asset.lastLoggedInUser"]),
    ("sourceAgentUuid", Cut::Never, &["asset.agentUuid"]),
    ("fileProcessName", Cut::Late, &["process.file.name"]),
    ("filePath", Cut::Early, &["process.file.path"]),
    ("fileSha256", Cut::Never, &["process.file.sha256"]),
    ("fileHash", Cut::Never, &["process.file.sha1"]),
    ("fileHashMd5", Cut::Never, &["process.file.md5"]),
    ("originatingProcessName", Cut::Late, &["process.parentName"]),
    ("storylineId", Cut::Never, &["storylineId"]),
    ("accountId", Cut::Never, &["realTime.scope.account.id", "detectionTime.scope.accountId"]),
    ("accountName", Cut::Late, &["realTime.scope.account.name", "detectionTime.scope.accountName"]),
    ("siteId", Cut::Never, &["realTime.scope.site.id", "detectionTime.scope.siteId"]),
    ("siteName", Cut::Late, &["realTime.scope.site.name", "detectionTime.scope.siteName"]),
    ("groupId", Cut::Never, &["realTime.scope.group.id", "detectionTime.scope.groupId"]),
    ("groupName", Cut::Late, &["realTime.scope.group.name", "detectionTime.scope.groupName"]),
];

impl<'a> Alert<'a> {
    /// Reads an alert; `None` without an id.
    pub fn of(record: Value<'a>) -> Option<Self> {
        record.get("id").text()?;
        let assets = record.get("assets");
        let is_primary = |asset: &Value<'_>| asset.get("primary").escaped().is_some_and(|primary| primary.is("true"));
        let asset = assets.elements().find(is_primary).or_else(|| assets.elements().next()).unwrap_or_default();
        Some(Self { record, asset })
    }

    /// Returns the time of the detection.
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::parse_of_record(&self.text("detectedAt")?).ok()
    }

    fn text(&self, path: &str) -> Option<Cow<'a, str>> {
        let keys = path.split('.');
        let value = keys.fold(self.record, |value, key| if key == ASSET { self.asset } else { value.get(key) });
        value.text().filter(|text| says_something(text))
    }

    /// Returns the keys that have a value, each with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Cut, Cow<'a, str>)> {
        KEYS.iter().filter_map(|(key, cut, paths)| {
            let value = paths.iter().find_map(|path| self.text(path))?;
            Some((*key, *cut, value))
        })
    }
}
