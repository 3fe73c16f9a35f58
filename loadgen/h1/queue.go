//go:build linux

package h1

// queue is a list of exchanges, first come first served. Any of them can leave
// it without a search.
type queue struct {
	first, last *Exchange
	len         int
}

func (q *queue) push(x *Exchange) {
	x.queue, x.prev, x.next = q, q.last, nil
	if q.last != nil {
		q.last.next = x
	} else {
		q.first = x
	}
	q.last = x
	q.len++
}

// remove takes x out, which is in q.
func (q *queue) remove(x *Exchange) {
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		q.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	} else {
		q.last = x.prev
	}
	x.queue, x.prev, x.next = nil, nil, nil
	q.len--
}

// pop takes the first out; nil when q is empty.
func (q *queue) pop() *Exchange {
	x := q.first
	if x != nil {
		q.remove(x)
	}
	return x
}
