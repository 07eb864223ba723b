//! Makes a structural schema of Kubernetes from our JSON Schema.
//!
//! A structural schema has one type at each place, and no alternatives. So the alternatives of our schema become one
//! form. Numbers and texts become `x-kubernetes-int-or-string`. Objects with a `type` become one object with the keys
//! of all; rules in CEL say which keys belong to which type. The worker checks limits that have no such form.

use std::collections::BTreeMap;

use s1_forwarder_settings::SettingKind;
use serde_json::{Map, Value, json};

type Schema = Map<String, Value>;

const VALIDATIONS: &str = "x-kubernetes-validations";
const FREE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
/// Keywords that mean the same in JSON Schema and in a structural schema.
const KEPT: [&str; 10] = [
    "description",
    "enum",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "required",
];
/// Longest text that a rule looks at. The API server limits what rules may cost.
const MAX_CHECKED: usize = 64;
/// Kinds of settings that a resource may not name, since they would be the worker's own.
const OPERATORS: [SettingKind; 2] = [SettingKind::WorkerIdentity, SettingKind::FilesInDocument];
/// Words that CEL writes differently.
const RESERVED: [&str; 12] =
    ["as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "namespace", "package"];

fn is_operators(schema: &Value) -> bool {
    SettingKind::of(schema).is_some_and(|kind| OPERATORS.contains(&kind))
}

/// Returns the structural schema of `schema`, which is at `key`. Defaults become part of the descriptions: the API
/// server would write them into the resource, where they would precede the defaults of `--defaults`.
pub(super) fn structural(schema: &Value, key: &str) -> Schema {
    let given = schema.as_object().cloned().unwrap_or_default();
    let mut result = match title(schema) {
        "secret" | "secret, or a list of two" => secret_ref(),
        "duration" => checked(PERIOD, "is not a period such as 500ms, 60s, 5m, 12h or 30d"),
        "start time" => checked(
            SINCE,
            "is neither a period (30d), a time with zone (2026-01-31T00:00:00Z), a day in UTC (2026-01-31), `now` nor `beginning`",
        ),
        "text, number, boolean or secret" | "path or object" | "object" => free(),
        _ => match alternatives(schema) {
            Some(forms) => one_of(forms, key),
            None => typed(&given, key),
        },
    };
    if is_nullable(schema) {
        result.insert("nullable".to_owned(), true.into());
    }
    describe(&mut result, &given);
    result
}

const PERIOD: &str = r"^\\s*(0|[0-9]{1,12}(ms|s|m|h|d))\\s*$";
const SINCE: &str = r"^(now|beginning|0|[0-9]{1,12}(ms|s|m|h|d)|[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:?[0-9]{2}))?)$";

fn title(schema: &Value) -> &str {
    schema.get("title").and_then(Value::as_str).unwrap_or_default()
}

/// Returns the schema of `{ secretRef: { name, key } }`: a key of a Secret in the resource's namespace.
fn secret_ref() -> Schema {
    let name = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    let reference = json!({
        "type": "object",
        "description": "A key of a Secret in the namespace of this resource.",
        "properties": {
            "name": { "type": "string", "description": "Name of the Secret.", "maxLength": 253, "pattern": name },
            "key": { "type": "string", "description": "Key in the Secret.", "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$" },
        },
        "required": ["name", "key"],
    });
    object(json!({ "type": "object", "properties": { "secretRef": reference }, "required": ["secretRef"] }))
}

/// Returns a schema that accepts anything: the worker validates it.
fn free() -> Schema {
    object(json!({ FREE: true }))
}

/// Returns the schema of a text that must match, with the same words as `check`.
fn checked(pattern: &str, problem: &str) -> Schema {
    let rule = json!({
        "rule": format!("self.matches('{pattern}')"),
        "messageExpression": format!("'`' + self + '` {problem}'"),
    });
    object(json!({ "type": "string", "maxLength": MAX_CHECKED, VALIDATIONS: [rule] }))
}

fn object(value: Value) -> Schema {
    match value {
        Value::Object(schema) => schema,
        _ => Schema::new(),
    }
}

/// Returns the forms of a schema that has several; without `null`.
fn alternatives(schema: &Value) -> Option<Vec<Value>> {
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(forms.iter().filter(|form| form["type"] != "null").cloned().collect())
}

fn is_nullable(schema: &Value) -> bool {
    let types = schema.get("type").and_then(Value::as_array);
    let forms = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array);
    types.is_some_and(|types| types.contains(&"null".into()))
        || forms.is_some_and(|forms| forms.iter().any(|form| form["type"] == "null"))
}

fn one_of(forms: Vec<Value>, key: &str) -> Schema {
    if let [only] = forms.as_slice() {
        return structural(only, key);
    }
    if let Some(words) = forms.iter().map(words).collect::<Option<Vec<_>>>() {
        return enumeration(&words.concat());
    }
    if forms.iter().all(is_tagged) { tagged(&forms) } else { free() }
}

/// Returns the innermost forms of a schema, whose forms may have forms of their own; without `null`.
fn innermost(schema: &Value) -> Vec<Value> {
    match alternatives(schema) {
        Some(forms) => forms.iter().flat_map(innermost).collect(),
        None => vec![schema.clone()],
    }
}

/// Returns whether a schema describes an object with a fixed `type`.
fn is_tagged(form: &Value) -> bool {
    form["properties"]["type"]["const"].is_string()
}

/// Returns the words of an enumeration, each with its description.
fn words(form: &Value) -> Option<Vec<(String, String)>> {
    let description = form["description"].as_str().unwrap_or_default();
    let word = |word: &Value| Some((word.as_str()?.to_owned(), description.to_owned()));
    match (&form["const"], &form["enum"]) {
        (Value::String(_), _) => Some(vec![word(&form["const"])?]),
        (_, Value::Array(all)) => all.iter().map(word).collect(),
        _ => None,
    }
}

fn enumeration(words: &[(String, String)]) -> Schema {
    let all: Vec<&String> = words.iter().map(|(word, _)| word).collect();
    let described = words.iter().filter(|(_, text)| !text.is_empty());
    let texts: Vec<String> = described.map(|(word, text)| format!("`{word}`: {text}")).collect();
    let mut schema = object(json!({ "type": "string", "enum": all }));
    if !texts.is_empty() {
        schema.insert("description".to_owned(), texts.join(" ").into());
    }
    schema
}

/// Returns the schema of one object for objects that differ in their `type`.
pub(super) fn tagged(forms: &[Value]) -> Schema {
    let mut properties: BTreeMap<String, Schema> = BTreeMap::new();
    // By key, the types that have the key (`types_of`), and those that need it (`needed_by`).
    let mut types_of = BTreeMap::<String, Vec<&str>>::new();
    let mut needed_by = BTreeMap::<String, Vec<&str>>::new();
    let mut types = Vec::new();
    // The forms of keys whose values have types of their own, of all types that have the key.
    let mut inner: BTreeMap<&String, Vec<Value>> = BTreeMap::new();
    for form in forms {
        let name = form["properties"]["type"]["const"].as_str().unwrap_or_default();
        let description = form["description"].as_str().unwrap_or_default();
        types.push((name.to_owned(), description.to_owned()));
        let keys = form["properties"].as_object().into_iter().flatten();
        for (key, given) in keys.filter(|(key, given)| *key != "type" && !is_operators(given)) {
            let schema = structural(given, key);
            types_of.entry(key.clone()).or_default().push(name);
            let known = inner.entry(key).or_default();
            for alternative in innermost(given) {
                if !known.iter().any(|other| other["properties"]["type"] == alternative["properties"]["type"]) {
                    known.push(alternative);
                }
            }
            let merged = match properties.remove(key) {
                Some(before) if known.iter().all(is_tagged) => {
                    let mut all = tagged(known);
                    all.extend(
                        before.into_iter().filter(|(name, _)| matches!(name.as_str(), "description" | "nullable")),
                    );
                    all
                }
                Some(before) => merge(before, schema),
                None => schema,
            };
            properties.insert(key.clone(), merged);
        }
        for key in form["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            needed_by.entry(key.to_owned()).or_default().push(name);
        }
    }
    let mut rules = Vec::new();
    let mut rule = |rule: String, message: String| rules.push(json!({ "rule": rule, "message": message }));
    for (key, schema) in &properties {
        let names = types_of.get(key).map(Vec::as_slice).unwrap_or_default();
        if names.len() < forms.len() && is_visible(schema) {
            let message = format!("unknown key; `{key}` is a key of {}", names.join(", "));
            rule(format!("!has(self.{}) || {}", escape(key), is_one_of(names)), message);
        }
        if let Some(names) = needed_by.get(key)
            && is_visible(schema)
        {
            let rule_text = format!("!({}) || has(self.{})", is_one_of(names), escape(key));
            rule(rule_text, format!("missing key `{key}`"));
        }
    }
    for (key, schema) in &mut properties {
        let names = types_of.get(key).map(Vec::as_slice).unwrap_or_default();
        if names.len() < forms.len() {
            let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let text = format!("[{}] {text}", names.join(", "));
            schema.insert("description".to_owned(), text.trim_end().into());
        }
    }
    properties.insert("type".to_owned(), enumeration(&types));
    object(json!({ "type": "object", "properties": properties, "required": ["type"], VALIDATIONS: rules }))
}

fn is_one_of(types: &[&str]) -> String {
    let types: Vec<String> = types.iter().map(|name| format!("'{name}'")).collect();
    format!("self.type in [{}]", types.join(", "))
}

/// Returns whether CEL sees a value with this schema: it does not see values without a type.
fn is_visible(schema: &Schema) -> bool {
    let values = schema.get("additionalProperties").and_then(Value::as_object);
    (schema.contains_key("type") || schema.contains_key(INT_OR_STRING)) && values.is_none_or(is_visible)
}

fn escape(key: &str) -> String {
    if RESERVED.contains(&key) { format!("__{key}__") } else { key.to_owned() }
}

/// Merges the schemas of a key that two types have.
fn merge(mut one: Schema, other: Schema) -> Schema {
    let form = |schema: &Schema| {
        let keys = ["type", "items", "additionalProperties", INT_OR_STRING, FREE];
        keys.map(|key| schema.get(key).cloned())
    };
    if form(&one) != form(&other) {
        let mut result = free();
        result.extend(one.remove_entry("description"));
        return result;
    }
    if other.contains_key("nullable") {
        one.insert("nullable".to_owned(), true.into());
    }
    // The worker checks a limit that only one of the types has.
    for key in ["pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", VALIDATIONS] {
        if one.get(key) != other.get(key) {
            one.remove(key);
        }
    }
    let words = |schema: &Schema, key: &str| -> Vec<Value> {
        schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    if one.contains_key("enum") {
        let mut all = words(&one, "enum");
        all.extend(words(&other, "enum").into_iter().filter(|word| !words(&one, "enum").contains(word)));
        one.insert("enum".to_owned(), all.into());
    }
    if let (Some(known), Some(more)) = (one.get("properties").cloned(), other.get("properties")) {
        let both = words(&other, "required");
        let required: Vec<Value> = words(&one, "required").into_iter().filter(|key| both.contains(key)).collect();
        one.insert("required".to_owned(), required.into());
        let mut properties = object(known);
        for (key, schema) in more.as_object().into_iter().flatten() {
            let schema = object(schema.clone());
            let merged = match properties.remove(key) {
                Some(known) => merge(object(known), schema),
                None => schema,
            };
            properties.insert(key.clone(), merged.into());
        }
        one.insert("properties".to_owned(), properties.into());
    }
    one
}

/// Returns the structural schema of a schema with one form.
fn typed(given: &Schema, key: &str) -> Schema {
    let mut result: Schema = given.iter().filter(|(key, _)| KEPT.contains(&key.as_str())).map(own).collect();
    let types: Vec<&str> = match given.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ if given.contains_key("const") || given.contains_key("enum") => vec!["string"],
        _ => Vec::new(),
    };
    if let Some(word) = given.get("const") {
        result.insert("enum".to_owned(), json!([word]));
    }
    if let Some(all) = result.get_mut("enum").and_then(Value::as_array_mut) {
        all.retain(|word| !word.is_null());
    }
    // Draft 2020-12 has a number here.
    if let Some(minimum) = given.get("exclusiveMinimum").filter(|minimum| minimum.is_number()) {
        result.insert("minimum".to_owned(), minimum.clone());
        result.insert("exclusiveMinimum".to_owned(), true.into());
    }
    match types.as_slice() {
        ["object"] => members(&mut result, given, key),
        ["array"] => {
            let items = given.get("items").map_or_else(free, |items| structural(items, key));
            result.insert("type".to_owned(), "array".into());
            result.insert("items".to_owned(), items.into());
        }
        [name] => _ = result.insert("type".to_owned(), (*name).into()),
        ["string", "integer"] | ["integer", "string"] => _ = result.insert(INT_OR_STRING.to_owned(), true.into()),
        _ => return free(),
    }
    result
}

fn own((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn members(result: &mut Schema, given: &Schema, key: &str) {
    result.insert("type".to_owned(), "object".into());
    let properties = given.get("properties").and_then(Value::as_object);
    if let Some(properties) = properties.filter(|properties| !properties.is_empty()) {
        let properties = properties.iter().filter(|(_, schema)| !is_operators(schema));
        let member = |(name, schema): (&String, &Value)| {
            let member = if key == "tls" && name.ends_with("_file") {
                let mut member = secret_ref();
                describe(&mut member, &object(schema.clone()));
                member
            } else {
                structural(schema, name)
            };
            (name.clone(), Value::Object(member))
        };
        let properties: Schema = properties.map(member).collect();
        if key == "tls" {
            let needs = |one: &str, other: &str| json!({ "rule": format!("!has(self.{one}) || has(self.{other})"), "message": format!("`{one}` needs `{other}` too") });
            let rules = json!([needs("cert_file", "key_file"), needs("key_file", "cert_file")]);
            result.insert(VALIDATIONS.to_owned(), rules);
        }
        result.insert("properties".to_owned(), properties.into());
        return;
    }
    match given.get("additionalProperties") {
        // In a map, such as `headers`, a value may also be a text.
        Some(Value::Object(values)) if title(&values.clone().into()) == "secret" => {
            result.insert("additionalProperties".to_owned(), free().into());
        }
        Some(Value::Object(values)) => {
            let values = structural(&values.clone().into(), key);
            result.insert("additionalProperties".to_owned(), values.into());
        }
        Some(Value::Bool(false)) => {}
        _ => _ = result.insert(FREE.to_owned(), true.into()),
    }
}

/// Sets the description and the default. The description is the place's own, or the form's if the place has none.
fn describe(result: &mut Schema, given: &Schema) {
    let own = given.get("description").and_then(Value::as_str);
    let words = if result.contains_key("enum") { result.get("description").and_then(Value::as_str) } else { None };
    let mut text = match (own, words) {
        (Some(own), Some(words)) if own != words => format!("{own} {words}"),
        (Some(own), _) => own.to_owned(),
        (None, _) => result.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    let default = match given.get("default") {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(default @ (Value::Bool(_) | Value::Number(_))) => Some(default.to_string()),
        _ => None,
    };
    if let Some(default) = default
        && !text.contains("efault")
    {
        text = format!("{text} Default: `{default}`.");
    }
    if !text.is_empty() {
        result.insert("description".to_owned(), text.trim().into());
    }
}
