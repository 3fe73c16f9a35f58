package dockerctl

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/loads/loads/broker"
)

// PutFiles puts files, by absolute path, into a container, whether it runs or
// not. Files that are there are replaced.
func (e *Engine) PutFiles(ctx context.Context, id string, files map[string][]byte) error {
	ctx, cancel := limited(ctx, createLimit)
	defer cancel()
	return e.putFiles(ctx, id, files)
}

// putFiles is PutFiles within the caller's time.
func (e *Engine) putFiles(ctx context.Context, id string, files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	for p := range files {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
			return broker.Errorf(broker.EInvalid, "%q is not the clean absolute path of a file", p)
		}
	}
	if done, err := e.putInFolder(ctx, id, files); done {
		return err
	}
	folders, err := e.missingFolders(ctx, id, files)
	if err != nil {
		return err
	}
	content, err := filesTar(folders, files)
	if err != nil {
		return fmt.Errorf("pack files for a container: %w", err)
	}
	_, err = e.cli.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: content})
	return e.fail(ctx, err, "put files into container %s", short(id))
}

// putInFolder puts files that belong into one folder there, by a single call:
// some are brought in a hurry, from far away. It reports false if they don't, or
// there is no such folder.
func (e *Engine) putInFolder(ctx context.Context, id string, files map[string][]byte) (done bool, err error) {
	var folder string
	within := make(map[string][]byte, len(files))
	for p, content := range files {
		if folder != "" && folder != path.Dir(p) {
			return false, nil
		}
		folder, within[path.Base(p)] = path.Dir(p), content
	}
	content, err := filesTar(nil, within)
	if err != nil {
		return true, fmt.Errorf("pack files for a container: %w", err)
	}
	_, err = e.cli.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: folder, Content: content})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return true, e.fail(ctx, err, "put files into container %s", short(id))
}

// missingFolders returns the folders that the files need and the container
// does not have, parents first. Those that exist must not be in the tar, or
// they would lose their permissions.
func (e *Engine) missingFolders(ctx context.Context, id string, files map[string][]byte) ([]string, error) {
	need := map[string]bool{}
	for p := range files {
		for d := path.Dir(p); d != "/"; d = path.Dir(d) {
			need[d] = true
		}
	}
	var missing []string
	for _, d := range slices.Sorted(maps.Keys(need)) {
		_, err := e.cli.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: d})
		if errdefs.IsNotFound(err) {
			missing = append(missing, d)
		} else if err != nil {
			return nil, e.fail(ctx, err, "look at %s in container %s", d, short(id))
		}
	}
	return missing, nil
}

func filesTar(folders []string, files map[string][]byte) (*bytes.Buffer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	now := time.Now()
	for _, d := range folders {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(d, "/") + "/", Mode: 0o755, ModTime: now}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(p, "/"),
			Mode: 0o644, ModTime: now, Size: int64(len(files[p])),
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[p]); err != nil {
			return nil, err
		}
	}
	return &buf, w.Close()
}
