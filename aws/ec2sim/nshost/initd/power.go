//go:build linux

package initd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lastGrace is how long programs outside of units have to end by themselves.
const lastGrace = 300 * time.Millisecond

// power turns the machine off.
type power struct {
	m   *machine
	off chan int // takes how process 1 ends, once

	mu        sync.Mutex
	going     bool
	scheduled *time.Timer
}

func newPower(m *machine) *power { return &power{m: m, off: make(chan int, 1)} }

// shutdown stops all units and turns the machine off; it returns at once.
func (p *power) shutdown(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.going {
		return
	}
	p.going = true
	go func() { // the process ends with it
		p.m.console.Printf("shutting down")
		p.m.units.stopAll()
		_ = syscall.Kill(-1, syscall.SIGTERM) // no one may be left
		time.Sleep(lastGrace)
		p.cut(code)
	}()
}

// cut turns the machine off as it is.
func (p *power) cut(code int) {
	select {
	case p.off <- code:
	default: // it is going off already
	}
}

// schedule turns the machine off after a time.
func (p *power) schedule(code int, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scheduled != nil {
		p.scheduled.Stop()
	}
	p.scheduled = time.AfterFunc(after, func() { p.shutdown(code) })
}

// cancel takes back what was scheduled.
func (p *power) cancel() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scheduled != nil {
		p.scheduled.Stop()
		p.scheduled = nil
	}
}

// A shutdownOrder is what a shutdown command asks for.
type shutdownOrder struct {
	code   int
	after  time.Duration
	force  bool
	cancel bool
}

// parseShutdown reads the command line of shutdown.
func parseShutdown(args []string, now time.Time) (shutdownOrder, error) {
	order := shutdownOrder{code: ExitPowerOff, after: time.Minute}
	timed := false
	for _, a := range args {
		switch {
		case a == "-c":
			order.cancel = true
		case a == "-r" || a == "--reboot":
			order.code = ExitReboot
		case strings.HasPrefix(a, "-"): // -h, -P, -H, --no-wall: the same here
		case !timed:
			timed = true
			after, err := parseWhen(a, now)
			if err != nil {
				return order, err
			}
			order.after = after
		}
	}
	return order, nil
}

func parseWhen(text string, now time.Time) (time.Duration, error) {
	if text == "now" {
		return 0, nil
	}
	if clock, err := time.Parse("15:04", text); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = at.AddDate(0, 0, 1)
		}
		return at.Sub(now), nil
	}
	minutes, err := strconv.Atoi(strings.TrimPrefix(text, "+"))
	if err != nil || minutes < 0 {
		return 0, fmt.Errorf("%q is no time: want now, +MINUTES or HH:MM", text)
	}
	return time.Duration(minutes) * time.Minute, nil
}

// parsePowerCommand reads the command line of poweroff, halt or reboot.
func parsePowerCommand(name string, args []string) (shutdownOrder, error) {
	var order shutdownOrder
	if name == "reboot" {
		order.code = ExitReboot
	}
	for _, a := range args {
		switch a {
		case "-f", "-ff", "--force", "-nf", "-fn":
			order.force = true
		case "-p", "--poweroff":
			order.code = ExitPowerOff
		case "--reboot":
			order.code = ExitReboot
		case "-w", "--wtmp-only":
			return order, errors.New("only writing a record is not simulated")
		}
	}
	return order, nil
}

func (p *power) carryOut(o shutdownOrder) {
	switch {
	case o.cancel:
		p.cancel()
	case o.force:
		p.cut(o.code)
	case o.after > 0:
		p.schedule(o.code, o.after)
	default:
		p.shutdown(o.code)
	}
}
