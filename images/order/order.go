// Package order is what the broker and the node program say to each other
// about images that go from machine to machine: what a machine is to get and
// from where, and what came of it. It does nothing.
package order

// Ports of a machine, while images are spread. Those of its peers are open to
// the run's own machines only.
const (
	PeerPort  = 27125 // blobs, by mutual TLS
	SeedPort  = 27126 // the node program's own layer, for engines that have nothing yet
	LocalPort = 27127 // a registry for the machine's own engine, on loopback
)

// Where things are in the containers that spread images.
const (
	Store    = "/images"            // the volume that they share
	Incoming = "/images/incoming"   // archives that came from the broker
	Folder   = "/etc/loads/images"  // what follows
	Path     = Folder + "/order"    // the Order, as JSON
	CAFile   = Folder + "/ca.pem"   // whose certificates are the run's machines
	CertFile = Folder + "/cert.pem" // the machine's own
	KeyFile  = Folder + "/key.pem"
)

// LocalFault is the status of the program when an order failed on the machine
// itself, as on a full disk: other sources would not do.
const LocalFault = 3

// An Order says which image a machine is to get, from one of its sources.
type Order struct {
	// Key is by what the image is known, on this machine, in later orders. One
	// with nothing else asks whether the machine has it.
	Key string `json:"key"`
	// Manifest is the digest of the image's manifest, when it is known; what
	// comes is checked against it.
	Manifest string `json:"manifest,omitempty"`
	// Peers have the image; they are tried in this order.
	Peers    []Peer    `json:"peers,omitempty"`
	Archive  *Archive  `json:"archive,omitempty"`
	Node     *Recipe   `json:"node,omitempty"`
	Registry *Registry `json:"registry,omitempty"`
}

// A Peer is a machine of the run.
type Peer struct {
	Address string `json:"address"` // host:port
	Name    string `json:"name"`    // that its certificate must have
}

// An Archive is a file as "docker save" writes it, perhaps compressed.
type Archive struct {
	Path string `json:"path"`
	// Image is the name with the tag of the image that is meant; empty, or not
	// among those in the archive, it is the only one.
	Image string `json:"image,omitempty"`
	Limit int64  `json:"limit"` // most bytes, unpacked
}

// A Recipe is what the node image is made of: files that the node program
// finds around itself, in one layer.
type Recipe struct {
	Config []byte `json:"config"` // the image's configuration
	Layer  string `json:"layer"`  // its digest
	Files  []File `json:"files"`  // in their order in the layer
}

// A File is a file of the layer, or a folder.
type File struct {
	Path   string `json:"path"` // without the leading slash
	Mode   int64  `json:"mode"`
	Folder bool   `json:"folder,omitempty"`
}

// A Registry has the image under a name.
type Registry struct {
	// Image is the full name with its tag or digest: docker.io/library/x:1.
	Image        string `json:"image"`
	Architecture string `json:"architecture"`
	User         string `json:"user,omitempty"`
	Password     string `json:"password,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	AccessToken  string `json:"access_token,omitempty"`
}

// A Result is what came of an Order, on the one line of output.
type Result struct {
	Manifest string `json:"manifest"` // digest
	Bytes    int64  `json:"bytes"`    // that came from peers or a registry
	// Faults are sentences on sources that did not do.
	Faults []string `json:"faults,omitempty"`
}
