//! `observables[]`: values that analysts search by, with the paths where the event has them.

use s1_forwarder_record::Escaped;

use crate::fnv::fnv1a;
use crate::json::Json;

/// Maximum number of observables in one event.
const MAX_OBSERVABLES: usize = 64;

/// The type of an observable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObservableType {
    Hostname,
    IpAddress,
    MacAddress,
    UserName,
    EmailAddress,
    Url,
    FileName,
    Hash,
    ProcessName,
    CommandLine,
    FilePath,
    RegistryKey,
    RoleName,
    RoleId,
}

impl ObservableType {
    /// Returns `type_id` and `type` as JSON.
    pub fn json(self) -> &'static str {
        match self {
            Self::Hostname => r#"","type_id":1,"type":"Hostname","value":""#,
            Self::IpAddress => r#"","type_id":2,"type":"IP Address","value":""#,
            Self::MacAddress => r#"","type_id":3,"type":"MAC Address","value":""#,
            Self::UserName => r#"","type_id":4,"type":"User Name","value":""#,
            Self::EmailAddress => r#"","type_id":5,"type":"Email Address","value":""#,
            Self::Url => r#"","type_id":6,"type":"URL String","value":""#,
            Self::FileName => r#"","type_id":7,"type":"File Name","value":""#,
            Self::Hash => r#"","type_id":8,"type":"Hash","value":""#,
            Self::ProcessName => r#"","type_id":9,"type":"Process Name","value":""#,
            Self::CommandLine => r#"","type_id":13,"type":"Command Line","value":""#,
            Self::FilePath => r#"","type_id":45,"type":"File Path","value":""#,
            Self::RegistryKey => r#"","type_id":46,"type":"Registry Key Path","value":""#,
            Self::RoleName => r#"","type_id":49,"type":"IAM Role Object: name","value":""#,
            Self::RoleId => r#"","type_id":50,"type":"IAM Role Object: uid","value":""#,
        }
    }

    /// Returns the value of `type`, for the manual.
    pub fn caption(self) -> &'static str {
        self.json().split('"').nth(6).unwrap_or_default()
    }
}

/// The observables of one event, as JSON without brackets.
#[derive(Debug, Clone, Default)]
pub(super) struct Observables {
    json: Vec<u8>,
    /// The type, the fingerprint, and the start and the end of the value in `json`.
    entries: Vec<(ObservableType, u64, usize, usize)>,
}

impl Observables {
    pub fn clear(&mut self) {
        self.json.clear();
        self.entries.clear();
    }

    pub fn has(&self, kind: ObservableType, value: Escaped<'_>) -> bool {
        let value = value.raw().as_bytes();
        let fingerprint = fnv1a(value);
        self.entries.iter().any(|(of_kind, of_value, start, end)| {
            *of_kind == kind && *of_value == fingerprint && &self.json[*start..*end] == value
        })
    }

    /// Adds a value, unless the list already has it with this type. Its path is `object`, a dot and `attribute`.
    pub fn add(&mut self, kind: ObservableType, object: &str, attribute: &str, value: Escaped<'_>) {
        if self.entries.len() == MAX_OBSERVABLES || value.raw().is_empty() || self.has(kind, value) {
            return;
        }
        let value = value.raw().as_bytes();
        let json = &mut self.json;
        json.reserve(value.len() + object.len() + attribute.len() + 80);
        json.extend_from_slice(if json.is_empty() { br#"{"name":""# } else { br#",{"name":""# });
        json.extend_from_slice(object.as_bytes());
        if !object.is_empty() {
            json.push(b'.');
        }
        json.extend_from_slice(attribute.as_bytes());
        json.extend_from_slice(kind.json().as_bytes());
        let start = json.len();
        json.extend_from_slice(value);
        self.entries.push((kind, fnv1a(value), start, json.len()));
        json.extend_from_slice(b"\"}");
    }

    pub fn write(&self, json: &mut Json<'_>) {
        let list = json.open_list("observables");
        json.raw(&self.json);
        json.close(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::DistinctNames;

    #[test]
    fn a_value_is_listed_once_for_each_type_and_lists_are_limited() {
        let mut observables = Observables::default();
        let text = Escaped::plain;
        observables.add(ObservableType::Hostname, "device", "hostname", text("a"));
        observables.add(ObservableType::Hostname, "", "name", text("a"));
        observables.add(ObservableType::UserName, "", "name", text("a"));
        observables.add(ObservableType::UserName, "", "name", text(""));
        let expected = r#"{"name":"device.hostname","type_id":1,"type":"Hostname","value":"a"},{"name":"name","type_id":4,"type":"User Name","value":"a"}"#;
        assert_eq!(String::from_utf8(observables.json.clone()).unwrap(), expected);
        let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for number in &numbers {
            observables.add(ObservableType::Hash, "", "x", text(number));
        }
        assert_eq!(observables.entries.len(), MAX_OBSERVABLES);
        observables.clear();
        let mut out = Vec::new();
        let mut names = DistinctNames::default();
        observables.write(&mut Json::new(&mut out, &mut names));
        assert!(out.is_empty());
    }
}
