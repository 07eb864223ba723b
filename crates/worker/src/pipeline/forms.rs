//! The forms that the JSON Schema has for a place in a pipeline file.

use std::sync::LazyLock;

use s1_forwarder_settings::SettingKind;
use serde_json::Value as Schema;

use super::schema::schema;
use super::yaml::Node;

/// The schemas of one place. There are several if its value has alternatives, or if the file does not say which one it
/// means. There is none for a key that no setting has, and inside of records.
#[derive(Debug, Clone, Default)]
pub(super) struct Forms(Vec<Form>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    schema: &'static Schema,
    /// The kind that the schema names, or the kind of the list, mapping or choice that it belongs to.
    pub(super) kind: Option<SettingKind>,
}

impl Form {
    fn of(schema: &'static Schema, kind: Option<SettingKind>) -> Self {
        Self { schema, kind: SettingKind::of(schema).or(kind) }
    }

    fn alternatives(&self) -> impl Iterator<Item = &'static Schema> + use<> {
        let schema = self.schema;
        ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
    }

    fn key(&self, key: &str) -> Option<Self> {
        match self.schema.get("properties").and_then(|keys| keys.get(key)) {
            Some(schema) => Some(Self::of(schema, None)),
            None => {
                let others =
                    self.schema.get("additionalProperties").filter(|others| **others != Schema::Bool(false))?;
                Some(Self::of(others, self.kind))
            }
        }
    }

    fn accepts_list(&self) -> bool {
        match self.schema.get("type") {
            Some(Schema::Array(types)) => types.iter().any(|name| name == "array"),
            Some(name) => name == "array",
            // Any value.
            None => *self.schema == Schema::Bool(true),
        }
    }

    /// Returns the keys that the schema names, with their kinds.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, Option<SettingKind>)> + use<> {
        let keys = self.schema.get("properties").and_then(Schema::as_object).into_iter().flatten();
        keys.map(|(key, schema)| (key.as_str(), SettingKind::of(schema)))
    }

    /// Returns whether a tenant's file may give a key that the author of a file chooses.
    pub(super) fn may_have(&self, key: &str) -> bool {
        let allowed = self.schema.get("x-tenant-keys").and_then(Schema::as_array);
        allowed.is_none_or(|allowed| allowed.iter().any(|name| name == key))
    }
}

impl Forms {
    /// Returns the forms of a whole file.
    pub(super) fn of_file() -> Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(schema);
        let mut forms = Self::default();
        forms.add(Form::of(&SCHEMA, None));
        forms
    }

    fn add(&mut self, form: Form) {
        self.0.push(form);
        form.alternatives().for_each(|schema| self.add(Form::of(schema, form.kind)));
    }

    fn of_each(&self, inner: impl Fn(&Form) -> Option<Form>) -> Self {
        let mut forms = Self::default();
        self.0.iter().filter_map(inner).for_each(|form| forms.add(form));
        forms
    }

    pub(super) fn of_key(&self, key: &str) -> Self {
        self.of_each(|form| form.key(key))
    }

    pub(super) fn of_elements(&self) -> Self {
        self.of_each(|form| Some(Form::of(form.schema.get("items")?, form.kind)))
    }

    /// Returns the forms that `node` may have by its `type`.
    pub(super) fn of_node(mut self, node: &Node) -> Self {
        let given = node.get("type").and_then(Node::text);
        self.0.retain(|form| match (&form.schema["properties"]["type"]["const"], given) {
            (Schema::String(name), Some(given)) => name == given,
            _ => true,
        });
        self
    }

    /// Returns the values that `type` may have.
    pub(super) fn types(&self) -> Vec<&'static str> {
        self.iter().filter_map(|form| form.schema["properties"]["type"]["const"].as_str()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Form> {
        self.0.iter()
    }

    pub(super) fn has(&self, kind: SettingKind) -> bool {
        self.iter().any(|form| form.kind == Some(kind))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns whether the value at `path` may be a list, or if a pipeline file has no such path. In place of a mapping,
/// serde would accept a list of its values in order. These have no keys, so the rules for tenants would not see them.
pub(super) fn may_be_list(path: &str) -> bool {
    let mut forms = Forms::of_file();
    for part in path.split('.') {
        let key = part.split('[').next().unwrap_or_default();
        forms = forms.of_key(key);
        (0..part.matches('[').count()).for_each(|_| forms = forms.of_elements());
    }
    forms.is_empty() || forms.iter().any(Form::accepts_list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks `schema`, which is at `path`, and reports places that the rules for tenants could not see.
    fn faults(schema: &Schema, path: &str, kind: Option<SettingKind>, found: &mut Vec<String>) {
        let own = SettingKind::of(schema);
        if own.is_none() && schema.get("x-kind").is_some() {
            found.push(format!("{path}: the `x-kind` is none"));
        }
        let kind = own.or(kind);
        let mut inner = Vec::new();
        for (index, form) in ["oneOf", "anyOf"].iter().filter_map(|key| schema[key].as_array()).flatten().enumerate() {
            inner.push((form, format!("{path}<{index}>"), kind));
        }
        inner.extend(schema.get("items").map(|items| (items, format!("{path}[]"), kind)));
        let others = schema.get("additionalProperties").filter(|others| **others != Schema::Bool(false));
        inner.extend(others.map(|others| (others, format!("{path}.*"), kind)));
        let keys = schema["properties"].as_object();
        inner.extend(keys.into_iter().flatten().map(|(key, schema)| (schema, format!("{path}.{key}"), None)));
        let is_closed = schema["additionalProperties"] == Schema::Bool(false);
        if keys.is_some() && !is_closed {
            found.push(format!("{path}: unknown keys are not refused"));
        }
        let types = schema["type"].to_string();
        let is_of_words = schema.get("const").is_some() || schema.get("enum").is_some();
        let is_free = inner.is_empty() && !is_closed && !is_of_words;
        let may_be_text =
            types.contains("string") || types.contains("object") || types == "null" || schema.is_boolean();
        let may_use_the_worker = types.contains("boolean") || (may_be_text && is_free);
        if kind.is_none() && may_use_the_worker {
            found.push(format!("{path}: no kind"));
        }
        inner.into_iter().for_each(|(schema, path, kind)| faults(schema, &path, kind, found));
    }

    /// A new key without a kind fails here. Give it one in the place of its type or of the key:
    /// `#[schemars(extend("x-kind" = SettingKind::…))]`.
    #[test]
    fn every_setting_that_may_use_the_worker_has_a_kind() {
        let mut found = Vec::new();
        faults(&schema(), "", None, &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_list_is_where_the_schema_has_one() {
        for list in [
            "sinks",
            "tests",
            "console.accounts",
            "console.token",
            "console.tls.pin_sha256",
            "sinks[3].urls",
            "sinks[0].auth.tls.pin_sha256",
            "streams.unified_alerts.products",
            "tests[0].expect.a",
            "tests[0].record.data",
        ] {
            assert!(may_be_list(list), "{list}");
        }
        for other in [
            "console",
            "streams",
            "streams.threats",
            "sinks[0]",
            "sinks[0].auth",
            "sinks[0].headers",
            "sinks[0].headers.X",
            "sinks[0].token",
            "console.token[0]",
            "console.tls",
            "transform.redact[0].key",
        ] {
            assert!(!may_be_list(other), "{other}");
        }
    }
}
