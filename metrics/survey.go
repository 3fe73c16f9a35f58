package metrics

// A Survey is what the node program finds on a machine that is between two
// uses. It is printed as one line of JSON.
type Survey struct {
	// Free and Total are bytes of the disk that the engine keeps containers on.
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
	// Strays are processes that containers have left: a few of them, each by
	// number and name.
	Strays []string `json:"strays,omitempty"`
}
