// Package ec2sim is EC2 on one computer: a server that speaks the wire
// protocols of EC2 and of the few services that go with it, so that the real
// SDK and the real command line of AWS work with it, and that can be told what
// to get wrong.
//
// What the API says of a machine is kept here; the machine itself is run by a
// Host.
//
// A Sim has one lock over all that it knows; answers are made of copies, so
// they are worded outside of it. Each instance has a goroutine that takes it
// from state to state (see instance.live): calls only say which state comes
// next and wake it. The Host is never called with the lock held.
//
// Time is the time package's: tests run a Sim in a bubble of testing/synctest.
package ec2sim
