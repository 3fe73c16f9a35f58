//go:build linux

package initd

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A timer starts a unit at times.
type timer struct {
	m    *manager
	name string

	mu   sync.Mutex
	quit chan struct{} // nil when it isn't started
}

// schedule is when a timer's unit is due.
type schedule struct {
	unit string
	// once are the points in time that don't repeat.
	once []time.Time
	// afterActive and afterEnd are counted from the unit's last start and end; 0 is never.
	afterActive, afterEnd time.Duration
}

func (t *timer) schedule(now time.Time) (schedule, error) {
	file, err := loadUnit(t.name, unitDirs...)
	if err != nil {
		return schedule{}, err
	}
	s := schedule{unit: file.last("Timer", "Unit", strings.TrimSuffix(t.name, ".timer")+".service")}
	for key, from := range map[string]time.Time{"OnBootSec": t.m.booted, "OnStartupSec": t.m.booted, "OnActiveSec": now} {
		for _, text := range file["Timer"][key] {
			d, err := parseSpan(text)
			if err != nil {
				return s, fmt.Errorf("%s=%s: %w", key, text, err)
			}
			s.once = append(s.once, from.Add(d))
		}
	}
	var err1, err2 error
	s.afterActive, err1 = file.span("Timer", "OnUnitActiveSec", 0)
	s.afterEnd, err2 = file.span("Timer", "OnUnitInactiveSec", 0)
	if len(file["Timer"]["OnCalendar"]) > 0 {
		return s, errors.New("the unit has OnCalendar, and machines of the simulator have no calendar timers")
	}
	if len(s.once) == 0 && s.afterActive == 0 && s.afterEnd == 0 {
		return s, errors.New("it names no time")
	}
	return s, errors.Join(err1, err2)
}

// next returns when the unit is due, after it was last started at fired and
// last ended; false if never. Times that passed before count, once.
func (s schedule) next(fired, ended time.Time) (time.Time, bool) {
	var due time.Time
	consider := func(at time.Time) {
		if at.After(fired) && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	for _, at := range s.once {
		consider(at)
	}
	if s.afterActive > 0 && !fired.IsZero() {
		consider(fired.Add(s.afterActive))
	}
	if s.afterEnd > 0 && !ended.IsZero() {
		consider(ended.Add(s.afterEnd))
	}
	return due, !due.IsZero()
}

func (t *timer) state() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quit == nil {
		return inactive
	}
	return active
}

func (t *timer) start() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quit != nil {
		return nil
	}
	s, err := t.schedule(time.Now())
	if err != nil {
		return err
	}
	t.quit = make(chan struct{})
	go t.run(s, t.quit) // until stop
	return nil
}

func (t *timer) stop() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.quit != nil {
		close(t.quit)
		t.quit = nil
	}
	return nil
}

func (t *timer) run(s schedule, quit <-chan struct{}) {
	var fired, ended time.Time
	for {
		due, ok := s.next(fired, ended)
		if !ok {
			return
		}
		wait := time.NewTimer(time.Until(due))
		select {
		case <-quit:
			wait.Stop()
			return
		case <-wait.C:
		}
		fired = time.Now()
		_ = t.m.start(s.unit) // it has said so on the console
		ended = time.Now()
	}
}
