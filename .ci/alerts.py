#!/usr/bin/env python3
"""The alert rules and the dashboards on a real Prometheus that scrapes running workers: `just alerts`.

    .ci/alerts.py PROGRAM

One worker has healthy, failing and invalid pipelines, and a sink that refuses some events. Another one has a silent
console, a program that fails, and gets invalid defaults. A third one is killed. What only a cluster has comes from a text: leases and
shards. The alerts in FIRING must fire, and no others. Each query of a dashboard must be valid and return data.
"""

import http.server
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm/s1-forwarder/files"
TIMEOUT = 120

# By installation, as the rules keep it.
FIRING = {
    ("S1ForwarderLaneFailing", "main"),
    ("S1ForwarderMostLanesFailing", "main"),
    ("S1ForwarderDeadLetters", "main"),
    ("S1ForwarderPipelineInvalid", "main"),
    ("S1ForwarderReloadFailed", "defaults"),
    ("S1ForwarderLaneSilent", "defaults"),
    ("S1ForwarderRemapErrors", "defaults"),
    # `failing` and `silent` send the activities of one console to one sink.
    ("S1ForwarderDuplicateLanes", "defaults"),
    ("S1ForwarderWorkerDown", "killed"),
    ("S1ForwarderAbsent", "killed"),
    ("S1ForwarderShardsUnheld", "cluster"),
    ("S1ForwarderLeaseRenewalsFail", "cluster"),
    ("S1ForwarderTokenExpires", "cluster"),
    ("S1ForwarderDeadLettersNearlyFull", "cluster"),
}


class Receiver(http.server.BaseHTTPRequestHandler):
    """A sink that accepts all events. Below /strict it refuses one in fifty, and with it the request that it is in."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = self.path == "/strict" and any(zlib.crc32(line) % 50 == 0 for line in body.splitlines())
        self.send_response(400 if refused else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Cluster(http.server.BaseHTTPRequestHandler):
    """Metrics of a worker in a cluster: two of four shards, and half of its renewals fail."""

    started = time.time()

    def do_GET(self):
        renewals = int((time.time() - self.started) * 10)
        text = f"""
s1_forwarder_build_info{{version="0",revision="0"}} 1
s1_forwarder_shards 4
s1_forwarder_shards_held 2
s1_forwarder_lease_renewals_total{{result="ok"}} {renewals}
s1_forwarder_lease_renewals_total{{result="failed"}} {renewals}
s1_forwarder_lease_losses_total 0
s1_forwarder_shard_handover_duration_seconds_bucket{{direction="acquire",le="1"}} {renewals}
s1_forwarder_shard_handover_duration_seconds_bucket{{direction="acquire",le="+Inf"}} {renewals}
s1_forwarder_token_expiry_timestamp_seconds{{pipeline="acme"}} {time.time() + 10 * 86400}
s1_forwarder_dead_letter_bytes 90
s1_forwarder_dead_letter_max_bytes 100
"""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# Everything is on this machine, whatever proxy the environment names.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url):
    with opener.open(url, timeout=10) as answer:
        return answer.read()


def until(what, condition):
    """Waits for what is true in the end; `condition` returns nothing, or why it is not true yet."""
    end = time.monotonic() + TIMEOUT
    while reason := condition():
        if time.monotonic() > end:
            sys.exit(f"{what}: not after {TIMEOUT} s: {reason}")
        time.sleep(0.5)


def answers(url):
    def condition():
        try:
            get(url)
        except OSError as error:
            return f"{url}: {error}"

    return condition


class Processes:
    def __init__(self, program, work):
        self.program, self.work, self.running = program, work, []

    def start(self, name, *arguments):
        """Starts a program; its output is in a file of this name."""
        kept = [key for key in os.environ if not key.startswith("S1_FORWARDER_") and not key.lower().endswith("_proxy")]
        environment = {key: os.environ[key] for key in kept}
        with open(self.work / f"{name}.log", "wb") as log:
            process = subprocess.Popen(arguments, cwd=self.work, env=environment, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def worker(self, name):
        port = free_port()
        directory = self.work / name
        directory.mkdir(exist_ok=True)
        flags = ["--defaults", f"{name}-defaults.yaml", "--state", f"file:{name}-state"]
        (self.work / f"{name}-defaults.yaml").write_text("transform: { labels: { region: emea } }\n")
        process = self.start(
            name, self.program, "run", "--pipelines", name, "--listen", f"127.0.0.1:{port}", *flags
        )
        until(f"the worker {name}", answers(f"http://127.0.0.1:{port}/readyz"))
        return port, process

    def stop(self):
        for process in self.running:
            process.kill()
            process.wait()


def pipeline(console, token, sink, streams, transform=None):
    return json.dumps({
        "transform": transform or {},
        "console": {"url": console, "token": token, "requests_per_second": 100},
        "streams": streams,
        "sinks": [{"name": "siem", "type": "http", "url": sink, "compression": "none", "batch": {"timeout": "100ms"}}],
    })


def prometheus(processes, targets):
    """Starts Prometheus with the rules, in which alerts wait for three seconds; returns its address."""
    rules, waits = re.subn(r"^( +for:) .*$", r"\1 3s", (CHART / "alerts.yaml").read_text(), flags=re.MULTILINE)
    assert waits > 10, "the rules have no `for:`"
    # Groups with an interval of their own would not be evaluated before the test ends.
    rules = re.sub(r"^( +interval:) .*$", r"\1 1s", rules, flags=re.MULTILINE)
    # The rule of a failing lane waits without `for:`.
    rules, windows = re.subn(r"(lane_up:min(?:\[| offset ))15m\b", r"\g<1>3s", rules)
    assert windows == 2, f"{windows} windows of 15 minutes"
    (processes.work / "alerts.yaml").write_text(rules)
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "emea"}}]}
        for job, port in targets.items()
    ]
    (processes.work / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": jobs,
    }))
    address = f"127.0.0.1:{free_port()}"
    processes.start(
        "prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
        f"--web.listen-address={address}",
    )
    until("Prometheus", answers(f"http://{address}/-/ready"))
    return f"http://{address}/api/v1"


def check_alerts(api):
    runbooks = (ROOT / "docs/runbooks.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^## (\S+)$", runbooks, re.MULTILINE)}

    def firing():
        alerts = json.loads(get(f"{api}/alerts"))["data"]["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing"]

    def names():
        return {(alert["labels"]["alertname"], alert["labels"].get("job")) for alert in firing()}

    until("the alerts", lambda: FIRING - names())
    # Every other alert has had as much time.
    time.sleep(5)
    others = names() - FIRING
    assert not others, f"these alerts fire without a reason: {others}"
    for alert in firing():
        annotations = alert["annotations"]
        text = " ".join(annotations.values())
        assert "<no value>" not in text and "error" not in annotations["summary"], annotations
        assert annotations["runbook_url"].partition("#")[2] in anchors, annotations
        print(f"  {alert['labels']['severity']:8} {alert['labels']['alertname']}: {annotations['summary']}")
    for group in json.loads(get(f"{api}/rules"))["data"]["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule


def query(api, expression):
    try:
        answer = get(f"{api}/query?{urllib.parse.urlencode({'query': expression})}")
    except urllib.error.HTTPError as error:
        sys.exit(f"{expression}: {error.read().decode()}")
    return json.loads(answer)["data"]["result"]


def without_variables(expression):
    expression = expression.replace("$__rate_interval", "30s")
    return re.sub(r"\$(namespace|job|pipeline)\b", ".*", expression)


def check_dashboards(api):
    """Each query returns a number; the others are given the time to."""
    queries = []
    for path in sorted((CHART / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
                queries.append((f"{path.name}: variable {variable['name']}", f'count by ({label}) ({selector}) > 0'))
        for panel in dashboard["panels"]:
            queries += [(f"{path.name}: {panel['title']}", target["expr"]) for target in panel.get("targets", [])]
    assert len(queries) > 50, "the dashboards have no queries"

    queries = [(name, without_variables(expression)) for name, expression in queries]

    def empty():
        missing = []
        for name, expression in queries:
            assert "$" not in expression, f"{name}: unknown variable in {expression}"
            values = [float(sample["value"][1]) for sample in query(api, expression)]
            if "offset 1w" in expression or "sink_warnings_total" in expression:
                # No data is that old here, and no sink warns: it is valid.
                continue
            if all(map(math.isnan, values)):
                missing.append(f"{name}: {expression}")
        return missing

    until("data for each panel", empty)
    print(f"  {len(queries)} queries of dashboards return data")
    # The list would be the oldest of all.
    assert query(api, 's1_forwarder_newest_record_timestamp_seconds{stream="groups"}'), "no list was read"
    for name, expression in queries:
        if name.endswith(": Time since the newest record"):
            streams = {sample["metric"]["stream"] for sample in query(api, expression)}
            assert "activities" in streams and "groups" not in streams, f"{name}: {streams}"


def main(program):
    if not shutil.which("prometheus"):
        sys.exit("prometheus is missing: `bash .ci/run alerts` installs it")
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(program, pathlib.Path(directory))
        try:
            run(processes)
        except BaseException:
            for log in sorted(processes.work.glob("*.log")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            raise
        finally:
            processes.stop()


def run(processes):
    console, sink = free_port(), serve(Receiver)
    history = ["--activities", "2000", "--threats", "200", "--rate", "20", "--span", "6h", "--faults", "late"]
    processes.start("console", processes.program, "emulate", "--listen", f"127.0.0.1:{console}", *history)
    # Nothing happens there any more.
    quiet, history = free_port(), ["--activities", "100", "--rate", "0"]
    processes.start("quiet", processes.program, "emulate", "--listen", f"127.0.0.1:{quiet}", *history)
    console, quiet, sink = f"http://127.0.0.1:{console}", f"http://127.0.0.1:{quiet}", f"http://127.0.0.1:{sink}"
    streams = {name: {"interval": "1s", "since": "1d"} for name in ["activities", "threats"]}
    main = processes.work / "main"
    for name in ["main", "defaults", "killed"]:
        (processes.work / name).mkdir()
        path = "/strict" if name == "main" else "/all"
        (processes.work / name / "good.yaml").write_text(pipeline(console, "emulator-token", sink + path, streams))
    (main / "no-sink.yaml").write_text(pipeline(console, "emulator-token", "http://127.0.0.1:9/", streams))
    (main / "no-token.yaml").write_text(pipeline(console, "another-token", sink, streams))
    silent = {"activities": {"interval": "1s", "silent_after": "5s"}, "groups": {"interval": "1s"}}
    (processes.work / "defaults/silent.yaml").write_text(pipeline(quiet, "emulator-token", sink, silent))
    failing = {"remap": ".number = to_int!(.message)"}
    failing = pipeline(quiet, "emulator-token", sink, {"activities": {"interval": "1s"}}, failing)
    (processes.work / "defaults/failing.yaml").write_text(failing)
    (main / "invalid.yaml").write_text("console: { url: nonsense }\n")
    for name, url in [("the console", console), ("the quiet console", quiet)]:
        until(name, answers(f"{url}/web/api/v2.1/system/status"))
    workers = {name: processes.worker(name) for name in ["main", "defaults", "killed"]}
    targets = {name: port for name, (port, _) in workers.items()} | {"cluster": serve(Cluster)}
    api = prometheus(processes, targets)
    for name in targets:
        wanted = f's1_forwarder_build_info{{job="{name}"}}'
        until(f"a scrape of {name}", lambda wanted=wanted: None if query(api, wanted) else "no sample")
    (processes.work / "defaults-defaults.yaml").write_text("nonsense: 1\n")
    workers["killed"][1].send_signal(signal.SIGKILL)
    check_alerts(api)
    check_dashboards(api)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    begun = time.monotonic()
    main(os.path.abspath(sys.argv[1]))
    print(f"alerts: passed in {time.monotonic() - begun:.0f} s")
