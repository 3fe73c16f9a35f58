#!/usr/bin/env bash
# bench-gen.sh [flags of loadgen/benchgen]: measures the load generator side by
# side with others, against one nginx on loopback. Installs those into
# .build/peers, without touching the system; nginx, wrk and hey are taken from
# the system where it has them, else their Debian packages are unpacked there.
# wrk2 is in no registry: put it, built from its source, into .build/peers/wrk2
# to have it measured too. Needs four processor cores, Go and apt; root for
# the priority that the measurement takes.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/.build/peers
mkdir -p "$peers"

# go_peer NAME PACKAGE MODULE VERSION builds a program in a module of its own.
# That asks for the one version only: not everywhere are lists of versions to be
# had, which go install asks for.
go_peer() {
	local name=$1 package=$2 module=$3 version=$4 source
	[[ -e $peers/$name ]] && return
	source=$peers/source/$name
	mkdir -p "$source"
	(
		cd "$source"
		printf 'module peer\n\ngo 1.26\n' >go.mod
		go mod edit -require="$module@$version"
		go build -mod=mod -o "$peers/$name" "$package"
	) || echo "bench-gen: $name can't be built, and is left out" >&2
}

# deb_peer NAME PACKAGE PATH unpacks a Debian package, for its program only.
deb_peer() {
	local name=$1 package=$2 path=$3
	[[ -e $peers/$name ]] || command -v "$name" >/dev/null && return
	(
		cd "$peers"
		apt-get download "$package"
		dpkg -x "$package"_*.deb "deb-$name"
		ln -sf "deb-$name$path" "$name"
	) || echo "bench-gen: $name can't be had" >&2
}

go_peer bombardier github.com/codesenberg/bombardier github.com/codesenberg/bombardier v1.2.6
go_peer fortio fortio.org/fortio fortio.org/fortio v1.66.5
go_peer vegeta github.com/tsenart/vegeta/v12 github.com/tsenart/vegeta/v12 v12.13.0
go_peer k6 go.k6.io/k6 go.k6.io/k6 v1.8.1
deb_peer nginx nginx /usr/sbin/nginx
deb_peer wrk wrk /usr/bin/wrk
deb_peer hey hey /usr/bin/hey
[[ -e $peers/wrk2 ]] || echo "bench-gen: there is no .build/peers/wrk2, so wrk2 is left out" >&2
CGO_ENABLED=0 go build -trimpath -o "$peers/loads-node" ./cmd/loads-node
CGO_ENABLED=0 go build -trimpath -o "$peers/benchgen" ./loadgen/benchgen
exec "$peers/benchgen" -dir "$peers" "$@"
