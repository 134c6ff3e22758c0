package coldfs

// Who uses which name. The kernel holds its own locks while it changes a directory, but it looks names up beside that.

import (
	"context"
	"sync"
	"time"
)

// pathLocks are locks by directory and name. The zero value is ready; a name that nobody uses takes no memory.
type pathLocks struct {
	mu  sync.Mutex
	all map[pathName]*pathLock
}

type pathName struct {
	parent uint64
	name   string
}

type pathLock struct {
	turn  turn
	users int
}

// take waits for a name.
func (l *pathLocks) take(ctx context.Context, parent uint64, name string) (release func(), err error) {
	k := pathName{parent, name}
	l.mu.Lock()
	if l.all == nil {
		l.all = map[pathName]*pathLock{}
	}
	p := l.all[k]
	if p == nil {
		p = &pathLock{}
		l.all[k] = p
	}
	p.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if p.users--; p.users == 0 {
			delete(l.all, k)
		}
	}
	if err := p.turn.take(ctx); err != nil {
		leave()
		return nil, err
	}
	return func() {
		p.turn.give()
		leave()
	}, nil
}

// takeTwo waits for two names, always in the same order.
func (l *pathLocks) takeTwo(ctx context.Context, a, b pathName) (release func(), err error) {
	if a == b {
		return l.take(ctx, a.parent, a.name)
	}
	if a.parent > b.parent || a.parent == b.parent && a.name > b.name {
		a, b = b, a
	}
	first, err := l.take(ctx, a.parent, a.name)
	if err != nil {
		return nil, err
	}
	second, err := l.take(ctx, b.parent, b.name)
	if err != nil {
		first()
		return nil, err
	}
	return func() { second(); first() }, nil
}

// absences remember the names that were looked up last and weren't there: who makes a file looks it up right before, so the store isn't asked twice.
type absences struct {
	mu  sync.Mutex
	all map[pathName]time.Time
}

const (
	maxAbsences = 1024
	absenceLife = 100 * time.Millisecond
)

func (a *absences) note(parent uint64, name string, asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= maxAbsences {
		a.all = map[pathName]time.Time{}
	}
	a.all[pathName{parent, name}] = asked
}

// take tells whether a name wasn't there a moment ago; only once.
func (a *absences) take(parent uint64, name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := pathName{parent, name}
	asked, ok := a.all[k]
	delete(a.all, k)
	return ok && time.Since(asked) < absenceLife
}
