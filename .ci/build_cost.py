"""Builds the program from nothing, one unit at a time, and prints what the build cost: CPU-seconds in all, and those of
the dearest units. `just build-cost` calls this. Fetching is not counted.

One job at a time makes the time of a unit about its CPU time, C compilers included.
"""

import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile

MOST = 20


def units(target):
    """Name and seconds of each unit, from the page that `cargo build --timings` writes."""
    page = (target / "cargo-timings" / "cargo-timing.html").read_text()
    found = re.search(r"const UNIT_DATA = (\[.*?\]);", page, re.DOTALL)
    if not found:
        sys.exit("cargo's page of timings has no UNIT_DATA any more: this script has to follow")
    for unit in json.loads(found[1]):
        kind = " (build script)" if unit["mode"] == "run-custom-build" else ""
        yield f"{unit['name']} {unit['version'].split('+')[0]}{kind}", unit["duration"]


def main():
    subprocess.run(["cargo", "fetch", "--locked"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {"CARGO_TARGET_DIR": directory, "CARGO_INCREMENTAL": "0", "CARGO_BUILD_JOBS": "1"}
        subprocess.run(["cargo", "build", "--locked", "--quiet", "--timings", *sys.argv[1:]], check=True, env=environment)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs = {}
        for name, seconds in units(pathlib.Path(directory)):
            costs[name] = costs.get(name, 0) + seconds
    for name, seconds in sorted(costs.items(), key=lambda cost: -cost[1])[:MOST]:
        print(f"{seconds:6.1f} s  {name}")
    print(f"{sum(costs.values()):6.1f} s  in all {len(costs)} units, as cargo timed them")
    print(f"{used.ru_utime + used.ru_stime:6.1f} CPU-seconds")


main()
