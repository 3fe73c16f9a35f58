// Package wire speaks the protocols of AWS from the server's side: it checks
// signatures, reads parameters, and words answers and errors as each service
// does.
package wire
