package main

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// build makes an image of the folder by its Dockerfile, and gives it the tags.
func (e *engine) build(ctx context.Context, tags []string, folder string, out io.Writer) error {
	in, pack := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := packFolder(pack, folder)
		pack.CloseWithError(err)
		packed <- err
	}()
	query := url.Values{"t": tags, "forcerm": {"1"}}
	answer, err := e.call(ctx, http.MethodPost, "/build", query, "application/x-tar", in)
	in.Close() // ends the packing if the engine did not want all of it
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		err = errors.Join(err, fmt.Errorf("pack %s: %w", folder, packErr))
	}
	if err != nil {
		return err
	}
	defer answer.Close()
	return printBuild(answer, out)
}

// packFolder writes the folder as a tar archive.
func packFolder(w io.Writer, folder string) error {
	archive := tar.NewWriter(w)
	if err := archive.AddFS(os.DirFS(folder)); err != nil {
		return err
	}
	return archive.Close()
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
func (e *engine) run(ctx context.Context, image string, args []string, out io.Writer) (err error) {
	var created struct{ ID string }
	spec := map[string]any{"Image": image, "Cmd": args, "HostConfig": map[string]any{"NetworkMode": "none"}}
	if err := e.callJSON(ctx, http.MethodPost, "/containers/create", nil, spec, &created); err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	path := "/containers/" + created.ID
	defer func() {
		force := url.Values{"force": {"1"}, "v": {"1"}}
		err = errors.Join(err, e.callJSON(context.WithoutCancel(ctx), http.MethodDelete, path, force, nil, nil))
	}()
	if err := e.callJSON(ctx, http.MethodPost, path+"/start", nil, nil, nil); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	var ended struct{ StatusCode int }
	if err := e.callJSON(ctx, http.MethodPost, path+"/wait", nil, nil, &ended); err != nil {
		return fmt.Errorf("wait for container: %w", err)
	}
	logs, err := e.call(ctx, http.MethodGet, path+"/logs", url.Values{"stdout": {"1"}, "stderr": {"1"}}, "", nil)
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	defer logs.Close()
	if err := copyOutput(out, logs); err != nil {
		return err
	}
	if ended.StatusCode != 0 {
		return fmt.Errorf("%s ended with exit code %d", image, ended.StatusCode)
	}
	return nil
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
