#!/usr/bin/env bash
# Builds the program optimized for what it does most (profile-guided optimization), and prints its path:
#
#   deploy/pgo.sh TARGET_DIR
#
# An instrumented program pulls from its own emulator: a lane that catches up, in each schema, and idle lanes. The
# second build takes what that counted. Both are linked as a whole, in one codegen unit. That is a fifth to a third more
# events for a CPU-second than `cargo build --release`, and two builds of a quarter of an hour each:
# docs/dev/performance.md.
# Needs `rustup component add llvm-tools` and Python 3. The counts differ from run to run, so the bytes do too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# == 1)) || { sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

mkdir -p "$1"
target=$(realpath "$1")
host=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
command -v python3 >/dev/null || { echo "python3 is missing" >&2; exit 1; }
[ -x "$merge" ] || { echo "llvm-profdata is missing: rustup component add llvm-tools" >&2; exit 1; }

work=$(mktemp -d)
started=()
finish() {
    ((${#started[@]} == 0)) || kill "${started[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# The flags are for the program alone: with a target, build scripts do not get them.
build() {
    RUSTFLAGS="$2 ${RUSTFLAGS:-}" CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        cargo build --release --locked --quiet --bin s1-forwarder --target "$host" --target-dir "$target/$1"
}
counts=$target/counts
rm -rf "$counts"
build counted "-Cprofile-generate=$counts"
program=$target/counted/$host/release/s1-forwarder

# A sink that takes everything.
python3 -c '
import http.server

class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
' >"$work/sink" &
started+=($!)
"$program" emulate --listen 127.0.0.1:0 --rate 0 --activities 200000 --threats 20000 --alerts 20000 >"$work/console" 2>&1 &
started+=($!)
until [ -s "$work/sink" ] && grep -q '127\.0\.0\.1:' "$work/console"; do
    for process in "${started[@]}"; do
        kill -0 "$process" 2>/dev/null || { echo "the console or the sink ended: $(<"$work/console")" >&2; exit 1; }
    done
    sleep 0.2
done
console=$(grep -o '127\.0\.0\.1:[0-9]*' "$work/console" | head -n 1)
sink=127.0.0.1:$(cat "$work/sink")

echo emulator-token >"$work/token"
pipeline() {
    printf 'console: { url: "http://%s", token: { file: %s }, requests_per_second: 1000 }\n' "$console" "$work/token"
    printf 'streams:\n  activities: { since: %s, interval: %s, include_hidden: true }\n' "$2" "$3"
    [ "$2" = now ] || printf '  threats: { since: %s }\n  alerts: { since: %s }\n' "$2" "$2"
    printf 'transform: { schema: %s }\nsinks:\n  - { name: siem, type: http, url: "http://%s/" }\n' "$1" "$sink"
}
for schema in ecs ocsf raw 'ecs, keep_original: true'; do
    place=$(mktemp -d -p "$work")
    pipeline "$schema" 30d 60s >"$place/acme.yaml"
    "$program" run --once --pipelines "$place/acme.yaml" --state "file:$place/state" --log-level error >&2
done

mkdir "$work/idle"
for number in $(seq 500); do
    pipeline ecs now 1s >"$work/idle/p$number.yaml"
done
"$program" run --pipelines "$work/idle" --state "file:$work/states" --listen 127.0.0.1:0 --log-level error >&2 &
idle=$!
started+=("$idle")
sleep 60
kill "$idle"
wait "$idle"

"$merge" merge --output "$target/counts.profdata" "$counts"
build optimized "-Cprofile-use=$target/counts.profdata"
echo "$target/optimized/$host/release/s1-forwarder"
