package engine

import (
	"fmt"

	"github.com/loads/loads/loadgen/benchmark"
)

// queueSpec is a compiled queue: it has an instance of a sequence run for each
// value, so many at once.
type queueSpec struct {
	number      int // among the queues of the program
	list        ref // an item for each instance
	seq         *sequence
	most        int // values that may wait
	concurrency int
	onEnd       action
}

// queueState is a session's queue.
type queueState struct {
	waiting   []value
	head      int
	running   int
	producers int // answers that may have more values
}

func (c *compiler) queue(s *benchmark.Queue) processor {
	seq := c.sequenceNamed(s.Sequence)
	if seq == nil {
		return nil // the parser has told
	}
	q := c.queueOf(&queueSpec{list: c.writes(s.Var), seq: seq, most: s.MaxSize, concurrency: max(1, s.Concurrency), onEnd: c.actions(s.OnCompletion)})
	return func(in *instance, text []byte) { in.s.enqueue(q, in, text) }
}

// queueOf makes room for what a queue runs at once.
func (c *compiler) queueOf(q *queueSpec) *queueSpec {
	q.number = c.prog.queues
	c.prog.queues++
	if q.seq.queue != nil {
		c.fault("feeds "+q.seq.name+" from two queues", "write a sequence for each")
	}
	q.seq.queue, q.seq.concurrency = q, max(q.seq.concurrency, q.concurrency)
	c.prog.maxSequences = max(c.prog.maxSequences, q.concurrency+len(c.prog.sequences))
	c.prog.maxRequests = max(c.prog.maxRequests, q.concurrency+1)
	return q
}

// queue returns the state of a queue.
func (s *Session) queue(q *queueSpec) *queueState {
	if s.queues == nil {
		s.queues = make([]queueState, s.prog.queues)
	}
	return &s.queues[q.number]
}

// produce says that values will come for a while, and produced that no more do:
// until then the queue is not done.
func (s *Session) produce(q *queueSpec) { s.queue(q).producers++ }

func (s *Session) produced(q *queueSpec, in *instance) {
	st := s.queue(q)
	if st.producers--; st.producers == 0 && st.running == 0 && !s.stopped {
		q.onEnd(in)
	}
}

// enqueue starts an instance for a value, or keeps the value until one ends.
func (s *Session) enqueue(q *queueSpec, in *instance, text []byte) {
	st := s.queue(q)
	if index := s.freeIndex(q.seq); index >= 0 && index < q.concurrency {
		st.running++
		s.feed(q, in, index, text)
		return
	}
	if len(st.waiting)-st.head >= q.most {
		in.fail(fmt.Errorf("the queue for %s has more than %d values", q.seq.name, q.most))
		return
	}
	var v value
	v.setText(text)
	st.waiting = append(st.waiting, v)
}

func (s *Session) feed(q *queueSpec, in *instance, index int, text []byte) {
	list := in.target(q.list)
	if list.kind != isList {
		list.setList(0)
	}
	for len(list.list) < q.concurrency {
		list.grow()
	}
	list.list[index].setText(text)
	s.start(q.seq, index, in.due())
}

// dequeue goes on after an instance has ended.
func (s *Session) dequeue(q *queueSpec, in *instance) {
	if s.queues == nil || s.queues[q.number].running == 0 {
		return // it was started by something else
	}
	st := &s.queues[q.number]
	if st.head < len(st.waiting) {
		st.head++
		s.feed(q, in, in.index, st.waiting[st.head-1].text)
		return
	}
	st.waiting, st.head = st.waiting[:0], 0
	if st.running--; st.running == 0 && st.producers == 0 {
		q.onEnd(in)
	}
}
