// Package ec2sim is EC2 on one computer: a server that speaks the wire
// protocols of EC2 and of the few services that go with it, so that the real
// SDK and the real command line of AWS work with it, and that can be told what
// to get wrong.
//
// What the API says of a machine is kept here; the machine itself is run by a
// Host.
package ec2sim
