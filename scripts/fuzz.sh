#!/usr/bin/env bash
# fuzz.sh: runs each fuzz target of each package for FUZZTIME (20s).
# Making interesting inputs small is kept short: it would take all the time.
set -euo pipefail
cd "$(dirname "$0")/.."

ran=0
for package in $(go list ./...); do
	list=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$list" || true); do
		echo "fuzz: $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-20s}" -fuzzminimizetime 1s "$package"
		ran=$((ran + 1))
	done
done
echo "fuzz: ran $ran targets"
