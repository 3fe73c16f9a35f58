// Package hosts is the pools of machines that exist already: Local, the local
// engine, which plays any number of machines, and List, Docker hosts named in a
// file.
package hosts
