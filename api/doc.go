// Package api serves the broker over HTTP, and is the client of it.
//
// The paths, methods and field names of loads v2 are kept, so that its clients
// work unchanged; what is new has paths and fields of its own beside them. The
// OpenAPI document at /api/openapi.json is made from the handlers' types. The
// server and the client share the structs of the wire.
//
// Every JSON answer has success and status; every failure has a message, and
// faults when a plan is wrong. What goes wrong inside the broker is logged once,
// here, and not shown.
package api
