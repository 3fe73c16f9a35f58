#!/usr/bin/env bash
# lint.sh: all checks of the source that don't run the program. Every check
# runs, so that one call shows all faults.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=()
check() {
	local name=$1
	shift
	echo "lint: $name"
	"$@" || failed+=("$name")
}

gofumpt() {
	local tool list
	tool=$(scripts/go-tool.sh gofumpt mvdan.cc/gofumpt v0.12.0) || return
	list=$(find . -name '*.go' -not -path './.*' -print0 | xargs -0 "$tool" -l) || return
	[[ -z $list ]] && return
	sed 's/^/not formatted; run .build\/tools\/gofumpt -w on it: /' <<<"$list"
	return 1
}

staticcheck() {
	local tool
	tool=$(scripts/go-tool.sh staticcheck honnef.co/go/tools/cmd/staticcheck v0.8.2) && "$tool" ./...
}

# vulnerabilities asks the Go project's database, which is not to be reached
# from everywhere; a change is not held up by that.
vulnerabilities() {
	local tool
	if ! reachable vuln.go.dev 443; then
		echo "lint: govulncheck SKIPPED: its database, vuln.go.dev, can't be reached from here"
		return
	fi
	tool=$(scripts/go-tool.sh govulncheck golang.org/x/vuln/cmd/govulncheck v1.9.0) && "$tool" ./...
}

reachable() { timeout 5 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }

shell_scripts() {
	local script bad=0
	for script in scripts/*.sh .ci/run; do
		bash -n "$script" || bad=1
		[[ -x $script ]] || { echo "$script is not executable"; bad=1; }
	done
	return $bad
}

check "gofumpt" gofumpt
check "go vet" go vet ./...
check "staticcheck" staticcheck
check "imports, sizes, documents" go test -count=1 .
check "shell scripts" shell_scripts
check "govulncheck" vulnerabilities

[[ ${#failed[@]} == 0 ]] || {
	printf 'lint: FAILED: %s\n' "${failed[@]}"
	exit 1
}
echo "lint: ok"
