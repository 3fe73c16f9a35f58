#!/usr/bin/env bash
# need.sh PROGRAM...: fails with a sentence that says what to install when a
# program is missing.
set -euo pipefail

package() {
	case $1 in
	go) echo "Go 1.26 or later (https://go.dev/dl/)" ;;
	gcc) echo "a C compiler (apt-get install gcc libc6-dev)" ;;
	ip) echo "iproute2 (apt-get install iproute2)" ;;
	*) echo "$1 (apt-get install $1)" ;;
	esac
}

missing=0
for program in "$@"; do
	command -v "$program" >/dev/null && continue
	echo "Loads needs $(package "$program"); $program was not found in PATH." >&2
	missing=1
done
exit $missing
