package draft

// Spans: which bytes of a chunk are in the staged file. Writes of any size at any place make them, so their number is bounded by condense (see fill.go).

import (
	"slices"
)

// span is a range of bytes in a chunk.
type span struct{ from, to int32 }

// spans are disjoint, don't touch each other and are in order.
type spans []span

// add puts a span in and says how many bytes weren't there before.
func (s *spans) add(from, to int32) int64 {
	if from >= to {
		return 0
	}
	// All that overlap or touch become one.
	i, _ := slices.BinarySearchFunc(*s, from, func(x span, v int32) int { return int(x.to) - int(v) })
	j := i
	fresh := int64(to - from)
	merged := span{from, to}
	for ; j < len(*s) && (*s)[j].from <= to; j++ {
		x := (*s)[j]
		fresh -= int64(max(0, min(x.to, to)-max(x.from, from)))
		merged.from, merged.to = min(merged.from, x.from), max(merged.to, x.to)
	}
	*s = slices.Replace(*s, i, j, merged)
	return fresh
}

// cut takes all bytes from v on out and says how many those were.
func (s *spans) cut(v int32) int64 {
	var gone int64
	for n := len(*s); n > 0; n-- {
		x := &(*s)[n-1]
		if x.to <= v {
			break
		}
		if x.from < v {
			gone += int64(x.to - v)
			x.to = v
			break
		}
		gone += int64(x.to - x.from)
		*s = (*s)[:n-1]
	}
	return gone
}

// bytes is how many bytes there are.
func (s spans) bytes() int64 {
	var n int64
	for _, x := range s {
		n += int64(x.to - x.from)
	}
	return n
}

// within is how many bytes there are of a range.
func (s spans) within(from, to int32) int64 {
	var n int64
	for _, x := range s.overlapping(from, to) {
		n += int64(min(x.to, to) - max(x.from, from))
	}
	return n
}

// overlapping are the spans that have bytes of a range.
func (s spans) overlapping(from, to int32) spans {
	i, _ := slices.BinarySearchFunc(s, from, func(x span, v int32) int {
		if x.to <= v {
			return -1
		}
		return 1
	})
	j := i
	for j < len(s) && s[j].from < to {
		j++
	}
	return s[i:j]
}
