package metrics

import "slices"

// seen remembers which frame numbers of a machine came, as ranges: one, as
// long as none is missing.
type seen []numberRange

type numberRange struct{ first, last uint64 }

// add takes a number in, and reports whether it is new.
func (s *seen) add(n uint64) bool {
	i, found := slices.BinarySearchFunc(*s, n, func(r numberRange, n uint64) int {
		switch {
		case r.last < n:
			return -1
		case r.first > n:
			return 1
		}
		return 0
	})
	if found {
		return false
	}
	before := i > 0 && (*s)[i-1].last+1 == n
	after := i < len(*s) && (*s)[i].first-1 == n
	switch {
	case before && after:
		(*s)[i-1].last = (*s)[i].last
		*s = slices.Delete(*s, i, i+1)
	case before:
		(*s)[i-1].last = n
	case after:
		(*s)[i].first = n
	default:
		*s = slices.Insert(*s, i, numberRange{n, n})
	}
	return true
}
