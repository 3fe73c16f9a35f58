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
{{.Watchdog}}LOADS-END
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
ExecStart=/bin/bash /usr/local/lib/loads/watchdog {{.Tick}} {{.Orderly}} {{.Forced}}
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
loads-state 0 0 {{.Term}} 0 {{.Lease}} {{.End}} .
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
{{.CA}}LOADS-END
index={{if .Many}}-1{{else}}0{{end}}
{{- if .Many}}
# The machines of one call are told the same. EC2 numbers them, and each has the
# key of its number. ask METHOD PATH HEADER puts what the metadata service says
# into answer.
ask() {
	local line
	answer=
	{
		printf '%s /latest/%s HTTP/1.1\r\nHost: 169.254.169.254\r\n%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$@" >&3
		read -rt 10 -u 3 line
		[[ $line == HTTP/1.?' 200 '* ]] || return
		while read -rt 10 -u 3 line && [[ $line != $'\r' ]]; do :; done
		read -rt 10 -u 3 answer
	} 3<>/dev/tcp/169.254.169.254/80
	[[ -n $answer ]]
} 2>/dev/null
find_index() {
	for _ in {1..120}; do
		ask PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60' &&
			ask GET meta-data/ami-launch-index "X-aws-ec2-metadata-token: $answer" &&
			[[ $answer =~ ^[0-9]+$ ]] && index=$answer && return
		sleep 1
	done
	fail "the metadata service does not tell which machine this is"
}
find_index && say "it is number $index of its call"
{{- end}}
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
{{range .Servers}}{{.}}
{{end}}LOADS-END
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
