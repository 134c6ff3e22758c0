package config

import (
	"errors"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// sizeForm is a Kubernetes quantity without exponents and without suffixes below one: nobody means 100m bytes, and 1e3Gi is a slip.
var sizeForm = regexp.MustCompile(`^[0-9]{1,20}(\.[0-9]{1,20})?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`)

const maxSize = 1 << 60 // bytes; sums of sizes must not overflow

// ParseSize reads the size of a volume, such as 100Gi, 1.5T or a number of bytes, and rounds it up to 1 MiB, the grain of volumes.
// The error says what is allowed; it doesn't name or quote s.
func ParseSize(s string) (int64, error) {
	const allowed = "write a number of bytes, or one with a suffix such as 500Mi, 100Gi or 2T"
	if !sizeForm.MatchString(s) {
		return 0, errors.New("is not a size: " + allowed)
	}
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return 0, fmt.Errorf("is not a size (%w): %s", err, allowed)
	}
	// Value rounds up, so that a fraction makes a difference. Compared first: what doesn't fit is cut by it.
	if q.CmpInt64(maxSize) > 0 {
		return 0, errors.New("is larger than any disk: the most is 1Ei")
	}
	n := q.Value()
	switch {
	case q.CmpInt64(n) != 0:
		return 0, errors.New("is not a whole number of bytes: " + allowed)
	case n < disk.MinSize:
		return 0, fmt.Errorf("is too small: the least is %dMi", disk.MinSize>>20)
	}
	return RoundUp(n), nil
}

const grain = 1 << 20

// RoundUp is the next multiple of 1 MiB, of which disk.Spec.Size is one.
func RoundUp(n int64) int64 { return (n + grain - 1) / grain * grain }

// FormatSize writes bytes as ParseSize reads them, in the largest unit that loses nothing.
func FormatSize(n int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d%s", n, units[i])
}
