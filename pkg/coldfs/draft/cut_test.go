package draft

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

// onBase is a draft without a file over a base of size bytes.
func onBase(size int64) *Draft {
	d := &Draft{chunks: map[int64]*chunk{}, size: size, baseLimit: size}
	if size > 0 {
		d.base = &source{object: s3.Object{Key: "k", Size: size, ETag: "e"}}
	}
	return d
}

func (d *Draft) touch(from, to int64) *Draft {
	each(from, to, func(i int64, a, b int32) {
		c := d.chunks[i]
		if c == nil {
			c = &chunk{dirty: true, from: a, to: b}
			d.chunks[i] = c
		}
		c.from, c.to = min(c.from, a), max(c.to, b)
	})
	d.size = max(d.size, to)
	return d
}

func (d *Draft) cutAt(size int64) *Draft {
	d.size, d.baseLimit = size, min(d.baseLimit, size)
	return d
}

func (d *Draft) withSent(number int, off, end int64) *Draft {
	if d.upload == nil {
		d.upload = &upload{sent: map[int]*sentPart{}}
	}
	d.upload.sent[number] = &sentPart{off: off, end: end, part: s3.Part{Number: number}}
	return d
}

func TestAFileIsDividedInWhatIsThereWhatIsCopiedAndWhatIsSent(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name  string
		draft *Draft
		want  string // number:MiB-MiB how
	}{
		{"a new file", onBase(0).touch(0, 20*mib), "1:0-8 send, 2:8-16 send, 3:16-20 send"},
		{"a new file, parts of which were sent", onBase(0).touch(0, 20*mib).withSent(1, 0, 8*mib).withSent(2, 8*mib, 16*mib), "1:0-8 there, 2:8-16 there, 3:16-20 send"},
		{"nothing changed", onBase(100 * mib), "1:0-64 copy, 9:64-100 copy"},
		{"one byte in the middle", onBase(100*mib).touch(50*mib, 50*mib+1), "1:0-48 copy, 7:48-56 send, 8:56-100 copy"},
		{"the first byte", onBase(20*mib).touch(0, 1), "1:0-8 send, 2:8-20 copy"},
		{"a line appended", onBase(100*mib).touch(100*mib, 101*mib), "1:0-64 copy, 9:64-100 copy, 13:100-101 send"},
		{"a line appended behind a part", onBase(16*mib).touch(16*mib, 17*mib), "1:0-16 copy, 3:16-17 send"},
		{"a line appended to little more than a part", onBase(9*mib).touch(9*mib, 10*mib), "1:0-9 copy, 2:9-10 send"},
		{"appended to less than a part", onBase(7*mib).touch(7*mib, 9*mib), "1:0-8 send, 2:8-9 send"},
		{"appended to less than a part can have", onBase(3*mib).touch(3*mib, 20*mib), "1:0-8 send, 2:8-16 send, 3:16-20 send"},
		{"appended behind what was written", onBase(14*mib).touch(0, 1).touch(14*mib, 15*mib), "1:0-8 send, 2:8-14 copy, 3:14-15 send"},
		{"a little left behind what was written", onBase(11*mib).touch(0, 1).touch(11*mib, 15*mib), "1:0-8 send, 2:8-15 send"},
		{"cut within a part", onBase(100 * mib).cutAt(50 * mib), "1:0-50 copy"},
		{"cut and made longer", onBase(100*mib).cutAt(50*mib).touch(59*mib, 60*mib), "1:0-48 copy, 7:48-56 send, 8:56-60 send"},
		{"a hole behind the base", onBase(16*mib).touch(30*mib, 31*mib), "1:0-16 copy, 3:16-24 send, 4:24-31 send"},
		{"a part that was sent before the file grew", onBase(0).touch(0, 20*mib).withSent(3, 16*mib, 18*mib), "1:0-8 send, 2:8-16 send, 3:16-20 send"},
		{"a tail that was sent before", onBase(9*mib).touch(9*mib, 10*mib).withSent(2, 9*mib, 10*mib), "1:0-9 copy, 2:9-10 there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range tt.draft.segments() {
				got = append(got, fmt.Sprintf("%d:%d-%d %s", s.number, s.off/mib, s.end/mib, [...]string{"there", "send", "copy"}[s.how]))
			}
			if got := strings.Join(got, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAnyDivisionObeysTheLimitsOfUploads(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		size := r.Int64N(int64(1) << (10 + r.IntN(33))) // up to 4 TiB
		d := onBase(size)
		for range r.IntN(4) {
			off := r.Int64N(size + 1)
			d.touch(off, off+1+r.Int64N(64<<20))
		}
		if r.IntN(3) == 0 {
			d.touch(d.size, d.size+1+r.Int64N(9<<20))
		}
		if r.IntN(3) == 0 {
			d.cutAt(r.Int64N(d.size + 1))
			d.cutAt(d.size + r.Int64N(1<<30))
		}
		checkSegments(t, d)
	}
	checkSegments(t, onBase(s3.MaxObjectSize))
	checkSegments(t, onBase(s3.MaxObjectSize-1).touch(s3.MaxObjectSize-1, s3.MaxObjectSize))
	checkSegments(t, onBase(1).cutAt(s3.MaxObjectSize))
}

func checkSegments(t *testing.T, d *Draft) {
	t.Helper()
	all := d.segments()
	if len(all) > s3.MaxParts {
		t.Fatalf("%d bytes make %d parts", d.size, len(all))
	}
	number, off := 0, int64(0)
	for i, s := range all {
		n := s.end - s.off
		switch {
		case s.number <= number || s.number > s3.MaxParts:
			t.Fatalf("%d bytes: part %d comes after %d", d.size, s.number, number)
		case s.off != off:
			t.Fatalf("%d bytes: part %d begins at %d, the one before ends at %d", d.size, s.number, s.off, off)
		case n > s3.MaxPartSize || n < s3.MinPartSize && i < len(all)-1:
			t.Fatalf("%d bytes: part %d has %d", d.size, s.number, n)
		case s.how == copy1 && d.isDirty(s.off, s.end):
			t.Fatalf("%d bytes: part %d from %d to %d is copied, but was written", d.size, s.number, s.off, s.end)
		}
		number, off = s.number, s.end
	}
	if off != d.size {
		t.Fatalf("%d bytes: the parts end at %d", d.size, off)
	}
}
