#!/usr/bin/env python3
"""Reduces a compiled schema of OCSF to the classes that events of this program have.

    reduce.py SCHEMA.json JSON_SCHEMA_FOLDER CLASS_UID... > VERSION/schema.json

SCHEMA.json has classes and objects with their attributes. The folder has a JSON Schema for each class.
"""
import json
import pathlib
import sys

schema_file, folder, *uids = sys.argv[1:]
schema = json.loads(pathlib.Path(schema_file).read_text())
folder = pathlib.Path(folder)
index = json.loads((folder / "index.json").read_text())
classes, definitions = {}, {}
for uid in uids:
    document = json.loads((folder / index[uid]).read_text())
    for name, definition in document.pop("$defs").items():
        assert definitions.setdefault(name, definition) == definition, name
    classes[uid] = {key: value for key, value in document.items() if key not in ("$id", "$comment")}


def attributes(of):
    """What JSON Schema cannot say of the attributes."""
    kept = {}
    for name, attribute in of["attributes"].items():
        entry = {"type": attribute["type"]}
        entry.update((key, attribute[key]) for key in ("profile", "sibling", "enum", "deprecated_since") if attribute.get(key))
        if len(entry) > 1 or attribute["type"] in schema["objects"] or attribute["type"] == "timestamp_t":
            kept[name] = entry
    return kept


by_uid = {str(of["uid"]): of for of in schema["classes"].values()}
deprecated = [uid for uid in uids if by_uid[uid].get("deprecated_since")]
assert not deprecated, f"deprecated: {deprecated}"
reduced = {
    "$comment": f"OCSF {schema['version']}, reduced to the classes that events of this program have. "
    "Copyright OCSF contributors, Apache-2.0. See README.md.",
    "classes": classes,
    "$defs": dict(sorted(definitions.items())),
    "meta": {
        "classes": {uid: attributes(by_uid[uid]) for uid in uids},
        "objects": {name: attributes(of) for name, of in sorted(schema["objects"].items())},
    },
}
json.dump(reduced, sys.stdout, separators=(",", ":"), ensure_ascii=False)
print()
