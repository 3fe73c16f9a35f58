package initd

// Config is what a machine is told before it is started.
type Config struct {
	// Dir is a folder of the machine's own, outside of it, which holds the
	// image of its disk. Mounts are made below it, in the machine's own mount
	// namespace.
	Dir string `json:"dir"`
	// Program is the file that the machine's process 1 runs, outside of it.
	Program string `json:"program"`

	Hostname string `json:"hostname"`
	Address  string `json:"address"`
	UserData []byte `json:"user_data"`
	// NoDocker makes dockerd a program that ends with an error.
	NoDocker bool `json:"no_docker,omitempty"`
	// FillDisk leaves nothing free on the disk once the user data has run.
	FillDisk bool `json:"fill_disk,omitempty"`
}

const (
	// Name is the name under which a program that calls Takeover becomes the
	// first process of a machine. Its argument is the file of the Config.
	Name = "loads-machine"
	// ImageFile is the name of the disk's image in Config.Dir, which has an
	// ext4 file system.
	ImageFile = "disk.img"

	// ControlFD is the pipe by which process 1 is told what to do: Go, PowerOff.
	// When it is closed, the machine ends at once: so machines die with the
	// program that runs them, however that dies.
	ControlFD = 3

	// ExitPowerOff and ExitReboot are how process 1 ends when the machine has
	// turned itself off, or wants to be started again.
	ExitPowerOff = 0
	ExitReboot   = 10
)

// What is written to the pipe.
const (
	Go       = "g" // the network and the control groups are there: boot
	PowerOff = "o" // shut down
)
