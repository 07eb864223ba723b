"""Writes attack-techniques.csv, the names of ATT&CK's techniques, to standard output.

The argument is ATT&CK's own STIX file (enterprise-attack.json of https://github.com/mitre-attack/attack-stix-data), or
a Python module with the same names as a dictionary, such as sigma/data/mitre_attack.py of pySigma 0.11:

    python3 attack.py enterprise-attack.json > attack-techniques.csv
"""

import json
import runpy
import sys

NOTICE = """\
# Names of the techniques of MITRE ATT&CK {version}, Enterprise. Written by attack.py.
# (c) The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE Corporation.
# Terms of use: https://attack.mitre.org/resources/legal-and-branding/terms-of-use/
"""


def of_stix(path):
    with open(path, encoding="utf-8") as file:
        objects = json.load(file)["objects"]
    version = next(each["x_mitre_version"] for each in objects if each["type"] == "x-mitre-collection")
    techniques = {}
    for each in objects:
        is_retired = each.get("revoked") or each.get("x_mitre_deprecated")
        if each["type"] == "attack-pattern" and not is_retired:
            references = each["external_references"]
            ids = [each["external_id"] for each in references if each["source_name"] == "mitre-attack"]
            techniques[ids[0]] = each["name"]
    return version, techniques


def of_module(path):
    module = runpy.run_path(path)
    return module["mitre_attack_version"], module["mitre_attack_techniques"]


def main():
    path = sys.argv[1]
    version, techniques = of_module(path) if path.endswith(".py") else of_stix(path)
    sys.stdout.write(NOTICE.format(version=version))
    for technique in sorted(techniques):
        sys.stdout.write(f"{technique},{techniques[technique]}\n")


if __name__ == "__main__":
    main()
