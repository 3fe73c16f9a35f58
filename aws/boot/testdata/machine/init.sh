#!/bin/bash
# The first process of a test's machine: makes its root over the computer's own
# and then runs, line by line, what the test writes into /record/control.
# Usage: init.sh DIR, which has upper, work, root, run, record and docker.
set -eu
dir=$1
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
root=$dir/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
for pair in run:run record:record docker:var/lib/docker; do
	mkdir -p "$root/${pair#*:}"
	mount --bind "$dir/${pair%:*}" "$root/${pair#*:}"
done
ip link set lo up
# shellcheck disable=SC2016 # it expands in the machine
exec chroot "$root" /bin/bash -c 'exec 3<>/record/control; while read -ru 3 line; do eval "$line"; done'
