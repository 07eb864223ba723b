"""Runs the tests on each mutant that cargo-mutants lists. `bash .ci/mutants` calls this; docs/dev/mutants.md says what it is for.

cargo-mutants builds the program again for each mutant. Here all of them are in one build: a function with mutants becomes
`match crate::mutant() { its own body, the body of mutant 1, the body of mutant 2, ... }`, and a variable of the environment says
which of them runs. Mutants that do not compile are found by the places of the compiler's errors, and left out.
"""

import collections
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

CHOICE = """
pub fn mutant() -> usize {
    static MUTANT: std::sync::LazyLock<usize> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").map_or(0, |text| text.parse().unwrap_or(0)));
    *MUTANT
}
"""
# Each stage costs more than the one before. A mutant that one stage does not detect meets the next. A stage is a test
# binary, the tests of it, and a number of seeds. Unit tests: those of the modules that are broken, after those of the
# mutant's own module. The tests of lanes that take most of the time, and those of a hundred lanes, come last.
CRATES = ("engine", "state", "settings")
MODULES = ("checkpoint::", "source::", "lane::", "sink::batch", "delivery")
SCHEDULES = "every_schedule_keeps_the_promises"
SLOW = (
    "lanes::commits::every_event_is_committed_once_whenever_the_process_is_killed",
    "lanes::findings::a_token_of_more_than_a_thousand_sites_is_read_to_the_last_site",
    "lanes::hour::",
    "lanes::isolation::",
    "lanes::polling::a_long_history_is_not_remembered",
    "lanes::polling::all_records_arrive_once_from_a_console_with_every_fault",
    "lanes::requests::what_is_read_again_costs_as_many_requests_as_documented",
    "lanes::sinks::a_kill_at_any_moment_loses_nothing_and_repeats_at_most_what_was_in_flight",
    "lanes::sinks::a_sink_that_throttles_gets_fewer_requests_and_slowly_more_again",
    "lanes::streams::every_stream_is_drained_from_a_console_with_faults",
    "lanes::streams::what_analysts_make_of_an_alert_arrives_once_for_each_version",
    "lanes::tail::a_busy_lane_keeps_up_within_the_default_rate_limit",
)
STAGES = [
    ("s1_forwarder_engine", MODULES, 0),
    ("s1_forwarder_state", (), 0),
    ("s1_forwarder_settings", ("backoff::",), 0),
    ("it", ("lanes::pages::", "lanes::questions::", "lanes::oversized::"), 0),
    ("it", ("regressions::",), 0),
    ("simulation", (SCHEDULES,), 50),
    ("it", ("lanes::", *(argument for test in SLOW for argument in ("--skip", test))), 0),
    ("simulation", (SCHEDULES,), 400),
    ("it", SLOW, 0),
]
PROCESSES = 2
# A mutant that never ends either uses the processor, since time is paused, or does nothing.
CPU_FACTOR, LEAST_CPU_SECONDS, IDLE_SECONDS, MEMORY = 6, 6, 20, 8 << 30

OUTCOMES = ("unviable", "caught", "timeout", "missed")


class Mutant:
    """One change of one function."""

    def __init__(self, number, listed, text):
        self.number, self.file = number, listed["file"]
        # Without its place, which moves with every change.
        self.name = re.sub(r":\d+:\d+: ", ": ", listed["name"], count=1)
        self.listed_as = listed["name"]
        starts = line_starts(text)
        span = listed["function"]["span"]
        begin, self.end = (starts[at["line"] - 1] + at["column"] - 1 for at in (span["start"], span["end"]))
        self.begin = body_begin(text, begin)
        self.changed = apply(listed["diff"], text)
        self.growth = len(self.changed) - len(text)

    @property
    def body(self):
        return self.changed[self.begin : self.end + self.growth]

    def __str__(self):
        return self.listed_as


def line_starts(text):
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def body_begin(text, begin):
    """Where the body of the function begins whose comments, attributes and signature begin at `begin`."""
    while True:
        line = re.compile(r"\s*(//[^\n]*|#\[[^\n]*)\n").match(text, begin)
        if not line:
            return text.index("{", begin)
        begin = line.end()


def apply(diff, text):
    """`text` after the one change that `diff` describes."""
    lines, hunk = text.splitlines(keepends=True), diff[diff.index("@@ ") :].splitlines(keepends=True)
    first, count = (int(part) for part in re.match(r"@@ -(\d+),(\d+) ", hunk[0]).groups())
    lines[first - 1 : first - 1 + count] = [line[1:] for line in hunk[1:] if line[0] in " +"]
    return "".join(lines)


def with_all(text, mutants):
    """The file with all its mutants, and of each line of it the mutant that it belongs to."""
    functions = {}
    for mutant in sorted(mutants, key=lambda mutant: (mutant.begin, -mutant.end)):
        functions.setdefault((mutant.begin, mutant.end), []).append(mutant)
    pieces, done = [], 0
    for (begin, end), of_it in functions.items():
        signature = re.sub(r"\bconst (fn [^{]*)$", r"\1", text[done:begin])
        numbers = ", ".join(str(mutant.number) for mutant in of_it)
        pieces.append((signature + f"{{ match crate::mutant() {{ chosen if ![{numbers}].contains(&chosen) =>\n", None))
        pieces.append((text[begin:end] + "\n", None))
        pieces += [(f"{mutant.number} =>\n{mutant.body}\n", mutant) for mutant in of_it]
        pieces.append(("_ => unreachable!() } }", None))
        done = end
    pieces.append((text[done:], None))
    return "".join(piece for piece, _ in pieces), [owner for piece, owner in pieces for _ in range(piece.count("\n"))]


def widen(mutants):
    """A function within another one cannot choose by itself: its mutants become those of the outer one."""
    spans = {(mutant.file, mutant.begin, mutant.end) for mutant in mutants}
    for mutant in mutants:
        around = [
            (begin, end) for file, begin, end in spans
            if file == mutant.file and begin <= mutant.begin and mutant.end <= end
        ]
        mutant.begin, mutant.end = min(around, key=lambda span: span[0] - span[1])


def write(tree, texts, mutants):
    owners = {}
    for file, text in texts.items():
        changed, owners[file] = with_all(text, [mutant for mutant in mutants if mutant.file == file])
        target = tree / file
        if target.read_text() != changed:
            target.write_text(changed)
    return owners


def cargo(tree, *arguments):
    command = ["cargo", *arguments, "--locked", "--no-default-features", "--message-format=json"]
    ran = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def build(tree, texts, mutants):
    """The test binaries by name, and the mutants that compile."""
    while True:
        owners = write(tree, texts, mutants)
        status, messages = cargo(tree, "check", "--package", "s1-forwarder", "--lib")
        if status == 0:
            break
        broken, unclear = set(), ""
        for message in (message["message"] for message in messages if message["reason"] == "compiler-message"):
            if message["level"] != "error":
                continue
            spans = sorted(outermost(message), key=lambda span: not span["is_primary"])
            of_it = [owners[span["file_name"]][span["line_start"] - 1] for span in spans if span["file_name"] in owners]
            found = next((mutant for mutant in of_it if mutant), None)
            if found:
                broken.add(found)
            elif message["spans"]:
                unclear += message["rendered"]
        if not broken:
            sys.exit(f"no mutant's fault:\n{unclear}")
        mutants = [mutant for mutant in mutants if mutant not in broken]
        print(f"{len(broken)} do not compile", flush=True)
    tests = [argument for name in ("simulation", "it") for argument in ("--test", name)]
    packages = [argument for name in CRATES for argument in ("--package", f"s1-forwarder-{name}")]
    status, messages = cargo(tree, "test", "--package", "s1-forwarder", *packages, "--no-run", "--lib", *tests)
    binaries = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable") and m["profile"]["test"]}
    if status:
        sys.exit("".join(m["message"]["rendered"] for m in messages if m["reason"] == "compiler-message"))
    return binaries, mutants


def outermost(message):
    """The spans of a message and of its notes, those within macros where the macro was called."""
    for span in message["spans"] + [span for child in message["children"] for span in child["spans"]]:
        while span["expansion"]:
            span = {**span["expansion"]["span"], "is_primary": span["is_primary"]}
        yield span


class Runner:
    """Runs the stages. Without a mutant first: they must pass, and say how much of the processor they need."""

    def __init__(self, tree, binaries):
        self.tree, self.binaries, self.limits = tree, binaries, {}
        for stage in STAGES:
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            if self.run(0, stage, 3600) != "missed":
                sys.exit(f"{stage} fails without a mutant")
            needed = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            self.limits[stage] = max(LEAST_CPU_SECONDS, int(needed * CPU_FACTOR))
            print(f"{stage}: {needed:.1f} s", flush=True)

    def run(self, number, stage, cpu):
        """Ends with the first test that fails."""
        name, tests, seeds = stage
        with tempfile.TemporaryDirectory(dir=self.tree) as temp:
            # The bodies of a function share its frame on the stack.
            own = {"MUTANT": number, "S1_FORWARDER_SEEDS": seeds, "TMPDIR": temp, "RUST_MIN_STACK": 64 << 20}
            env = {**os.environ, **{name: str(value) for name, value in own.items()}}
            process = subprocess.Popen(
                ["prlimit", f"--cpu={cpu}", f"--as={MEMORY}", self.binaries[name], *tests],
                cwd=self.tree, env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            failing = threading.Thread(target=end_with_failure, args=(process,))
            failing.start()
            status = wait(process)
            failing.join()
            if process.has_failed:
                return "caught"
        # The kernel, too, kills with SIGKILL, at the limit of the processor's time.
        return {0: "missed", -signal.SIGXCPU: "timeout", -signal.SIGKILL: "timeout"}.get(status, "caught")

    def judge(self, mutant):
        crate, module = own_module(mutant.file)
        own = (f"s1_forwarder_{crate}", (module,), 0)
        stages = [(own, self.limits[STAGES[0]]), *((stage, self.limits[stage]) for stage in STAGES)]
        outcomes = (self.run(mutant.number, stage, limit) for stage, limit in stages)
        return next((outcome for outcome in outcomes if outcome != "missed"), "missed")


def own_module(file):
    """Crate and module: `engine` and `source::poll::` of `crates/engine/src/source/poll/tail.rs`."""
    _, crate, _, *parts = pathlib.PurePath(file).with_suffix("").parts
    return crate, "".join(f"{part}::" for part in parts[:2] if part != "mod")


def end_with_failure(process):
    """Kills a test binary as soon as it says that a test has failed."""
    process.has_failed = False
    for line in process.stdout:
        if line.startswith(b"test ") and line.endswith(b"FAILED\n"):
            process.has_failed = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait(process):
    """The status with which a process ends; one that does nothing any more is killed."""
    used = 0
    while True:
        try:
            return process.wait(IDLE_SECONDS)
        except subprocess.TimeoutExpired:
            user, system = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            before, used = used, int(user) + int(system)
            if used == before:
                os.killpg(process.pid, signal.SIGKILL)


def main():
    root, output = pathlib.Path.cwd(), pathlib.Path("target/mutants.out")
    listed = json.loads(subprocess.check_output(["cargo", "mutants", "--workspace", "--list", "--json", "--diff"]))
    # Its own `--re` and `--file` let others through.
    listed = [one for one in listed if re.search("|".join(sys.argv[1:]), one["name"])]
    if not listed:
        sys.exit(f"no mutant of the files in .cargo/mutants.toml has a name like {' or '.join(sys.argv[1:])}")
    # Those of constants: what is settled when the program is built cannot be chosen when it runs.
    constants = [one["name"] for one in listed if not one["function"]]
    listed = [one for one in listed if one["function"]]
    texts = {file: (root / file).read_text() for file in sorted({one["file"] for one in listed})}
    mutants = [Mutant(number, one, texts[one["file"]]) for number, one in enumerate(listed, 1)]
    widen(mutants)

    tree = output / "tree"
    files = subprocess.check_output(["git", "ls-files", "-z"], text=True).split("\0")
    shutil.rmtree(output, ignore_errors=True)
    for file in filter(lambda file: file and (root / file).is_file(), files):
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, tree / file)
    for crate in CRATES:
        library = tree / f"crates/{crate}/src/lib.rs"
        library.write_text(library.read_text() + CHOICE)

    binaries, viable = build(tree.resolve(), texts, mutants)
    outcomes = {mutant: "unviable" for mutant in mutants if mutant not in viable}
    runner, begun = Runner(tree.resolve(), binaries), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
        tried = {pool.submit(runner.judge, mutant): mutant for mutant in viable}
        for future in concurrent.futures.as_completed(tried):
            mutant = tried[future]
            outcomes[mutant] = future.result()
            if outcomes[mutant] != "caught":
                print(f"{outcomes[mutant]}: {mutant}", flush=True)
    print(f"{len(viable)} tried in {(time.monotonic() - begun) / 60:.0f} minutes; of constants, not tried: {len(constants)}")
    report(root, output, outcomes)


def listed_places(reasons, name):
    """At how many places of its function a change may survive: `its name` in one, `its name` (3 places) in three."""
    found = re.search(re.escape(f"`{name}`") + r"(?: \((\d+) places\))?", reasons)
    return int(found[1] or 1) if found else 0


def report(root, output, outcomes):
    shutil.rmtree(output / "tree")
    for wanted in OUTCOMES:
        names = sorted(f"{mutant}\n" for mutant, outcome in outcomes.items() if outcome == wanted)
        (output / f"{wanted}.txt").write_text("".join(names))
    counts = collections.Counter((mutant.file, outcome) for mutant, outcome in outcomes.items())
    for file in [*sorted({mutant.file for mutant in outcomes}), "all"]:
        of_it = [sum(n for (of, is_), n in counts.items() if is_ == one and file in (of, "all")) for one in OUTCOMES]
        print(f"| `{file}` | {sum(of_it)} | " + " | ".join(map(str, of_it)) + " |")
    reasons = (root / "docs/dev/mutants.md").read_text()
    survive = collections.Counter(mutant.name for mutant, outcome in outcomes.items() if outcome == "missed")
    unlisted = [name for name, places in survive.items() if places > listed_places(reasons, name)]
    for name in unlisted:
        print(f"not in docs/dev/mutants.md, or at fewer places: {name} ({survive[name]} places)")
    sys.exit(bool(unlisted))


if __name__ == "__main__":
    main()
