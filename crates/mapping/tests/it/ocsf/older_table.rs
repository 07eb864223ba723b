//! `src/ocsf/v1_3/table.rs` is made from the schemas of 1.9.0 and 1.3.0. `UPDATE_GOLDEN=1` writes it, every other run
//! compares it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::validity::{NEWEST, OLDER};

/// The table's rows for an object or a class.
#[derive(Default)]
struct Kind {
    required: Vec<String>,
    one_of: Vec<String>,
    rows: BTreeMap<String, Row>,
}

#[derive(Default)]
struct Row {
    profile: Option<String>,
    rule: Rule,
}

#[derive(Default, PartialEq, Eq)]
enum Rule {
    #[default]
    Same,
    Absent,
    Object(String),
    Values(BTreeSet<u64>),
}

impl Kind {
    /// Returns whether 1.3.0 may refuse an object of this kind.
    fn may_fail(&self) -> bool {
        !self.required.is_empty() || !self.one_of.is_empty()
    }
}

fn properties(definition: &Value) -> impl Iterator<Item = &String> {
    definition["properties"].as_object().into_iter().flat_map(Map::keys)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the attributes of which a JSON Schema requires at least one, or exactly one.
fn one_of(definition: &Value) -> Vec<String> {
    let demands = definition["allOf"].as_array().into_iter().flatten();
    let lists = demands.flat_map(|demand| ["anyOf", "oneOf"].into_iter().filter_map(|key| demand[key].as_array()));
    lists.flatten().flat_map(|one| texts(&one["required"])).collect()
}

fn values(meta: &Value) -> BTreeSet<u64> {
    meta["enum"].as_object().into_iter().flat_map(Map::keys).filter_map(|value| value.parse().ok()).collect()
}

/// Returns the differences. `newer` are the definitions of 1.9.0 whose attributes may be there, each with the rules
/// that JSON Schema cannot express.
fn kind(newer: &[(&Value, &Value)], older: (&Value, &Value)) -> Kind {
    let (definition, meta) = older;
    let mut kind = Kind { required: texts(&definition["required"]), one_of: one_of(definition), ..Kind::default() };
    for (newer_definition, newer_meta) in newer {
        for name in properties(newer_definition) {
            let row = kind.rows.entry(name.clone()).or_default();
            if definition["properties"].get(name).is_none() {
                row.rule = Rule::Absent;
                continue;
            }
            let attribute = &meta[name];
            row.profile = attribute["profile"].as_str().map(str::to_owned);
            let object = attribute["type"].as_str().map(defined);
            let object = object.filter(|name| OLDER.schema["$defs"][name.as_str()]["properties"].is_object());
            if let Some(object) = object {
                row.rule = Rule::Object(object);
                continue;
            }
            // The class and the type come from the older class.
            let gone = &values(&newer_meta[name]) - &values(attribute);
            if !gone.is_empty() && !["activity_id", "category_uid", "class_uid", "type_uid"].contains(&name.as_str()) {
                match &mut row.rule {
                    Rule::Values(known) => known.extend(gone),
                    rule => *rule = Rule::Values(gone),
                }
            }
        }
    }
    kind
}

/// Removes from each kind the rows that are the same in both versions.
fn reduce(kinds: &mut BTreeMap<String, Kind>, newer: impl Fn(&str) -> Vec<&'static Value>) {
    let is_said_before = |kind: &str, demand: &dyn Fn(&Value) -> bool| newer(kind).into_iter().all(demand);
    loop {
        let failing: BTreeSet<_> =
            kinds.iter().filter(|(_, kind)| kind.may_fail()).map(|(name, _)| name.clone()).collect();
        let mut changed = false;
        for (name, kind) in kinds.iter_mut() {
            let rows = &kind.rows;
            let may_be_lost = |attribute: &String| match rows.get(attribute).map(|row| &row.rule) {
                Some(Rule::Object(object)) => failing.contains(object),
                rule => rule == Some(&Rule::Absent),
            };
            let before = (kind.required.len(), kind.one_of.len());
            let is_required =
                |definition: &Value, attribute: &String| texts(&definition["required"]).contains(attribute);
            kind.required.retain(|attribute| {
                may_be_lost(attribute) || !is_said_before(name, &|definition| is_required(definition, attribute))
            });
            let is_implied = |definition: &Value| {
                let newer = one_of(definition);
                !newer.is_empty()
                    && newer.iter().all(|attribute| kind.one_of.contains(attribute) && !may_be_lost(attribute))
            };
            if is_said_before(name, &is_implied) {
                kind.one_of.clear();
            }
            changed |= before != (kind.required.len(), kind.one_of.len());
        }
        if !changed {
            break;
        }
    }
    let is_same = |kind: &Kind| kind.rows.values().all(|row| row.profile.is_none() && row.rule == Rule::Same);
    loop {
        let different: BTreeSet<_> =
            kinds.iter().filter(|(_, kind)| kind.may_fail() || !is_same(kind)).map(|(name, _)| name.clone()).collect();
        let mut changed = false;
        for kind in kinds.values_mut() {
            for row in kind.rows.values_mut() {
                if matches!(&row.rule, Rule::Object(object) if !different.contains(object)) {
                    row.rule = Rule::Same;
                    changed = true;
                }
            }
        }
        kinds.retain(|name, _| different.contains(name));
        if !changed {
            break;
        }
    }
    for kind in kinds.values_mut() {
        kind.rows.retain(|_, row| row.profile.is_some() || row.rule != Rule::Same);
    }
}

fn print(kind: &Kind, profiles: &[String], out: &mut String) {
    let list = |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    writeln!(out, "    required: &[{}],", list(&kind.required)).unwrap();
    writeln!(out, "    one_of: &[{}],", list(&kind.one_of)).unwrap();
    out.push_str("    rows: &[\n");
    for (name, row) in &kind.rows {
        let profile =
            row.profile.as_ref().map_or(0, |profile| 1 << profiles.iter().position(|known| known == profile).unwrap());
        let rule = match &row.rule {
            Rule::Same => "Same".to_owned(),
            Rule::Absent => "Absent".to_owned(),
            Rule::Object(object) => format!("Object(&{})", constant(object)),
            Rule::Values(values) => format!("Values(&{values:?})").replace('{', "[").replace('}', "]"),
        };
        writeln!(out, "        Row::new(\"{name}\", {profile}, Rule::{rule}),").unwrap();
    }
    out.push_str("    ],\n");
}

fn constant(object: &str) -> String {
    object.replace("__", "_").to_uppercase()
}

/// Returns the name of an object's definition in JSON Schema. Objects of extensions have a slash in their OCSF names.
fn defined(object: &str) -> String {
    object.replace('/', "__")
}

/// Returns the name of an object in OCSF.
fn named(definition: &str) -> String {
    definition.replace("__", "/")
}

fn table() -> String {
    let (newer, older) = (&NEWEST.schema, &OLDER.schema);
    let mut kinds = BTreeMap::new();
    for (name, definition) in older["$defs"].as_object().unwrap() {
        let known = &newer["$defs"][name];
        if !definition["properties"].is_object() || known.is_null() {
            continue;
        }
        let meta = |schema: &'static Value| &schema["meta"]["objects"][named(name).as_str()];
        kinds.insert(name.clone(), kind(&[(known, meta(newer))], (definition, meta(older))));
    }
    let class_of = |uid: &String| format!("class {uid}");
    let uids: Vec<&String> = older["classes"].as_object().unwrap().keys().collect();
    let newer_classes: Vec<(&Value, &Value)> = newer["classes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(uid, definition)| (definition, &newer["meta"]["classes"][uid]))
        .collect();
    for uid in &uids {
        let mut class = kind(&newer_classes, (&older["classes"][*uid], &older["meta"]["classes"][*uid]));
        // The writer handles these without the table.
        ["metadata", "observables", "unmapped"].iter().for_each(|name| drop(class.rows.remove(*name)));
        class.required.retain(|name| name != "metadata" && !name.ends_with("_uid") && name != "activity_id");
        kinds.insert(class_of(uid), class);
    }
    reduce(&mut kinds, |name| match name.strip_prefix("class ") {
        // An event may come from any class.
        Some(_) => newer["classes"].as_object().unwrap().values().collect(),
        None => vec![&newer["$defs"][name]],
    });
    let profiles: BTreeSet<String> =
        kinds.values().flat_map(|kind| kind.rows.values()).filter_map(|row| row.profile.clone()).collect();
    let profiles: Vec<String> = profiles.into_iter().collect();
    let mut out = "//! Where OCSF 1.3.0 differs from 1.9.0. Generated from the two schemas by `tests/it/ocsf/older_table.rs`: run\n\
        //! `UPDATE_GOLDEN=1 cargo test -p s1-forwarder-mapping older_table`. Made from OCSF, Apache-2.0.\n\n\
        use super::kind::{Class, Kind, Row, Rule};\n\n"
        .to_owned();
    writeln!(out, "/// By the bit of `Row::profile`, the lowest first.").unwrap();
    writeln!(out, "pub(super) const PROFILES: &[&str] = &{profiles:?};\n").unwrap();
    out.push_str("/// In the order of their numbers.\npub(super) static CLASSES: &[Class] = &[\n");
    let mut numbers: Vec<u32> = uids.iter().map(|uid| uid.parse().unwrap()).collect();
    numbers.sort_unstable();
    for uid in numbers {
        let meta = &older["meta"]["classes"][uid.to_string().as_str()];
        let caption =
            |attribute: &str, value: u64| meta[attribute]["enum"][value.to_string().as_str()].as_str().unwrap();
        let category = u64::from(uid / 1000);
        writeln!(out, "    Class {{").unwrap();
        writeln!(out, "        uid: {uid},").unwrap();
        writeln!(out, "        name: {:?},", caption("class_uid", uid.into())).unwrap();
        writeln!(out, "        category: {:?},", caption("category_uid", category)).unwrap();
        let mut activities: Vec<(u64, &str)> = meta["activity_id"]["enum"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(value, name)| (value.parse().unwrap(), name.as_str().unwrap()))
            .collect();
        activities.sort_unstable();
        writeln!(out, "        activities: &{activities:?},").unwrap();
        let class = &kinds[&class_of(&uid.to_string())];
        out.push_str("        kind: Kind {\n    name: \"\",\n");
        print(class, &profiles, &mut out);
        out.push_str("        },\n    },\n");
    }
    out.push_str("];\n");
    for (name, kind) in kinds.iter().filter(|(name, _)| !name.starts_with("class ")) {
        writeln!(out, "\npub(super) static {}: Kind = Kind {{\n    name: \"{}\",", constant(name), named(name))
            .unwrap();
        print(kind, &profiles, &mut out);
        out.push_str("};\n");
    }
    out
}

#[test]
fn the_table_is_that_of_the_two_schemas() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ocsf/v1_3/table.rs");
    let made = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, made).unwrap();
        return;
    }
    let is_current = std::fs::read_to_string(&path).unwrap() == made;
    assert!(is_current, "{path:?}: run UPDATE_GOLDEN=1 cargo test -p s1-forwarder-mapping older_table");
}
