package strategies

// What the tests look at from outside.
var (
	Builtins    = builtins
	IsSecret    = isSecret
	Interpolate = interpolate
)

// UnsetError is the error for a variable that is not set.
type UnsetError = unsetError
