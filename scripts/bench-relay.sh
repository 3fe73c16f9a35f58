#!/usr/bin/env bash
# bench-relay.sh [flags of relay/benchrelay]: measures the relay side by side
# with other receivers of statsd. Installs those into .build/peers, without
# touching the system, and runs in a network namespace of its own, so that
# nothing else can send to what is measured. Needs root, gcc, npm and apt.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/.build/peers
mkdir -p "$peers"

have() { [[ -e $peers/$1 ]]; }

go_peers() {
	have telegraf || GOBIN=$peers go install -tags custom,inputs.statsd,outputs.file,serializers.influx \
		github.com/influxdata/telegraf/cmd/telegraf@v1.37.2
	have statsd_exporter || GOBIN=$peers go install github.com/prometheus/statsd_exporter@v0.31.0
	# Not everywhere is its module to be had; then it is left out.
	have gostatsd || have gostatsd.absent || GOBIN=$peers go install github.com/atlassian/gostatsd/cmd/gostatsd@latest || {
		echo "bench-relay: gostatsd can't be had, and is left out; remove .build/peers/gostatsd.absent to try again" >&2
		touch "$peers/gostatsd.absent"
	}
}

other_peers() {
	have etsy/node_modules/statsd || npm install --prefix "$peers/etsy" --no-audit --no-fund --ignore-scripts statsd@0.9.0
	have collectd/usr/sbin/collectd || (
		cd "$peers"
		apt-get download collectd-core
		dpkg -x collectd-core_*.deb collectd
	)
}

go_peers
other_peers
gcc -O2 -Wall -o "$peers/bench" relay/benchrelay/c/bench.c
gcc -O2 -Wall -shared -fPIC -o "$peers/buffer.so" relay/benchrelay/c/buffer.c -ldl
CGO_ENABLED=0 go build -trimpath -o "$peers/loads-node" ./cmd/loads-node
go build -o "$peers/benchrelay" ./relay/benchrelay
exec unshare --net --pid --fork --mount-proc --kill-child bash -c \
	'ip link set lo up && exec taskset -c 0 "$@"' bench "$peers/benchrelay" -dir "$peers" "$@"
