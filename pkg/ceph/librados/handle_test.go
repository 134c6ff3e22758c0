package librados

import (
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
)

// counted is a holder of numbers that remembers which were made and freed.
type counted struct {
	holder[int]
	mu    sync.Mutex
	made  int
	freed []int
}

func newCounted() *counted {
	c := &counted{}
	c.create = func() (int, error) { c.made++; return c.made, nil }
	c.free = func(n int) { c.mu.Lock(); defer c.mu.Unlock(); c.freed = append(c.freed, n) }
	return c
}

func (c *counted) expect(t *testing.T, made int, freed ...int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made != made || len(c.freed) != len(freed) {
		t.Fatalf("made %d, freed %v; want %d, %v", c.made, c.freed, made, freed)
	}
	for i := range freed {
		if c.freed[i] != freed[i] {
			t.Fatalf("freed %v, want %v", c.freed, freed)
		}
	}
}

func TestHandleIsSharedUntilItIsRetired(t *testing.T) {
	c := newCounted()
	a, _ := c.enter()
	b, _ := c.enter()
	if a != b {
		t.Fatal("two handles")
	}
	c.retire(a)
	c.leave(a)
	c.expect(t, 1) // b is still in it
	d, _ := c.enter()
	if d.value != 2 {
		t.Fatalf("after retiring: handle %d, want 2", d.value)
	}
	c.leave(b)
	c.expect(t, 2, 1)
	c.leave(d)
	c.close()
	c.expect(t, 2, 1, 2)
	if _, err := c.enter(); !errors.Is(err, ErrClosed) {
		t.Errorf("enter after close: %v", err)
	}
}

func TestCloseWaitsForTheLastUser(t *testing.T) {
	c := newCounted()
	a, _ := c.enter()
	c.close()
	c.expect(t, 1)
	c.leave(a)
	c.expect(t, 1, 1)
}

func TestConcurrentFirstUsesMakeOneHandle(t *testing.T) {
	c := newCounted()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			x, err := c.enter()
			if err != nil {
				t.Error(err)
				return
			}
			c.leave(x)
		})
	}
	wg.Wait()
	c.expect(t, 1)
}

func TestFailedCreationIsTriedAgain(t *testing.T) {
	c := newCounted()
	works, want := c.create, errors.New("no monitor")
	c.create = func() (int, error) { return 0, want }
	if _, err := c.enter(); !errors.Is(err, want) {
		t.Fatalf("enter = %v", err)
	}
	c.create = works
	if _, err := c.enter(); err != nil {
		t.Fatalf("second try: %v", err)
	}
}

func TestShutOutClientIsReplacedOnce(t *testing.T) {
	gone := &ceph.Error{Op: "x", Errno: syscall.ESHUTDOWN}
	for _, tc := range []struct {
		name    string
		answers []error // of the calls in turn
		calls   int
		made    int
		want    error
	}{
		{"well", []error{nil}, 1, 1, nil},
		{"refused", []error{syscall.ENOENT}, 1, 1, syscall.ENOENT},
		{"evicted", []error{gone, nil}, 2, 2, nil},
		{"not connected", []error{syscall.ENOTCONN, syscall.ENOENT}, 2, 2, syscall.ENOENT},
		{"evicted again", []error{gone, gone}, 2, 2, syscall.ESHUTDOWN},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCounted()
			calls := 0
			_, err := with(&c.holder, shutOut, func(int) (int, error) { calls++; return 0, tc.answers[calls-1] })
			if !errors.Is(err, tc.want) || calls != tc.calls || c.made != tc.made {
				t.Errorf("err %v, %d calls, %d made; want %v, %d, %d", err, calls, c.made, tc.want, tc.calls, tc.made)
			}
		})
	}
}
