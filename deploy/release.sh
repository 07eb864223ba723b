#!/usr/bin/env bash
# Makes a release, or shows what it would hold:
#
#   deploy/release.sh VERSION            version and changelog in a commit, a tag, and the artefacts in dist/
#   deploy/release.sh --dry-run          the same for the version in Cargo.toml, in a temporary directory
#
# The artefacts: an archive (program, licence, documents, example pipelines), the program's debug information, the Helm
# chart, a CycloneDX SBOM, the release notes, and SHA256SUMS over all of them. Everything is made in a fresh clone of
# HEAD.
# S1_FORWARDER_RELEASE_PROFILE=dev builds faster; .ci/run uses it for the dry run, where the program is not shipped.
# Needs git, tar, sha256sum, objcopy and readelf (binutils), and cargo-cyclonedx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    sed -n '4,5s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

fail() {
    echo "release: $*" >&2
    exit 1
}

(($# == 1)) || usage
dry_run=false
case "$1" in
--dry-run) dry_run=true version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) ;;
-*) usage ;;
*) version=$1 ;;
esac
semver='^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$'
[[ $version =~ $semver ]] || fail "$version is not a version like 1.2.3 or 1.2.3-rc.1"
profile=${S1_FORWARDER_RELEASE_PROFILE:-release}
$dry_run || [ "$profile" = release ] || fail "only the program of a dry run may be one of the profile $profile"
cargo cyclonedx --version >/dev/null 2>&1 || fail "cargo-cyclonedx is missing: cargo install cargo-cyclonedx --locked"

for tool in objcopy readelf; do
    command -v "$tool" >/dev/null || fail "$tool is missing: install binutils"
done

if ! $dry_run; then
    [ -z "$(git status --porcelain)" ] || fail "commit or discard these changes first: $(git status --porcelain | head -n 5)"
    ! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || fail "the tag v$version exists"
    [ ! -e dist ] || fail "dist/ exists: remove it"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree dist=$work/dist
git clone --quiet --no-hardlinks . "$tree"
mkdir "$dist"
date=$(git -C "$tree" log -1 --format=%cs)

# The section Unreleased becomes this version's; its text is the release notes.
notes=$(awk '/^## /{inside = /^## \[?Unreleased/; next} inside' "$tree/CHANGELOG.md")
grep -q '^- ' <<<"$notes" || fail "CHANGELOG.md has nothing under Unreleased"
printf '# s1-forwarder %s\n%s\n' "$version" "$notes" >"$dist/RELEASE-NOTES.md"
sed -i "s/^## \[\?Unreleased\]\?.*/## [Unreleased]\n\n## [$version] - $(date -u +%Y-%m-%d)/" "$tree/CHANGELOG.md"

# Each place that names the version, and no other.
old=$(sed -n 's/^version = "\(.*\)"/\1/p' "$tree/Cargo.toml" | head -n 1)
sed -i "0,/^version = \".*\"/s//version = \"$version\"/" "$tree/Cargo.toml"
sed -i "/^name = \"s1-forwarder\(-[a-z]*\)\?\"$/{n;s/^version = \".*\"/version = \"$version\"/}" "$tree/Cargo.lock"
sed -i "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: \"$version\"/" \
    "$tree/deploy/helm/s1-forwarder/Chart.yaml"
sed -i "s/version: \"${old//./\\.}\"/version: \"$version\"/; s/\(image: \"s1-forwarder:\)${old//./\\.}\"/\1$version\"/" \
    "$tree/deploy/kubernetes/s1-forwarder.yaml"
grep -q "image: \"s1-forwarder:$version\"" "$tree/deploy/kubernetes/s1-forwarder.yaml" ||
    fail "deploy/kubernetes/s1-forwarder.yaml does not name the image of $version"

target=$(rustc -vV | sed -n 's/^host: //p')
built_in=${CARGO_TARGET_DIR:-$PWD/target}
compression=9
if [ "$profile" = dev ]; then
    # In the tree at hand, which has it built already, most often.
    CARGO_TARGET_DIR=$built_in cargo build --locked --quiet --bin s1-forwarder
    built=$built_in/debug/s1-forwarder
    compression=1
else
    built=$(deploy/build.sh "$tree" "$built_in/shipped")
fi
"$built" --version | grep -Fq "$version" || fail "the program says $("$built" --version) and not $version"

# Same input, same bytes: sorted names, no owner, the commit's date.
pack() {
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="$date 00:00:00Z" --directory "$1" "$2" | gzip "-${compression}n"
}
name=s1-forwarder-$version-$target
mkdir -p "$work/pack/$name"
# Debug information is five times the program. Debuggers and addr2line find it by the name in the program, if it lies
# next to it.
mkdir -p "$work/debug/$name-debug"
debug=$work/debug/$name-debug/s1-forwarder.debug
objcopy --only-keep-debug "$built" "$debug"
objcopy --strip-all --add-gnu-debuglink="$debug" "$built" "$work/pack/$name/s1-forwarder"
chmod 755 "$work/pack/$name/s1-forwarder"
chmod 644 "$debug"
(cd "$tree" && cp -r --parents LICENSE README.md CHANGELOG.md SECURITY.md docs pipelines \
    deploy/opensearch deploy/quickstart deploy/systemd "$work/pack/$name/")
pack "$work/pack" "$name" >"$dist/$name.tar.gz"
pack "$work/debug" "$name-debug" >"$dist/$name-debug.tar.gz"
pack "$tree/deploy/helm" s1-forwarder >"$dist/s1-forwarder-chart-$version.tgz"
(cd "$tree" && cargo cyclonedx --quiet --format json --override-filename sbom && mv sbom.json "$dist/$name.cdx.json")
grep -q '"bomFormat": *"CycloneDX"' "$dist/$name.cdx.json" || fail "the SBOM is not CycloneDX"
(cd "$dist" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" . && sha256sum --check --quiet SHA256SUMS)

# What a user does first with the archive.
mkdir "$work/unpacked"
tar --extract --gzip --file "$dist/$name.tar.gz" --directory "$work/unpacked"
"$work/unpacked/$name/s1-forwarder" --version >/dev/null || fail "the archived program does not start"

# Not in a pipe: grep would end before readelf has written everything, which counts as a failure.
sections() { readelf --sections --wide "$1" 2>/dev/null; }
[[ $(sections "$work/unpacked/$name/s1-forwarder") != *.debug_info* ]] ||
    fail "the archived program has debug information"
[[ $(sections "$debug") == *.debug_info* ]] || fail "there is no debug information to keep"
echo "program: $(stat -c %s "$built") bytes as built, $(stat -c %s "$work/unpacked/$name/s1-forwarder") in the archive"

if $dry_run; then
    git -C "$tree" --no-pager diff --stat
    (cd "$dist" && ls -l)
    echo "dry run: s1-forwarder $version would hold the above; nothing was changed"
    exit 0
fi
for file in CHANGELOG.md Cargo.toml Cargo.lock deploy/helm/s1-forwarder/Chart.yaml deploy/kubernetes/s1-forwarder.yaml; do
    cp "$tree/$file" "$file"
    git add "$file"
done
git commit --quiet --message "build: release $version"
git tag --annotate "v$version" --message "s1-forwarder $version"
mv "$dist" dist
echo "s1-forwarder $version is in dist/; publish it with: git push origin HEAD v$version"
