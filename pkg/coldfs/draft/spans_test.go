package draft

import (
	"math/rand/v2"
	"testing"
)

func TestSpansAreASetOfBytes(t *testing.T) {
	const size = 200
	r := rand.New(rand.NewPCG(1, 2))
	var s spans
	var model [size]bool
	count := func(from, to int) (n int64) {
		for _, in := range model[from:to] {
			if in {
				n++
			}
		}
		return n
	}
	for step := range 20000 {
		from := r.IntN(size)
		to := from + r.IntN(size-from)
		if r.IntN(20) == 0 {
			if got, want := s.cut(int32(from)), count(from, size); got != want {
				t.Fatalf("step %d: cut took %d bytes, want %d", step, got, want)
			}
			clear(model[from:])
		} else {
			to = min(to, from+10)
			want := int64(to-from) - count(from, to)
			if got := s.add(int32(from), int32(to)); got != want {
				t.Fatalf("step %d: add found %d new bytes, want %d", step, got, want)
			}
			for i := from; i < to; i++ {
				model[i] = true
			}
		}
		if got, want := s.within(int32(from), int32(to)), count(from, to); got != want {
			t.Fatalf("step %d: %d bytes within %d to %d, want %d", step, got, from, to, want)
		}
		if got, want := s.bytes(), count(0, size); got != want {
			t.Fatalf("step %d: %d bytes, want %d", step, got, want)
		}
		for i, x := range s {
			if x.from >= x.to || i > 0 && s[i-1].to >= x.from {
				t.Fatalf("step %d: spans out of order, empty or touching: %v", step, s)
			}
		}
	}
}
