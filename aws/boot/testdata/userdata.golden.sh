#!/bin/bash
# What a machine of Loads is told at its birth. It may be run again. All that
# has to outlive a reboot is installed.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
failed=0

say() { echo "loads-boot: $*" >&2; }
fail() {
	say "$*"
	failed=1
	return 1
}

# put MODE FILE writes what comes on standard input, whole or not at all.
put() {
	if ! { mkdir -p "${2%/*}" && cat >"$2.new" && chmod "$1" "$2.new" && mv -fT "$2.new" "$2"; }; then
		fail "can't write $2"
	fi
}

# 1. The lease. It comes first, and without it the machine may not live.
install_watchdog() {
	put 0700 /usr/local/lib/loads/watchdog <<'LOADS-END' || return
#!/bin/bash
# Ends this machine when its lease has ended: docs/leases.md of Loads says how.
# Usage: watchdog TICK ORDERLY FORCED, seconds: between two looks at the lease,
# for an orderly shutdown, and for a forced one.
#
# All times are seconds of /proc/uptime, so that the clock may say what it
# wants. The loop itself needs no disk and no other program. A shell that can't
# start a process ends, after a while; this one then becomes itself again, which
# needs none.
set -u
umask 077
tick=$1 orderly=$2 forced=$3
lease=/run/loads/lease             # from the broker
memory=/run/loads-watchdog/state.  # and 0 or 1: for the next watchdog of this boot
disk=/var/lib/loads/state          # for the first one of the next boot

trap 'exec "$BASH" "$0" "$tick" "$orderly" "$forced"' EXIT
trap 'trap - EXIT; exit 1' TERM # systemd's last word in a shutdown

say() { echo "loads-watchdog: $*"; }

for dir in "${lease%/*}" "${memory%/*}"; do
	[[ -d $dir ]] || mkdir -p "$dir"
done

# doze waits, on a pipe that nobody writes to. Without one it must not spin.
silence=${memory%/*}/silence
[[ -p $silence ]] || mkfifo "$silence"
exec {silence}<>"$silence"
doze() {
	read -rt "$1" -u "$silence"
	(($? > 128)) || sleep 1
}

read_uptime() {
	read -r up _ </proc/uptime
	up=${up%.*}
}

# read_line WORD COUNT FILE puts the numbers between a word and a dot into n. A
# file that is not there, or only in part, is no line.
read_line() {
	local i fields
	[[ -f $3 ]] || return
	{ read -ra fields <"$3"; } 2>/dev/null || return
	((${#fields[@]} == $2 + 2)) || return
	[[ ${fields[0]} == "$1" && ${fields[$2 + 1]} == . ]] || return
	n=("${fields[@]:1:$2}")
	for i in "${n[@]}"; do
		[[ $i =~ ^(0|[1-9][0-9]{0,14})$ ]] || return
	done
}

# load takes up where the watchdog before has ended. age is how long the machine
# has lived, not counting when it was off; until and end are the ages at which
# its lease and its term end.
load() {
	local i
	read_uptime
	age=-1 last=$up term=0 seq=0 until=0 end=0
	for i in 0 1; do
		read_line loads-state 6 "$memory$i" || continue
		((n[0] > age || (n[0] == age && n[3] >= seq))) || continue
		age=${n[0]} last=${n[1]} term=${n[2]} seq=${n[3]} until=${n[4]} end=${n[5]}
	done
	if ((age < 0)) && read_line loads-state 6 "$disk"; then
		age=${n[0]} term=${n[2]} seq=${n[3]} until=${n[4]} end=${n[5]}
	fi
	((last <= up)) || last=$up
	((age < 0)) || return
	age=0
	say "$disk can't be read, so there is no lease"
}

# keep is never in the way of the loop: in memory it writes two files in turn,
# of which one is whole whenever it is killed, and the disk, which may hang, is
# left to a child. That is done again only when it has ended.
keep() {
	line="loads-state $age $last $term $seq $until $end ."
	((turn = 1 - turn))
	echo "$line" >"$memory$turn"
	[[ -z $keeping ]] || return
	keeping=yes
	keep_on_disk &
} 2>/dev/null
keep_on_disk() { echo "$line" >"$disk.new" && sync "$disk.new" && mv -fT "$disk.new" "$disk"; }
turn=0 keeping=
trap 'keeping=' CHLD

grow_older() {
	read_uptime
	((age += up - last, last = up))
}

# renew takes the lease file if it is newer than all before it. A term's end
# comes nearer only; a new term has a new one.
renew() {
	local t s l e
	read_line loads-lease 4 "$lease" || return
	t=${n[0]} s=${n[1]} l=${n[2]} e=${n[3]}
	((s > seq && t >= term)) || return
	((seq = s, until = age + l))
	if ((t > term)); then
		((term = t, end = age + e))
		say "term $term ends in $e seconds"
	elif ((age + e < end)); then
		((end = age + e))
		say "term $term ends in $e seconds already"
	fi
}

power_off() {
	local since=$1 why=$2
	say "powering off: $why"
	((age < since + orderly + forced)) || last_resort
	shutdown -h now &
	doze "$orderly"
	say "an orderly shutdown takes too long: forcing it"
	poweroff -f &
	doze "$forced"
	last_resort
	exit # to begin again
}

# last_resort asks the kernel, but only that of the machine itself: it has
# kthreadd as its second process. A computer that plays machines has it too, but
# they don't see it.
last_resort() {
	local second
	{ read -r second </proc/2/comm; } 2>/dev/null && [[ $second == kthreadd ]] || return
	say "asking the kernel"
	echo o >/proc/sysrq-trigger
}

load
say "age $age, lease until $until, term $term until $end"
while :; do
	grow_older
	renew
	((age < end)) || power_off "$end" "the end of its term has come"
	((age < until)) || power_off "$until" "its lease was not renewed"
	keep
	((left = (until < end ? until : end) - age))
	doze $((left < tick ? left : tick))
done
LOADS-END
	put 0644 /etc/systemd/system/loads-lease.service <<'LOADS-END' || return
[Unit]
Description=Loads: ends this machine when its lease has ended
# It outlives an orderly shutdown's stopping of services, to force a slow one.
DefaultDependencies=no
After=local-fs.target
Before=docker.service
IgnoreOnIsolate=yes
RefuseManualStop=yes
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/bash /usr/local/lib/loads/watchdog 5 30 10
Restart=always
RestartSec=1
OOMScoreAdjust=-1000
Nice=-10
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
LOADS-END
	if [[ ! -e /var/lib/loads/state ]]; then
		put 0600 /var/lib/loads/state <<'LOADS-END' || return
loads-state 0 0 0 0 600 7200 .
LOADS-END
	fi
	systemctl daemon-reload &&
		systemctl enable loads-lease.service &&
		systemctl start loads-lease.service || return
	for _ in {1..200}; do
		[[ -s /run/loads-watchdog/state.1 ]] && return # it has looked at the lease
		sleep 0.1
	done
	return 1
}
if ! install_watchdog; then
	say "no watchdog runs, so this machine powers off"
	shutdown -h now
	exit 1
fi
say "the watchdog runs"

# 2. Who it is, and who may talk to its Docker.
put 0600 /etc/loads/ca.pem <<'LOADS-END'
PEM
LOADS-END
index=0
pem() {
	echo "-----BEGIN $1-----"
	fold -w 64 <<<"$2"
	echo "-----END $1-----"
}
row=0 found=
while read -r cert key; do
	((row++ == index)) || continue
	put 0600 /etc/loads/server.pem < <(pem CERTIFICATE "$cert")
	put 0600 /etc/loads/server-key.pem < <(pem "EC PRIVATE KEY" "$key")
	found=yes
done <<'LOADS-END'
CERTIFICATE KEY
LOADS-END
[[ $found ]] || fail "there is no key for it"

# 3. Kernel limits for load: many connections from one host.
put 0644 /etc/modules-load.d/loads.conf <<'LOADS-END'
nf_conntrack
LOADS-END
put 0644 /etc/sysctl.d/90-loads.conf <<'LOADS-END'
net.ipv4.ip_local_port_range = 1024 65535
net.ipv4.ip_local_reserved_ports = 2376,8125
net.ipv4.tcp_tw_reuse = 1
net.ipv4.tcp_fin_timeout = 15
net.ipv4.tcp_max_syn_backlog = 65535
net.core.somaxconn = 65535
net.core.netdev_max_backlog = 65535
net.core.rmem_max = 67108864
net.core.wmem_max = 67108864
net.netfilter.nf_conntrack_max = 1048576
net.netfilter.nf_conntrack_tcp_timeout_time_wait = 15
LOADS-END
modprobe nf_conntrack 2>/dev/null
unset_limits=
while IFS=' =' read -r key value; do
	{ echo "$value" >"/proc/sys/${key//.//}"; } 2>/dev/null || unset_limits+=" $key"
done </etc/sysctl.d/90-loads.conf
[[ -z $unset_limits ]] || say "the kernel does not take these limits:$unset_limits"

# 4. Docker, for who has a certificate. On Amazon's image its service starts
# only when this script has ended, so nothing here may wait for it. The agent
# of ECS, which is there too, has no cluster to serve.
if [[ -e /usr/lib/systemd/system/ecs.service || -e /etc/systemd/system/ecs.service ]]; then
	systemctl mask ecs.service || fail "can't turn the ECS agent off"
	systemctl --no-block stop ecs.service || fail "can't stop the ECS agent"
fi
nofile=1048576 # open files, or as many as root may have here
(ulimit -Hn "$nofile") 2>/dev/null || nofile=$(ulimit -Hn)
put 0600 /etc/loads/docker.json <<LOADS-END
{
  "hosts": ["unix:///run/docker.sock", "tcp://0.0.0.0:2376"],
  "tlsverify": true,
  "tlscacert": "/etc/loads/ca.pem",
  "tlscert": "/etc/loads/server.pem",
  "tlskey": "/etc/loads/server-key.pem",
  "log-driver": "json-file",
  "log-opts": {"max-size": "100m", "max-file": "5"},
  "default-ulimits": {"nofile": {"Name": "nofile", "Soft": $nofile, "Hard": $nofile}}
}
LOADS-END
if dockerd=$(command -v dockerd); then
	put 0644 /etc/systemd/system/docker.service.d/loads.conf <<LOADS-END
[Service]
ExecStart=
ExecStart=$dockerd --config-file=/etc/loads/docker.json
LimitNOFILE=$nofile
LOADS-END
	systemctl daemon-reload || fail "systemd does not take the settings of Docker"
	systemctl enable docker.service || fail "can't have Docker started at each boot"
	systemctl --no-block restart docker.service || fail "can't restart Docker"
else
	fail "there is no dockerd on this image"
fi

((failed)) || say "done"
exit "$failed"
