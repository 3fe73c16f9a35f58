#!/usr/bin/env bash
# image.sh: builds the broker's image, loads/broker, out of bin/, and runs it
# once to see that it starts: in an empty image only a static program does.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${VERSION:-dev}
tag=${version//[^A-Za-z0-9_.-]/-}
root=.build/image

rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/var/lib/loads" "$root/tmp"
chmod 1777 "$root/tmp"
cp bin/loads bin/loads-node-linux-amd64 bin/loads-node-linux-arm64 "$root/usr/bin/"
go run ./scripts/cacerts >"$root/etc/ssl/certs/ca-certificates.crt"

scripts/docker-engine.sh
scripts/engine.sh build "loads/broker:$tag,loads/broker:latest" . "$root"
scripts/engine.sh run "loads/broker:$tag" version
echo "The image is loads/broker:$tag, and loads/broker:latest."
