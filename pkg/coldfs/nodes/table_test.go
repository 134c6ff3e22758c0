package nodes

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func path(t *testing.T, table *Table[string], n *Node[string]) string {
	t.Helper()
	p, ok := table.Path(n)
	if !ok {
		return "(detached)"
	}
	return "/" + strings.Join(p, "/")
}

// enter makes a node that the kernel counts once.
func enter(table *Table[string], parent *Node[string], name string) *Node[string] {
	n, _ := table.Enter(parent, name, name)
	table.Count(n)
	table.Unpin(n)
	return n
}

func TestANodeIsKeptWhileItIsNeeded(t *testing.T) {
	table := New("root")
	dir := enter(table, table.Root(), "d")
	file := enter(table, dir, "f")
	if got := path(t, table, file); got != "/d/f" {
		t.Errorf("it stands at %s", got)
	}
	table.Forget(dir.ID, 1)
	if table.Get(dir.ID) == nil {
		t.Error("a directory is gone while a node below it is known")
	}
	table.Pin(file)
	table.Forget(file.ID, 1)
	if table.Get(file.ID) == nil {
		t.Error("a pinned node is gone")
	}
	table.Unpin(file)
	if table.Len() != 1 {
		t.Errorf("%d nodes are left, want the root", table.Len())
	}
	if table.Pin(file) {
		t.Error("a node that is gone can be pinned")
	}
	table.Forget(RootID, 1000)
	table.Forget(12345, 1)
	if table.Get(RootID) == nil {
		t.Error("the root is gone")
	}
}

func TestANodeGoesOnWithoutAPath(t *testing.T) {
	table := New("root")
	old := enter(table, table.Root(), "f")
	fresh, replaced := table.Enter(table.Root(), "f", "new")
	if replaced != old || path(t, table, old) != "(detached)" || path(t, table, fresh) != "/f" {
		t.Errorf("the old one is at %s, the new one at %s", path(t, table, old), path(t, table, fresh))
	}
	if old.ID == fresh.ID || old.Ino == fresh.Ino {
		t.Error("another file shows the number of one that is known still")
	}
	version := table.Replace(fresh, "newer")
	if version.ID == fresh.ID || version.Ino != fresh.Ino || table.Child(table.Root(), "f") != version {
		t.Error("another version isn't the same file with another id")
	}
	if table.Detach(old) || !table.Detach(version) || table.Child(table.Root(), "f") != nil {
		t.Error("Detach doesn't tell")
	}
	if again, _ := table.Enter(old, "below", ""); path(t, table, again) != "(detached)" {
		t.Error("what is made below a detached node has a path")
	}
}

func TestTheNumberOfAPathStays(t *testing.T) {
	one, other := New(""), New("")
	enter(other, other.Root(), "x")
	a, b := enter(one, enter(one, one.Root(), "d"), "f"), enter(other, enter(other, other.Root(), "d"), "f")
	if a.Ino != b.Ino {
		t.Errorf("it shows %d and %d", a.Ino, b.Ino)
	}
	if got := one.InoOf(one.Root(), "x"); got != other.Child(other.Root(), "x").Ino {
		t.Errorf("a name that isn't known would show %d", got)
	}
}

func TestADirectoryMovesWithAllThatIsBelow(t *testing.T) {
	table := New("root")
	a, b := enter(table, table.Root(), "a"), enter(table, table.Root(), "b")
	deep := enter(table, enter(table, a, "x"), "y")
	gone := enter(table, b, "x")
	if replaced := table.Move(table.Child(a, "x"), b, "x"); replaced != gone {
		t.Errorf("it replaced %v", replaced)
	}
	if got := path(t, table, deep); got != "/b/x/y" {
		t.Errorf("what is below is at %s", got)
	}
	if below := table.Below(b); len(below) != 2 {
		t.Errorf("%d nodes are below, want 2", len(below))
	}
	if idle := table.Idle(10); len(idle) != 1 || idle[0] != a {
		t.Errorf("idle are %d nodes, want a alone: the others are pinned by Below or have nodes below them", len(idle))
	}
}

// Whatever happens in whatever order: what is kept is needed, what is needed is kept, and paths fit together.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		table := New("root")
		known := map[*Node[string]]int{} // how often the kernel counts
		pins := map[*Node[string]]int{}
		pick := func() *Node[string] {
			for n := range known {
				if r.IntN(4) == 0 {
					return n
				}
			}
			return table.Root()
		}
		for range 2000 {
			n := pick()
			switch r.IntN(7) {
			case 0, 1:
				fresh, _ := table.Enter(n, fmt.Sprint(r.IntN(5)), "")
				table.Count(fresh)
				table.Unpin(fresh)
				known[fresh]++
			case 2:
				if known[n] > 0 {
					count := 1 + r.IntN(known[n])
					table.Forget(n.ID, uint64(count))
					if known[n] -= count; known[n] == 0 {
						delete(known, n)
					}
				}
			case 3:
				if n != table.Root() && table.Pin(n) {
					pins[n]++
				}
			case 4:
				for p := range pins {
					table.Unpin(p)
					if pins[p]--; pins[p] == 0 {
						delete(pins, p)
					}
					break
				}
			case 5:
				if n != table.Root() {
					table.Detach(n)
				}
			case 6:
				to := pick()
				below := false
				for up := to; up != nil; up, _, _ = table.Place(up) {
					below = below || up == n
				}
				if !below && n != table.Root() {
					table.Move(n, to, fmt.Sprint(r.IntN(5)))
				}
			}
		}
		for n := range known {
			if table.Get(n.ID) != n {
				t.Fatalf("seed %d: a node that the kernel counts is gone", seed)
			}
			if parent, name, ok := table.Place(n); ok && table.Child(parent, name) != n {
				t.Fatalf("seed %d: a node isn't where it says", seed)
			}
			table.Forget(n.ID, uint64(known[n]))
		}
		for n := range pins {
			if table.Get(n.ID) != n {
				t.Fatalf("seed %d: a pinned node is gone", seed)
			}
			for range pins[n] {
				table.Unpin(n)
			}
		}
		if table.Len() != 1 || len(table.inos) != 1 {
			t.Fatalf("seed %d: %d nodes and %d numbers are left, want the root", seed, table.Len(), len(table.inos))
		}
	}
}
