#!/usr/bin/env bash
# go-tool.sh NAME MODULE/PACKAGE VERSION: sees to .build/tools/NAME, built from
# that version by this Go, and prints its path. Tools are not in go.mod, so
# that they never pull the program's own modules up.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 package=$2 version=$3
stamp=".build/tools/.$name-$version-$(go env GOVERSION)"
if [[ ! -x .build/tools/$name || ! -e $stamp ]]; then
	mkdir -p .build/tools
	echo "Building $name $version ..." >&2
	GOBIN="$PWD/.build/tools" go install "$package@$version" >&2
	rm -f ".build/tools/.$name-"*
	touch "$stamp"
fi
echo "$PWD/.build/tools/$name"
