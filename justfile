# Everything that is checked before a change is merged, one recipe each. `.ci/run` runs them all on a fresh clone.
# `just` without arguments lists them, with the tools that they need besides Rust. `.ci/run tools` installs these.

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

# Clippy with each feature alone, and with none.
lint-features:
    cargo clippy --all-targets --locked --no-default-features -- -D warnings
    cargo clippy --all-targets --locked --no-default-features --features kafka -- -D warnings
    cargo clippy --all-targets --locked --no-default-features --features kubernetes -- -D warnings
    cargo clippy --all-targets --locked --no-default-features --features traces -- -D warnings
    cargo clippy --all-targets --locked --no-default-features --features remap -- -D warnings

# Words, width of prose and links (needs vale, Node.js with markdownlint-cli2).
prose:
    git ls-files -z '*.md' '*.rs' '*.sh' '*.py' '*.toml' '*.yaml' '*.yml' .ci justfile deploy/Dockerfile \
        | xargs -0 vale --no-wrap --output=line
    markdownlint-cli2
    ! git ls-files -z '*.rs' '*.sh' '*.yaml' justfile .ci | LC_ALL=C.UTF-8 xargs -0 grep -nE '^.{121,}$' \
        | grep -E '^[^:]+:[0-9]+: *(//|#[^\[])'

# Rustdoc without warnings.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked --quiet

# Licences, advisories, banned crates (needs cargo-deny).
deny:
    cargo deny --locked check

# Every dependency is used (needs cargo-machete).
unused-dependencies:
    cargo machete

# The tests, without real servers: what a contributor runs.
test *ARGS:
    cargo test --locked {{ ARGS }}

# All tests, the real servers included (needs Java, Maven, Go, kcat, Chromium, Node.js).
test-servers *ARGS:
    S1_FORWARDER_SERVERS=1 cargo test --locked --no-fail-fast {{ ARGS }}

# Instructions, allocations and copies of the hot path (needs valgrind).
bench-cost:
    cargo bench --locked --bench cost -- --check

# A busy lane within its console's rate limit, in simulated time: lag, records pulled, requests.
bench-tail:
    cargo test --release --locked --test it -- --ignored --nocapture a_busy_lane_keeps_up

# What `delivery: exactly_once` leaves of the throughput, with a real broker (needs Java, Maven).
bench-exactly-once:
    S1_FORWARDER_SERVERS=1 cargo test --release --locked --test servers -- --ignored --nocapture throughput

# The chart's rules, and its dashboards on a Prometheus that scrapes workers (needs prometheus, promtool, Python).
alerts:
    promtool check rules deploy/helm/s1-forwarder/files/alerts.yaml
    promtool test rules deploy/helm/s1-forwarder/ci/alerts.test
    cargo build --locked --quiet
    python3 .ci/alerts.py "${CARGO_TARGET_DIR:-target}/debug/s1-forwarder"

# Break the code that keeps the guarantees, line by line; an hour and a half (needs cargo-mutants, Python).
mutants *ARGS:
    bash .ci/mutants {{ ARGS }}

# Rewrite the reference pages and golden files from the code.
golden:
    UPDATE_GOLDEN=1 UPDATE_DOCS=1 cargo test --locked --test it -- reference_docs chart_values files:: mapping::docs

# What a release of the version in Cargo.toml would hold; changes nothing (needs cargo-cyclonedx).
release-dry-run:
    deploy/release.sh --dry-run

# Make a release: version, changelog, archive with checksums, chart, SBOM, commit and tag.
release VERSION:
    deploy/release.sh {{ VERSION }}

# Everything, as a public host runs it.
ci:
    bash .ci/run
