//! Which settings are lists.

/// The keys of lists. In place of a mapping, serde would take a list of its values in order, which have no keys: the
/// rules for tenants would not see them.
const LISTS: [&str; 22] = [
    "absent",
    "accounts",
    "addresses",
    "bearer_tokens",
    "brokers",
    "drop",
    "exclude_types",
    "groups",
    "include",
    "pin_sha256",
    "products",
    "redact",
    "severities",
    "sinks",
    "sites",
    "statuses",
    "streams",
    "tests",
    "token",
    "types",
    "urls",
    "volatile",
];

/// Whether the value of `key`, with the keys on the way to it, may be a list. An element of a list may not: its key
/// ends with its index. Records of tests are what the console sends.
pub(super) fn may_be_list(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or_default();
    key.starts_with("tests[") || (LISTS.contains(&name) && key != "streams")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of properties that are arrays.
    fn arrays<'a>(schema: &'a serde_json::Value, found: &mut BTreeSet<&'a str>) {
        let is_array = |schema: &serde_json::Value| {
            let takes_list = |value: &serde_json::Value| value["type"].to_string().contains("array");
            let any = ["anyOf", "oneOf"].iter().filter_map(|key| schema[key].as_array()).flatten().any(takes_list);
            any || takes_list(schema)
        };
        match schema {
            serde_json::Value::Object(map) => {
                let properties = map.get("properties").and_then(serde_json::Value::as_object);
                let arrays_of = properties.into_iter().flatten().filter(|(_, schema)| is_array(schema));
                found.extend(arrays_of.map(|(key, _)| key.as_str()));
                map.values().for_each(|inner| arrays(inner, found));
            }
            serde_json::Value::Array(elements) => elements.iter().for_each(|inner| arrays(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn lists_are_where_the_schema_has_them() {
        let schema = super::super::schema();
        let mut found = BTreeSet::new();
        arrays(&schema, &mut found);
        // Of `--web-config`, which the same reader reads.
        found.insert("bearer_tokens");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), LISTS);
    }
}
