package librados

// The life of a C handle. It must not be freed under a call, an abandoned one included, and one that the cluster has
// shut out (blocklisted, evicted) is replaced while older calls still hold it.

import "sync"

// holder makes a handle on first use, hands it to calls, and replaces it when it is broken.
type holder[T any] struct {
	create func() (T, error)
	free   func(T)

	making sync.Mutex // held while creating, so that concurrent calls wait for one attempt
	mu     sync.Mutex // guards what follows
	now    *handle[T]
	closed bool
}

// handle is one value and the calls in it.
type handle[T any] struct {
	value   T
	users   int
	retired bool // freed when users is 0
}

// enter returns the handle, creating it when there is none. The caller calls leave when it is done with it.
// It blocks for as long as creating blocks.
func (h *holder[T]) enter() (*handle[T], error) {
	if x, err := h.current(); x != nil || err != nil {
		return x, err
	}
	h.making.Lock()
	defer h.making.Unlock()
	if x, err := h.current(); x != nil || err != nil {
		return x, err
	}
	v, err := h.create()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		go h.free(v)
		return nil, ErrClosed
	}
	h.now = &handle[T]{value: v, users: 1}
	return h.now, nil
}

// current enters the handle there is; nil when there is none.
func (h *holder[T]) current() (*handle[T], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.now != nil {
		h.now.users++
	}
	return h.now, nil
}

// leave ends a use. The last user of a retired handle frees it.
func (h *holder[T]) leave(x *handle[T]) {
	h.mu.Lock()
	x.users--
	last := x.users == 0 && x.retired
	h.mu.Unlock()
	if last {
		h.free(x.value)
	}
}

// retire takes x out of service; the next enter makes another. x, which the caller is still in, is freed after its last user.
func (h *holder[T]) retire(x *handle[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.retired = true
	if h.now == x {
		h.now = nil
	}
}

// close refuses further use and frees the handle, now or after its last user.
func (h *holder[T]) close() {
	h.mu.Lock()
	h.closed = true
	x := h.now
	h.now = nil
	free := false
	if x != nil {
		x.retired = true
		free = x.users == 0
	}
	h.mu.Unlock()
	if free {
		h.free(x.value)
	}
}

// with runs f in the handle, and once more in a new one when stale says that the first was shut out of the cluster.
func with[T, R any](h *holder[T], stale func(error) bool, f func(T) (R, error)) (R, error) {
	var none R
	for again := true; ; again = false {
		x, err := h.enter()
		if err != nil {
			return none, err
		}
		r, err := f(x.value)
		repeat := stale(err)
		if repeat {
			h.retire(x)
		}
		h.leave(x)
		if !repeat || !again {
			return r, err
		}
	}
}
