# Checks, measurements and releases, one recipe each. `.ci/run` runs what holds for each change, on a fresh clone.
# `just` without arguments lists them, with the tools that they need besides Rust. `.ci/run SECTION` installs these.

set shell := ["bash", "-euo", "pipefail", "-c"]

[private]
default:
    @just --list --unsorted

# Format the code.
fmt:
    cargo fmt

# The code is formatted.
fmt-check:
    cargo fmt --check

# Clippy without warnings, tests and benches included.
lint:
    cargo clippy --all-targets --locked -- -D warnings

# Tests without features, and each feature alone. With a benchmark, dependencies have the features that tests give them.
lint-features:
    cargo clippy --all-targets --locked --no-default-features -- -D warnings
    for feature in kafka kubernetes traces remap; do \
        cargo clippy --lib --bins --bench cost --locked --no-default-features --features "$feature" -- -D warnings; \
    done

# Words, width of prose and links (needs vale, Node.js with markdownlint-cli2). Without CI, a missing tool is skipped.
prose:
    @if command -v vale >/dev/null || [ -n "${CI:-}" ]; then \
        git ls-files -z '*.md' '*.rs' '*.sh' '*.py' '*.toml' '*.yaml' '*.yml' .ci justfile deploy/Dockerfile \
            | xargs -0 vale --no-wrap --output=line; \
    else echo "SKIPPED: words, since vale is missing; bash .ci/run prose installs it and checks them"; fi
    @if command -v markdownlint-cli2 >/dev/null || [ -n "${CI:-}" ]; then \
        markdownlint-cli2; \
    else echo "SKIPPED: links, since markdownlint-cli2 is missing; bash .ci/run prose installs it and checks them"; fi
    ! git ls-files -z '*.rs' '*.sh' '*.yaml' justfile .ci | LC_ALL=C.UTF-8 xargs -0 grep -nE '^.{121,}$' \
        | grep -E '^[^:]+:[0-9]+: *(//|#[^\[])'

# Rustdoc without warnings. There are no examples: with them, dependencies are those that clippy has checked.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --quiet --lib --examples

# Licences, advisories, banned crates (needs cargo-deny).
deny:
    cargo deny --locked check

# Every dependency is used (needs cargo-machete).
unused-dependencies:
    cargo machete

# What passes before a pull request. Arguments after `test` would be its own: it comes last.
check: fmt-check lint docs prose test

# What changed since BASE: format, clippy of its packages, tests of its modules. For every few edits.
inner BASE="main":
    bash .ci/inner {{ BASE }}

# The tests, without real servers: what a contributor runs.
test *ARGS:
    cargo test --locked {{ ARGS }}

# All tests, the real servers included (needs Java, Maven, Go, kcat, Chromium, Node.js, Python with pip, and
# apt-get and dpkg-deb for rsyslog).
test-servers *ARGS:
    S1_FORWARDER_SERVERS=1 cargo test --locked --no-fail-fast {{ ARGS }}

# Processes under simulated faults, one for each seed. CI runs 400 with the tests.
simulate SEEDS="10000":
    S1_FORWARDER_SEEDS={{ SEEDS }} cargo test --release --locked --test simulation -- --nocapture

# Mutated inputs to every reader (a name of tests/fuzz, such as pages), a minute each, again and again with new seeds.
fuzz TARGET="" SECONDS="60":
    while true; do \
        S1_FORWARDER_FUZZ_TARGET={{ TARGET }} S1_FORWARDER_FUZZ_SECONDS={{ SECONDS }} \
            S1_FORWARDER_FUZZ_SEED=$((RANDOM << 15 | RANDOM)) CARGO_PROFILE_DEV_OPT_LEVEL=1 \
            cargo test --locked --quiet --package s1-forwarder --lib -- --nocapture fuzz::; \
    done

# A thousand pipelines for an hour, with faults, reloads and kills: nothing is lost, nothing grows.
long-run PIPELINES="1000" SECONDS="3600":
    S1_FORWARDER_LONG_RUN_PIPELINES={{ PIPELINES }} S1_FORWARDER_LONG_RUN_SECONDS={{ SECONDS }} \
        cargo test --locked --test it -- --ignored --nocapture nothing_grows_and_nothing_is_lost

# Instructions, allocations and copies of the hot path, built with the feature `remap` only (needs valgrind). Without
# link-time optimization, which would take longer than everything else here and changes no ratio by much. `BUILD` is
# `--no-run`: only the build.
bench-cost BUILD="":
    CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_CODEGEN_UNITS=16 CARGO_PROFILE_BENCH_DEBUG=0 \
        cargo bench --locked --no-default-features --features remap --bench cost {{ BUILD }} {{ if BUILD == "" { "-- --check" } else { "" } }}

# A lane's tail and its neighbours, in simulated time: records pulled and requests at each rate, lag of a busy lane
# within its console's rate limit, and what is left to ten lanes next to ninety that hang.
bench-tail:
    cargo test --release --locked --test it -- --include-ignored --nocapture --test-threads 1 \
        lane_keeps_up a_record_is_pulled_about_twice ninety_lanes

# Bytes that a batch of 1,000 records writes: busy activities, many agents, alerts, findings; checkpoints that grow old.
bench-checkpoints:
    cargo test --release --locked --package s1-forwarder-engine --lib -- \
        --nocapture --test-threads 1 lane::change_log after_ninety_days

# An hour at 1,000 events a second with restarts, in simulated time: bytes an acknowledgement writes, checkpoint size.
bench-hour:
    cargo test --release --locked --test it -- --ignored --nocapture an_hour_at_a_thousand_events

# Requests a day for 10,000 agents, 10,000 alerts and 100,000 findings, in simulated time.
bench-requests:
    cargo test --release --locked --test it -- --ignored --nocapture requests_a_day_for

# 10,000 idle lanes: memory, CPU time, and that of a scrape.
bench-idle:
    cargo bench --locked --bench table -- idle

# What `delivery: exactly_once` leaves of the throughput, with a real broker (needs Java, Maven).
bench-exactly-once:
    S1_FORWARDER_SERVERS=1 cargo test --release --locked --test servers -- --ignored --nocapture throughput

# The chart's rules, and its dashboards on a Prometheus that scrapes workers (needs prometheus, promtool, Python).
alerts:
    promtool check rules deploy/helm/s1-forwarder/files/alerts.yaml
    promtool test rules deploy/helm/s1-forwarder/ci/alerts.test deploy/helm/s1-forwarder/ci/volume.test
    cargo build --locked --quiet
    python3 .ci/alerts.py "${CARGO_TARGET_DIR:-target}/debug/s1-forwarder"

# Break the code that keeps the guarantees, line by line; an hour and a half (needs cargo-mutants, Python).
mutants *ARGS:
    bash .ci/mutants {{ ARGS }}

# Rewrite the reference pages and golden files from the code. The first command is enough after a change of the mapping.
golden:
    INSTA_UPDATE=always UPDATE_GOLDEN=1 UPDATE_DOCS=1 cargo test --locked --package s1-forwarder-mapping
    UPDATE_GOLDEN=1 cargo test --locked --package s1-forwarder-emulator
    UPDATE_GOLDEN=1 cargo test --locked --test it -- repository:: contract:: files::

# The release builds twice to the same bytes; two builds from nothing.
reproducible:
    bash .ci/reproducible

# The program, optimized by what it does; needs `rustup component add llvm-tools`, Python and half an hour.
pgo:
    deploy/pgo.sh target/pgo

# What a release of the version in Cargo.toml would hold; changes nothing (needs cargo-cyclonedx).
release-dry-run:
    deploy/release.sh --dry-run

# Make a release: version, changelog, archive with checksums, chart, SBOM, commit and tag.
release VERSION:
    deploy/release.sh {{ VERSION }}

# CPU-seconds of a build from nothing, and the dearest crates (needs Python); ten minutes.
build-cost *ARGS:
    python3 .ci/build_cost.py {{ ARGS }}

# Everything that holds for each change.
ci:
    bash .ci/run

# The tests with the counts of the column for the nightly run in .ci/run; hours.
nightly:
    bash .ci/run nightly
