package scratch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/tier"
)

// phase is how far a volume is.
type phase string

const (
	creating   phase = "creating"   // whatever is there is worth nothing
	ready      phase = "ready"      // made, mounted or about to be; the record on the disk may still say creating, see made
	destroying phase = "destroying" // to be destroyed, whatever is left
)

// record is what the journal holds of one volume.
type record struct {
	ID       string    `json:"id"` // CSI's
	Name     string    `json:"name"`
	Phase    phase     `json:"phase"`
	Boot     string    `json:"boot"` // of the kernel that runs while the volume does
	Class    string    `json:"class"`
	Pool     string    `json:"pool"`
	Disk     string    `json:"disk"`
	Kind     disk.Kind `json:"kind"`
	Size     int64     `json:"size"`
	Block    bool      `json:"block,omitempty"`
	ReadOnly bool      `json:"readOnly,omitempty"`
	Group    *uint32   `json:"group,omitempty"` // of its root directory; nil: root's
	Wipe     disk.Wipe `json:"wipe"`
	Path     string    `json:"path"`          // where it is, or will be, mounted
	Inline   bool      `json:"inline"`        // made by PublishInline
	Pod      tier.Pod  `json:"pod,omitempty"` // of an inline volume
	Created  time.Time `json:"created"`
	// Orphan is when it was first seen that nobody owns the volume; zero: somebody does.
	Orphan time.Time `json:"orphan,omitzero"`
}

// grown remembers the size of a PersistentVolume that was made larger than its volume context says: its next Stage is told nothing of it.
type grown struct {
	ID   string `json:"id"`
	Size int64  `json:"size"`
}

const (
	volumeKey = "volume-" // before the name of a record
	grownKey  = "grown-"
)

// nameOf is a volume's name on its disk: ids of both grammars, one length, no character that a tool would read otherwise.
func nameOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "v" + hex.EncodeToString(sum[:16])
}

// ledger is the journal with what it holds in memory. Its user has a lock on each volume; the ledger's own is for the sums.
type ledger struct {
	journal *journal.Journal
	records map[string]record // by name
	grown   map[string]grown  // by name
}

func openLedger(j *journal.Journal) (*ledger, error) {
	l := &ledger{journal: j, records: map[string]record{}, grown: map[string]grown{}}
	keys, err := j.Keys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		var err error
		if name, ok := strings.CutPrefix(key, volumeKey); ok {
			var r record
			if err = j.Load(key, &r); err == nil && r.Name != name {
				err = fmt.Errorf("names volume %q", r.Name)
			}
			l.records[name] = r
		} else if name, ok := strings.CutPrefix(key, grownKey); ok {
			var g grown
			err = j.Load(key, &g)
			l.grown[name] = g
		} else {
			err = errors.New("is not a record of this version")
		}
		if err != nil {
			return nil, fmt.Errorf("journal record %s: %w; the volume it is of is unknown, so nothing is served until an operator has looked at it", key, err)
		}
	}
	return l, nil
}

// Occupied is a disk, used in one way, that volumes of the journal lie on.
type Occupied struct {
	Disk string // its Name
	Kind disk.Kind
}

// OccupiedDisks reads from the journal which disks volumes lie on.
func OccupiedDisks(j *journal.Journal) (map[Occupied]bool, error) {
	l, err := openLedger(j)
	if err != nil {
		return nil, err
	}
	disks := map[Occupied]bool{}
	for _, r := range l.records {
		disks[Occupied{r.Disk, r.Kind}] = true
	}
	return disks, nil
}

// put writes a record, to the disk first.
func (l *ledger) put(r record) error {
	if err := l.journal.Put(volumeKey+r.Name, r); err != nil {
		return err
	}
	l.records[r.Name] = r
	return nil
}

func (l *ledger) remove(name string) error {
	if err := l.journal.Delete(volumeKey + name); err != nil {
		return err
	}
	delete(l.records, name)
	return nil
}

func (l *ledger) putGrown(name string, g grown) error {
	if err := l.journal.Put(grownKey+name, g); err != nil {
		return err
	}
	l.grown[name] = g
	return nil
}

func (l *ledger) removeGrown(name string) error {
	if err := l.journal.Delete(grownKey + name); err != nil {
		return err
	}
	delete(l.grown, name)
	return nil
}

// has says whether a volume of that name on that disk has a record.
func (l *ledger) has(name string, d disk.Disk) bool {
	r, ok := l.records[name]
	return ok && r.Disk == d.Name() && r.Kind == d.Kind()
}

// names are those of all records, sorted.
func (l *ledger) names() []string { return slices.Sorted(maps.Keys(l.records)) }

// sum adds up the sizes of the records that count.
func (l *ledger) sum(counts func(record) bool) int64 {
	var total int64
	for _, r := range l.records {
		if counts(r) {
			total += r.Size
		}
	}
	return total
}
