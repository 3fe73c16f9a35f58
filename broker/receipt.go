package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// askReceipts asks the providers of the run's rented machines what is left of
// them, until that is nothing or ReceiptWait has passed: a machine that ends
// takes its disk and interfaces with it, but not at once. What is left after that
// is the reaper's.
func (x *execution) askReceipts(ctx context.Context) error {
	for _, r := range x.b.renters(machinesAt(x.allMachines())) {
		if err := x.askReceipt(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func machinesAt(ms []*machine) []Machine {
	list := make([]Machine, len(ms))
	for i, m := range ms {
		list[i] = m.Machine
	}
	return list
}

// renters are the pools that have rented any of the machines.
func (b *Broker) renters(machines []Machine) []Renter {
	var list []Renter
	for _, p := range b.cfg.Pools {
		r, ok := p.(Renter)
		if ok && slices.ContainsFunc(machines, func(m Machine) bool { return m.Pool == p.Name() }) {
			list = append(list, r)
		}
	}
	return list
}

func (x *execution) askReceipt(ctx context.Context, r Renter) error {
	until := time.Now().Add(x.b.cfg.ReceiptWait)
	pause := 250 * time.Millisecond
	receipt := receiptOf(ctx, r, x.ref.UUID)
	for receipt.remains() && time.Now().Before(until) && sleep(ctx, pause) {
		receipt = receiptOf(ctx, r, x.ref.UUID)
		pause = min(2*pause, 5*time.Second)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return x.update(ctx, func(run *Run) []Event {
		run.Receipts = withReceipt(run.Receipts, receipt)
		return []Event{{Kind: EventNote, Text: receipt.String()}}
	})
}

// receiptOf asks for the receipt; one that can't be had says so.
func receiptOf(ctx context.Context, r Renter, runUUID string) Receipt {
	receipt, err := r.Receipt(ctx, runUUID)
	if err != nil {
		receipt = Receipt{Fault: oneLine(err.Error())}
	}
	receipt.Pool = r.Name()
	if receipt.At.IsZero() {
		receipt.At = time.Now()
	}
	receipt.At = receipt.At.UTC()
	return receipt
}

// withReceipt returns the receipts with the newer one in the place of its
// pool's.
func withReceipt(list []Receipt, newer Receipt) []Receipt {
	list = slices.DeleteFunc(slices.Clone(list), func(r Receipt) bool { return r.Pool == newer.Pool })
	return append(list, newer)
}

// remains reports whether something is left, or may be.
func (r Receipt) remains() bool { return r.Fault != "" || len(r.Left) > 0 }

// String says in a sentence what the receipt says.
func (r Receipt) String() string {
	if r.Fault != "" {
		return fmt.Sprintf("What is left at %s is not known: %s.", r.Pool, strings.TrimSuffix(r.Fault, "."))
	}
	text := fmt.Sprintf("%s says: %s launched", r.Pool, countMachines(r.Launched))
	if r.Reused > 0 {
		text += fmt.Sprintf(", %d used again", r.Reused)
	}
	text += fmt.Sprintf(", %d terminated", r.Terminated)
	if r.Kept > 0 {
		text += fmt.Sprintf(", %d kept for the next run", r.Kept)
	}
	if len(r.Left) == 0 {
		return text + "; nothing else is left."
	}
	return text + "; left are " + r.remainder() + "."
}

func countMachines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

// remainder lists what is left, a few of it by id.
func (r Receipt) remainder() string {
	const shown = 5
	var parts []string
	for i, left := range r.Left {
		if i == shown {
			parts = append(parts, fmt.Sprintf("%d more", len(r.Left)-shown))
			break
		}
		parts = append(parts, left.Kind+" "+left.ID)
	}
	return strings.Join(parts, ", ")
}

// whatIsLeft says why a run with the receipts isn't clean; nothing when it is.
func whatIsLeft(receipts []Receipt) string {
	var parts []string
	for _, r := range receipts {
		switch {
		case r.Fault != "":
			parts = append(parts, fmt.Sprintf("%s could not be asked what is left: %s", r.Pool, r.Fault))
		case len(r.Left) > 0:
			parts = append(parts, fmt.Sprintf("left at %s: %s", r.Pool, r.remainder()))
		}
	}
	return strings.Join(parts, "; ")
}

func (x *execution) receipts() []Receipt {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.run.Receipts
}

// settleCleanups looks again at the completed runs that have left something.
func (b *Broker) settleCleanups(ctx context.Context) error {
	runs, err := b.cfg.Store.Runs(ctx, RunFilter{States: []RunState{Completed}, Cleanup: CleanupFailed})
	if err != nil {
		return err
	}
	var errs []error
	for _, run := range runs {
		if b.execution(run.UUID) == nil { // else it is only just completed
			errs = append(errs, b.settleCleanup(ctx, run))
		}
	}
	return errors.Join(errs...)
}

// settleCleanup marks a run as clean when all its machines have been released
// and their providers say that nothing is left.
func (b *Broker) settleCleanup(ctx context.Context, run Run) error {
	machines, err := b.cfg.Store.Machines(ctx, run.UUID)
	if err != nil {
		return err
	}
	replaced, err := b.cfg.Store.Replaced(ctx, run.UUID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(append(machines, replaced...), func(m Machine) bool { return m.State != MachineReleased }) {
		return nil
	}
	for _, r := range b.renters(machines) {
		run.Receipts = withReceipt(run.Receipts, receiptOf(ctx, r, run.UUID))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if why := whatIsLeft(run.Receipts); why != "" {
		if why == run.CleanupDetail {
			return nil
		}
		run.CleanupDetail = why
		err := b.cfg.Store.SaveRun(ctx, &run, Event{Kind: EventNote, Text: "Something is still left of the run: " + why + "."})
		b.hub.notify(run.UUID)
		return err
	}
	run.Cleanup, run.CleanupDetail = CleanupDone, ""
	err = b.cfg.Store.SaveRun(ctx, &run, Event{Kind: EventNote, Text: "All machines have been released now, and nothing is left."})
	b.hub.notify(run.UUID)
	return err
}
