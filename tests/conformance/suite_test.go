package conformance

import (
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest/conformance"
)

// cloneDelay is how long a held clone waits, seconds: longer than the calls that look at it take.
const cloneDelay = "12"

func TestCephConforms(t *testing.T) {
	m := mount(t)
	conformance.Run(t, conformance.Config{
		Conn: dial(t), Second: dial(t),
		FS: fsName, Meta: "warm-meta", Data: poolRep, Erasure: poolEC,
		Write: func(t *testing.T, path string, size int64) { write(t, m, path, size) },
		HoldClones: func(t *testing.T, hold bool) {
			delay := "0"
			if hold {
				delay = cloneDelay
			}
			admin(t, "config", "set", "mgr", "mgr/volumes/snapshot_clone_delay", delay)
		},
		Wait:  func() { time.Sleep(200 * time.Millisecond) }, // between two looks
		Later: time.Sleep, Parallel: true,
	})
}
