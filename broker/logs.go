package broker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/strategies"
)

// maxLog is the number of bytes of a container's output that is kept.
const maxLog = 64 << 20

// runDir is where the logs and outputs of a run are.
func (b *Broker) runDir(run string) string {
	return filepath.Join(b.cfg.Dir, "runs", filepath.Base(run))
}

func (b *Broker) logFile(m Machine, role string) string {
	return filepath.Join(b.runDir(m.RunUUID), "logs", fmt.Sprintf("s%d-m%d-%s.log", m.Step, m.Index, role))
}

func (b *Broker) deleteLogs(run string) error {
	if err := os.RemoveAll(b.runDir(run)); err != nil {
		return fmt.Errorf("delete the run's logs: %w", err)
	}
	return nil
}

// keepLog copies the output of a container to its file, which appears whole or
// not at all. Each line is: time, stream, text.
func (x *execution) keepLog(ctx context.Context, m *machine, role, id string) error {
	name := x.b.logFile(m.Machine, role)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return diskError(fmt.Errorf("keep log: %w", err))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".log-*")
	if err != nil {
		return diskError(fmt.Errorf("keep log: %w", err))
	}
	defer os.Remove(f.Name()) // fails when it was renamed, as it should be
	w := &logFileWriter{w: bufio.NewWriter(f)}
	logErr := m.engine.Logs(ctx, id, LogOptions{Timestamps: true}, w.stream("stdout"), w.stream("stderr"))
	err = errors.Join(w.finish(), f.Close())
	if CodeOf(logErr) == ENotFound {
		return nil // nothing to keep, or it is kept already
	}
	if logErr != nil {
		return diskError(logErr)
	}
	if err != nil {
		return diskError(fmt.Errorf("keep log: %w", err))
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return diskError(fmt.Errorf("keep log: %w", err))
	}
	return nil
}

// A logFileWriter writes the lines of both streams to one file.
type logFileWriter struct {
	w       *bufio.Writer
	written int
	cut     bool
	streams []*lineWriter
	names   []string
}

func (w *logFileWriter) stream(name string) io.Writer {
	lw := &lineWriter{line: func(line []byte) error { return w.line(name, line) }}
	w.streams, w.names = append(w.streams, lw), append(w.names, name)
	return lw
}

func (w *logFileWriter) line(stream string, line []byte) error {
	at, text, _ := bytes.Cut(line, []byte(" "))
	if w.written += len(line) + 8; w.written > maxLog {
		w.cut = true
		return nil
	}
	_, err := fmt.Fprintf(w.w, "%s %s %s\n", at, stream, text)
	return err
}

// finish writes lines without an end, and says so when output was left out.
func (w *logFileWriter) finish() error {
	for i, s := range w.streams {
		if len(s.rest) > 0 {
			if err := w.line(w.names[i], s.rest); err != nil {
				return err
			}
		}
	}
	if w.cut {
		at := time.Now().UTC().Format(time.RFC3339Nano)
		fmt.Fprintf(w.w, "%s stderr [loads: output over %d MiB was left out]\n", at, maxLog>>20)
	}
	return w.w.Flush()
}

// parseLogLine reads what logFileWriter wrote.
func parseLogLine(line string) LogLine {
	at, rest, _ := strings.Cut(line, " ")
	stream, text, _ := strings.Cut(rest, " ")
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return LogLine{Text: line}
	}
	return LogLine{At: t, Stream: stream, Text: text}
}

// captureOutput writes the kept logs of a step's machines, one after the
// other, to the file that the step names.
func (x *execution) captureOutput(i int) error {
	name := x.ref.Plan.Steps[i].CaptureOutput
	if name == "" {
		return nil
	}
	dir := filepath.Join(x.b.runDir(x.ref.UUID), "output")
	path := filepath.Join(dir, filepath.Join("/", name)) // never outside of dir
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	for _, m := range x.of(i) {
		err = errors.Join(err, eachKeptLine(x.b.logFile(m.Machine, RolePlan), func(l LogLine) error {
			_, err := fmt.Fprintf(w, "%s %s\n", l.At.Format(time.RFC3339Nano), l.Text)
			return err
		}))
	}
	return errors.Join(err, w.Flush(), out.Close())
}

func eachKeptLine(file string, yield func(LogLine) error) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w := &lineWriter{line: func(b []byte) error { return yield(parseLogLine(string(b))) }}
	_, err = io.Copy(w, f)
	return err
}

// Logs calls yield for the lines of the run's containers that the query
// selects: live from the engines while a container exists, else from what was
// kept. Lines of one container come in their order; following interleaves the
// containers. yield is never called by two goroutines at once; its error ends
// the call and is returned.
func (b *Broker) Logs(ctx context.Context, runUUID string, q LogQuery, yield func(LogLine) error) error {
	run, selected, err := b.logMachines(ctx, runUUID, q)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(selected))
	one := func(k int) {
		m := selected[k]
		errs[k] = b.machineLog(ctx, m, q, func(l LogLine) error {
			mu.Lock()
			defer mu.Unlock()
			l.Step, l.Machine = run.Plan.Steps[m.Step].Name, m.Index
			if err := ctx.Err(); err != nil {
				return err
			}
			return yield(l)
		})
		if errs[k] != nil {
			cancel()
		}
	}
	var wg sync.WaitGroup
	for k := range selected {
		if !q.Follow {
			one(k)
			continue
		}
		wg.Go(func() { one(k) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// logMachines returns the run and those of its machines that the query selects.
// A run that has just begun has no machines yet; following waits for them.
func (b *Broker) logMachines(ctx context.Context, runUUID string, q LogQuery) (Run, []Machine, error) {
	changed, cancel := b.Watch(runUUID)
	defer cancel()
	for {
		run, err := b.cfg.Store.Run(ctx, runUUID)
		if err != nil {
			return Run{}, nil, err
		}
		machines, err := b.cfg.Store.Machines(ctx, runUUID)
		if err != nil {
			return Run{}, nil, err
		}
		if !q.Follow || run.State == Completed || len(machines) >= machinesOf(run.Plan) {
			selected, err := q.selectFrom(run, machines)
			return run, selected, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Run{}, nil, ctx.Err()
		}
	}
}

// machinesOf is how many machines a run of the plan takes.
func machinesOf(plan strategies.Plan) int {
	n := 0
	for _, step := range plan.Steps {
		if !step.Monitor {
			n += step.InstanceCount
		}
	}
	return n
}

func (q LogQuery) selectFrom(run Run, machines []Machine) ([]Machine, error) {
	var selected []Machine
	known := q.Step == ""
	for _, step := range run.Plan.Steps {
		known = known || step.Name == q.Step
	}
	if !known {
		return nil, Errorf(ENotFound, "The run has no step %s.", q.Step)
	}
	for _, m := range machines {
		if run.Plan.Steps[m.Step].Monitor {
			continue // what its containers say is not of the plan
		}
		if (q.Step == "" || run.Plan.Steps[m.Step].Name == q.Step) && (q.Machine == nil || m.Index == *q.Machine) {
			selected = append(selected, m)
		}
	}
	if q.Machine != nil && len(selected) == 0 {
		return nil, Errorf(ENotFound, "The run has no machine %d there.", *q.Machine)
	}
	return selected, nil
}

// machineLog reads one container's log, from its engine or its file.
func (b *Broker) machineLog(ctx context.Context, m Machine, q LogQuery, yield func(LogLine) error) error {
	if q.Follow {
		var err error
		if m, err = b.awaitContainer(ctx, m, q.Relay); err != nil {
			return err
		}
	}
	role, id := RolePlan, m.ContainerID
	if q.Relay {
		role, id = RoleRelay, m.RelayID
	}
	file := b.logFile(m, role)
	if _, err := os.Stat(file); err == nil {
		return tailOf(file, q.Tail, yield)
	}
	if id == "" || m.State == MachineReleased {
		return nil
	}
	eng, err := b.cfg.Dial(m.Endpoint)
	if err != nil {
		return err
	}
	defer eng.Close()
	stream := func(name string) io.Writer {
		return &lineWriter{line: func(line []byte) error {
			at, text, _ := bytes.Cut(line, []byte(" "))
			t, _ := time.Parse(time.RFC3339Nano, string(at))
			return yield(LogLine{At: t, Stream: name, Text: string(text)})
		}}
	}
	opts := LogOptions{Follow: q.Follow, Timestamps: true, Tail: q.Tail}
	err = eng.Logs(ctx, id, opts, stream("stdout"), stream("stderr"))
	if CodeOf(err) == ENotFound { // it was kept, and removed, just now
		return tailOf(file, q.Tail, yield)
	}
	return err
}

// awaitContainer waits until the machine's container runs, or never will: the
// log of one that is only created ends at once, however it is followed.
func (b *Broker) awaitContainer(ctx context.Context, m Machine, relay bool) (Machine, error) {
	changed, cancel := b.Watch(m.RunUUID)
	defer cancel()
	for {
		machines, err := b.cfg.Store.Machines(ctx, m.RunUUID)
		if err != nil {
			return Machine{}, err
		}
		k := slices.IndexFunc(machines, func(now Machine) bool { return now.ID == m.ID })
		if k < 0 {
			return Machine{}, Errorf(ENotFound, "The run was deleted.")
		}
		now := machines[k]
		switch now.State {
		case MachineLost, MachineReleasing, MachineReleased:
			return now, nil
		case MachinePrepared:
			if relay || now.StartedAt != nil {
				return now, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Machine{}, ctx.Err()
		}
	}
}

// tailOf yields the last n lines of a kept log, all of them when n is 0.
func tailOf(file string, n int, yield func(LogLine) error) error {
	if n <= 0 {
		return eachKeptLine(file, yield)
	}
	var last []LogLine
	err := eachKeptLine(file, func(l LogLine) error {
		if last = append(last, l); len(last) > n {
			last = last[1:]
		}
		return nil
	})
	for _, l := range last {
		if err == nil {
			err = yield(l)
		}
	}
	return err
}
