// Package initd is the first process of a simulated machine, and the commands
// that talk to it: what systemd is on a real one, as far as a load generator's
// host needs it.
//
// A program that runs machines calls Takeover first of all, and is then started
// again in each of them: as process 1, which makes the machine's root, starts
// the units that are enabled, runs the user data and reaps; and as systemctl,
// shutdown, poweroff, halt and reboot, which ask process 1 over a socket.
//
// Units are read from the folders that systemd reads: services (simple, exec,
// oneshot, notify), timers (OnBootSec, OnStartupSec, OnActiveSec,
// OnUnitActiveSec, OnUnitInactiveSec) and stream sockets that a service is
// handed, each with drop-ins. Settings unknown here are passed over, as systemd
// does.
package initd
