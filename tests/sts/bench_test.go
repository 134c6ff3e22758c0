package sts

import (
	"testing"
	"time"
)

// What a volume's credentials cost, when it is made and at each renewal: one AssumeRole.
func BenchmarkMint(b *testing.B) {
	f := newSite(b, "pvc-mint")
	for b.Loop() {
		f.mint(time.Hour)
	}
}

// What kubelet's republishing costs a node for each pod, about once in a minute: a call with nothing new.
func BenchmarkPublishAgain(b *testing.B) {
	f := newSite(b, "pvc-again")
	for b.Loop() {
		f.publish(f.fields)
	}
}

// The same when there are new credentials each time.
func BenchmarkPublishNew(b *testing.B) {
	f := newSite(b, "pvc-new")
	other := f.mint(time.Hour)
	for n := 0; b.Loop(); n++ {
		if n%2 == 0 {
			f.publish(other)
		} else {
			f.publish(f.fields)
		}
	}
}
