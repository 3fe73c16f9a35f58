package main

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
)

// build makes an image by the folder's Dockerfile, out of the paths in the
// folder, and gives it the tags.
func (e *engine) build(ctx context.Context, tags []string, folder string, paths []string) error {
	in, pack := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := packPaths(pack, os.DirFS(folder), append(paths, "Dockerfile"))
		pack.CloseWithError(err)
		packed <- err
	}()
	query := url.Values{"t": tags, "forcerm": {"1"}}
	answer, err := e.call(ctx, request{
		method: http.MethodPost, path: "/build", query: query, kind: "application/x-tar", body: in,
	})
	in.Close() // ends the packing if the engine did not want all of it
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		err = errors.Join(err, fmt.Errorf("pack %s: %w", folder, packErr))
	}
	if err != nil {
		return err
	}
	defer answer.Close()
	return printBuild(answer, e.out)
}

// packPaths writes files, and folders with all that is in them, as a tar
// archive.
func packPaths(w io.Writer, folder fs.FS, paths []string) error {
	archive := tar.NewWriter(w)
	for _, path := range paths {
		err := fs.WalkDir(folder, path, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return packFile(archive, folder, name, d)
		})
		if err != nil {
			return err
		}
	}
	return archive.Close()
}

// packFile adds one file or folder. They are root's in the image, whoever
// builds it.
func packFile(archive *tar.Writer, folder fs.FS, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, 0, 0, "", ""
	if err := archive.WriteHeader(header); err != nil || d.IsDir() {
		return err
	}
	file, err := folder.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(archive, file)
	return err
}

// printBuild copies the text of a build's progress. The engine answers 200
// also for a build that fails, so the fault is found in the stream.
func printBuild(progress io.Reader, out io.Writer) error {
	for decoder := json.NewDecoder(progress); ; {
		var line struct{ Stream, Error string }
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read build progress: %w", err)
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		fmt.Fprint(out, line.Stream)
	}
}

// run runs a container of the image to its end, writes its output, and
// removes it. A container that does not exit with 0 is an error.
func (e *engine) run(ctx context.Context, image string, args []string) (err error) {
	var created struct{ ID string }
	spec := map[string]any{"Image": image, "Cmd": args, "HostConfig": map[string]any{"NetworkMode": "none"}}
	if err := e.post(ctx, "/containers/create", spec, &created); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	path := "/containers/" + created.ID
	defer func() { err = errors.Join(err, e.remove(context.WithoutCancel(ctx), path)) }()
	if err := e.post(ctx, path+"/start", nil, nil); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	var ended struct{ StatusCode int }
	if err := e.post(ctx, path+"/wait", nil, &ended); err != nil {
		return fmt.Errorf("wait for container: %w", err)
	}
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}}
	logs, err := e.call(ctx, request{method: http.MethodGet, path: path + "/logs", query: query})
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	defer logs.Close()
	if err := copyOutput(e.out, logs); err != nil {
		return err
	}
	if ended.StatusCode != 0 {
		return fmt.Errorf("%s ended with exit code %d", image, ended.StatusCode)
	}
	return nil
}

// remove removes a container with its volumes, whether it runs or not.
func (e *engine) remove(ctx context.Context, path string) error {
	query := url.Values{"force": {"1"}, "v": {"1"}}
	answer, err := e.call(ctx, request{method: http.MethodDelete, path: path, query: query})
	if err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	return answer.Close()
}

// copyOutput takes the engine's framing off a container's output: before each
// piece stand eight bytes, of which the last four are its length.
func copyOutput(out io.Writer, logs io.Reader) error {
	var head [8]byte
	for {
		if _, err := io.ReadFull(logs, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
		if _, err := io.CopyN(out, logs, int64(binary.BigEndian.Uint32(head[4:]))); err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	}
}
