// Package nshost runs the simulated EC2's machines as real Docker hosts on
// one Linux computer. It needs root.
//
// Each machine has a network namespace with addresses of its own, an overlay
// of this computer's root on a disk of the size asked for, process, mount, host
// name and IPC namespaces, and control groups. Process 1 in it is package
// initd's, which runs the user data as it was given.
//
// The machines' network is a namespace too, a router, which has a link to each
// machine and one to this computer. There the security groups are enforced,
// public addresses translated, and the metadata service answers. So no rule of
// this computer's own firewall is read, changed or left behind.
//
// All of this lives by processes and open files: a simulator that is killed
// takes everything along but files and control groups, which the next New or
// Cleanup removes.
package nshost
