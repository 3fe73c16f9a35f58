#!/usr/bin/env bash
# docker-engine.sh: sees to a running Docker engine.
#
#   docker-engine.sh [start]   nothing, when one answers; else starts dockerd,
#                              which it installs first on Debian and its kin
#   docker-engine.sh stop      ends the engine that start started by hand
#
# DOCKER_HOST is respected. An engine that start had to start by hand leaves
# its process id in .run/dockerd.pid and its log in .run/dockerd.log.
set -euo pipefail
cd "$(dirname "$0")/.."

pidfile=.run/dockerd.pid
log=.run/dockerd.log

say() { echo "$*" >&2; }
die() {
	say "$@"
	exit 1
}

answers() { scripts/engine.sh ping -wait "${1:-0s}" 2>/dev/null >&2; }

# with_systemd: is systemd in charge here, so that it can start services?
with_systemd() { [[ -d /run/systemd/system ]] && command -v systemctl >/dev/null; }

install_engine() {
	command -v apt-get >/dev/null ||
		die "No Docker engine answers and dockerd is not installed. Install Docker (https://docs.docker.com/engine/install/), start it, and try again."
	[[ $(id -u) == 0 ]] ||
		die "No Docker engine answers and dockerd is not installed. Run: sudo apt-get install docker.io iptables"
	say "Installing docker.io and iptables from Debian's packages ..."
	export DEBIAN_FRONTEND=noninteractive
	mkdir -p .run
	{
		apt-get update &&
			apt-get install -y --no-install-recommends docker.io iptables ca-certificates
	} >.run/apt.log 2>&1 </dev/null || {
		tail -n 20 .run/apt.log >&2
		die "docker.io could not be installed; the whole story is in .run/apt.log. Install a Docker engine by hand, start it, and try again."
	}
}

# mount_cgroups gives containers what they are limited with, where no init has
# mounted it.
mount_cgroups() {
	[[ -n $(ls /sys/fs/cgroup 2>/dev/null) ]] && return
	mount -t cgroup2 none /sys/fs/cgroup ||
		say "There are no control groups in /sys/fs/cgroup, and mounting them failed; dockerd may not start."
}

start_by_hand() {
	local args=()
	[[ -n ${DOCKER_HOST:-} ]] && args=(--host "$DOCKER_HOST")
	# Every local machine is a network, and Docker's own pools give only some
	# thirty; this one gives four thousand.
	[[ -e /etc/docker/daemon.json ]] || args+=(--default-address-pool base=172.16.0.0/12,size=24)
	mount_cgroups
	mkdir -p .run
	# A process id left by an engine that was killed would stop the new one.
	local old=/var/run/docker.pid
	[[ -e $old ]] && ! kill -0 "$(<"$old")" 2>/dev/null && rm -f "$old"
	say "Starting dockerd by hand; its log is $log ..."
	setsid dockerd "${args[@]}" >"$log" 2>&1 </dev/null &
	local pid=$!
	echo "$pid" >"$pidfile"
	wait_for "$pid" && return
	kill "$pid" 2>/dev/null || true
	rm -f "$pidfile"
	say "dockerd did not come up. The end of $log:"
	tail -n 20 "$log" >&2
	die "It needs root, iptables and control groups. Start a Docker engine by hand, or point DOCKER_HOST at one, and try again."
}

# wait_for the engine of that process to answer, for a minute; not longer than
# the process lives.
wait_for() {
	for _ in $(seq 60); do
		answers 1s && return 0
		kill -0 "$1" 2>/dev/null || return 1
	done
	return 1
}

start() {
	# Without Go nothing could ask the engine, and it would seem not to be there.
	scripts/need.sh go
	answers && return
	case ${DOCKER_HOST:-unix://} in
	unix://*) ;;
	*) die "No Docker engine answers at DOCKER_HOST=$DOCKER_HOST. Start it, or unset DOCKER_HOST to use the one of this computer." ;;
	esac
	command -v dockerd >/dev/null || install_engine
	if with_systemd && [[ -z ${DOCKER_HOST:-} ]]; then
		say "Starting Docker's service ..."
		systemctl start docker ||
			die "systemctl start docker failed. See journalctl -u docker, start it, and try again."
		answers 60s || die "Docker's service runs, but its engine does not answer. May this user use /var/run/docker.sock?"
		return
	fi
	[[ $(id -u) == 0 ]] || die "No Docker engine answers, and starting dockerd needs root. Run: sudo dockerd"
	start_by_hand
}

stop() {
	[[ -e $pidfile ]] || return 0
	local pid
	pid=$(<"$pidfile")
	if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]]; then
		say "Stopping the dockerd that was started by hand ..."
		kill "$pid"
		for _ in $(seq 150); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.2
		done
		kill -0 "$pid" 2>/dev/null && die "dockerd, process $pid, did not end within 30 seconds."
	fi
	rm -f "$pidfile"
}

case ${1:-start} in
start) start ;;
stop) stop ;;
*) die "usage: docker-engine.sh [start|stop]" ;;
esac
