// Package aws rents machines from EC2: it is a broker's pool of them.
//
// What is launched is written to disk before EC2 is asked, with the client
// token that makes the same call the same machines however often it is made; one
// call launches many (see cohort.go and calls.go). A machine is found again by its
// tags, which the launching call puts on. It lives on a lease (see aws/boot),
// answers the broker alone (see aws/trust), and has no key to the account. One
// that a run gives back may be kept for the next: see idle.go.
package aws
