package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionCommand prints what this program is.
type versionCommand struct {
	*program
	nodeDir string
}

// nodePrograms are the programs for machines, by the name they are built under.
var nodePrograms = [...]string{"loads-node-linux-amd64", "loads-node-linux-arm64"}

func (c *versionCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, and the node programs found",
		Long:    "Version prints the version of this program, of Go, and which programs for machines lie beside it.",
		Example: "  loads version\n  loads version --json",
		Args:    between(0, 0, ""),
		RunE:    c.run,
	}
	cmd.Flags().StringVar(&c.nodeDir, "node-dir", "", "folder of the loads-node programs (default: that of this program)")
	return cmd
}

// versionInfo is the answer of version.
type versionInfo struct {
	Version  string   `json:"version"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	NodeDir  string   `json:"node_dir"`
	Nodes    []string `json:"nodes"`
}

func (c *versionCommand) run(*cobra.Command, []string) error {
	dir, err := nodeDir(c.nodeDir)
	if err != nil {
		return err
	}
	info := versionInfo{
		Version: c.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		NodeDir: dir, Nodes: []string{},
	}
	for _, name := range nodePrograms {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			info.Nodes = append(info.Nodes, name)
		}
	}
	if c.json {
		return writeJSON(c.Stdout, info)
	}
	fmt.Fprintf(c.Stdout, "loads %s (%s, %s)\n", info.Version, info.Go, info.Platform)
	for _, name := range info.Nodes {
		fmt.Fprintf(c.Stdout, "node program: %s\n", filepath.Join(dir, name))
	}
	if len(info.Nodes) == 0 {
		fmt.Fprintf(c.Stdout, "no node programs in %s; make build puts them there\n", dir)
	}
	return nil
}

// nodeDir is the folder given, or the one that this program lies in.
func nodeDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's folder: %w", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Dir(exe), nil
}

// programVersion is the version that the linker stamped, else the one that Go
// recorded.
func programVersion(stamped string) string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}
