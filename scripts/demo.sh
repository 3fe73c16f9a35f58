#!/usr/bin/env bash
# demo.sh: runs examples/quickstart.yaml to its end with a broker and a
# database made for the purpose, and shows that nothing is left behind.
#
# A Docker engine that was not running before is started for the demo and
# stopped after it. The image loads/node stays in the engine: it is what makes
# the next run start sooner.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
broker= # process id of the broker
url=    # where it answers
id=     # labels all that it makes

# engine prints the process id of the engine that docker-engine.sh has started
# by hand, if any.
engine() { cat .run/dockerd.pid 2>/dev/null || true; }
engine_before=$(engine)

# The clean-up runs however the demo ends: a run that still goes is aborted,
# then the broker is stopped, then the engine is asked what is left.
clean_up() {
	local code=$?
	trap - EXIT INT TERM
	set +e
	if [[ -n $url && $code != 0 ]]; then
		bin/loads --broker "$url" abort last >/dev/null 2>&1
		bin/loads --broker "$url" wait last >/dev/null 2>&1
	fi
	if [[ -n $broker ]]; then
		kill "$broker" 2>/dev/null
		wait "$broker" 2>/dev/null
	fi
	left_behind || code=1
	if [[ $(engine) != "$engine_before" ]]; then
		scripts/docker-engine.sh stop || code=1
	fi
	[[ $code =~ ^(0|5|130|143)$ ]] || show_log # all is well, or somebody stopped it
	rm -rf "$dir"
	exit "$code"
}

show_log() {
	[[ -s $dir/broker.log ]] || return
	echo "The end of the broker's log:" >&2
	tail -n 30 "$dir/broker.log" >&2
}

# left_behind fails when the engine holds anything that our broker has made.
left_behind() {
	[[ -n $id ]] || return 0
	local left
	left=$(scripts/engine.sh labelled "loads.broker=$id") || return
	if [[ -n $left ]]; then
		printf 'The demo left something behind:\n%s\n' "$left" >&2
		return 1
	fi
	echo "Nothing is left behind: no container, no network, no process."
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

scripts/docker-engine.sh

# A session of its own keeps Ctrl-C at the terminal from the broker, which is
# needed until the run has been stopped. Port 0 is any free port.
setsid bin/loads broker --listen 127.0.0.1:0 --db "$dir/loads.db" \
	${DOCKER_HOST:+--docker "$DOCKER_HOST"} >"$dir/broker.out" 2>"$dir/broker.log" </dev/null &
broker=$!
for _ in $(seq 100); do
	url=$(grep -ohm1 'http://[^ ]*' "$dir/broker.out" || true)
	[[ -n $url ]] && break
	kill -0 "$broker" 2>/dev/null || break
	sleep 0.1
done
[[ -n $url ]] || {
	echo "The broker did not start." >&2
	exit 1
}

id=$(bin/loads --broker "$url" --json info | grep -o '"broker_id": *"[^"]*"' | cut -d '"' -f 4)
[[ -n $id ]] || {
	echo "The broker does not say who it is." >&2
	exit 1
}

bin/loads --broker "$url" run examples/quickstart.yaml --owner demo
