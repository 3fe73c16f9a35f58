#!/usr/bin/env bash
# engine.sh VERB...: runs scripts/engine, our small client of the Docker API.
# It needs neither docker's command line nor curl, which a fresh machine lacks.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/need.sh go
mkdir -p .build/tools
CGO_ENABLED=0 go build -buildvcs=false -o .build/tools/engine ./scripts/engine
exec .build/tools/engine "$@"
