package dockerctl

// SetNodeImage changes the name of the node image, so that a test leaves the
// image of the brokers on the same engine alone.
func (e *Engine) SetNodeImage(name string) { e.node = name }

// Split takes a container's output apart.
var Split = split
