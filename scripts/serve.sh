#!/usr/bin/env bash
# serve.sh start|stop: a broker that stays, on LISTEN (127.0.0.1:8080). Its
# database, log and process id are in .run.
set -euo pipefail
cd "$(dirname "$0")/.."

listen=${LISTEN:-127.0.0.1:8080}
pidfile=.run/broker.pid
log=.run/broker.log
out=.run/broker.out

# ours prints the process id of the broker that start has left running.
ours() {
	local pid
	pid=$(cat "$pidfile" 2>/dev/null) || return
	[[ $(cat "/proc/$pid/comm" 2>/dev/null) == loads ]] && echo "$pid"
}

announce() {
	echo "The broker runs at $(<.run/broker.url), process $1; log: $log; make stop ends it."
}

start() {
	local pid
	if pid=$(ours); then
		announce "$pid"
		return
	fi
	scripts/docker-engine.sh
	mkdir -p .run
	setsid nohup bin/loads broker --listen "$listen" --db .run/loads.db \
		${DOCKER_HOST:+--docker "$DOCKER_HOST"} >"$out" 2>>"$log" </dev/null &
	pid=$!
	echo "$pid" >"$pidfile"
	for _ in $(seq 100); do
		if grep -ohm1 'http://[^ ]*' "$out" >.run/broker.url; then
			announce "$pid"
			return
		fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill "$pid" 2>/dev/null || true
	rm -f "$pidfile"
	echo "The broker did not start on $listen (LISTEN=127.0.0.1:0 takes any free port). The end of $log:" >&2
	tail -n 5 "$log" >&2
	exit 1
}

stop() {
	local pid
	if ! pid=$(ours); then
		rm -f "$pidfile"
		echo "No broker runs that make serve has started."
		return
	fi
	kill "$pid"
	for _ in $(seq 300); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -0 "$pid" 2>/dev/null && {
		echo "The broker, process $pid, did not end within 30 seconds." >&2
		exit 1
	}
	rm -f "$pidfile"
	echo "The broker has ended. Runs under way go on at the next make serve."
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
	echo "usage: serve.sh start|stop" >&2
	exit 1
	;;
esac
