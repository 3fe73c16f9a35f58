#!/usr/bin/env bash
# test-deps.sh: sees to what the tests need beside Go: a Docker engine, a real
# InfluxDB, a browser, the command line of AWS, and the tools with which tests
# make networks of their own.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/docker-engine.sh
scripts/go-tool.sh influxd github.com/influxdata/influxdb/cmd/influxd v1.8.10 >/dev/null

# Tests that start engines or machines of their own give each namespaces, and
# what machines are told is checked as shell.
declare -A package=([ip]=iproute2 [iptables]=iptables [nsenter]=util-linux [nft]=nftables [mkfs.ext4]=e2fsprogs [curl]=curl
	[chromium]=chromium [aws]=awscli [shellcheck]=shellcheck)
missing=()
for program in "${!package[@]}"; do
	command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[[ ${#missing[@]} == 0 ]] && exit 0

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
	echo "The tests need these packages too; install them and try again: ${missing[*]}" >&2
	exit 1
fi
echo "Installing ${missing[*]} from Debian's packages ..." >&2
mkdir -p .run
{
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
} >.run/apt.log 2>&1 </dev/null || {
	tail -n 20 .run/apt.log >&2
	exit 1
}
