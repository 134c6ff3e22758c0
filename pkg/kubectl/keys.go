package kubectl

// The keys of volumes with an identity of their own: rotate and fence. Unlike the lists they change something, through the programs
// `strata-controller rotate` and `strata-controller fence` in the controller's container.

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

// KeyList says what was done with the keys of volumes.
type KeyList struct {
	Header
	Volumes []VolumeKeys `json:"volumes"`
}

// VolumeKeys is what was done with those of one volume.
type VolumeKeys struct {
	PV        string `json:"pv,omitempty"`
	Namespace string `json:"namespace,omitempty"` // of its claim
	PVC       string `json:"pvc,omitempty"`
	inspect.Keys
}

// failed counts the volumes with which not all was done.
func (l KeyList) failed() (n int) {
	for _, v := range l.Volumes {
		if v.Error != "" {
			n++
		}
	}
	return n
}

// keysTogether is how many volumes one run of the controller's program is given: a command line is bounded.
const keysTogether = 100

// target is a volume that was named.
type target struct {
	id string
	pv *corev1.PersistentVolume // nil when none has it
}

// targets finds the volumes that are named: by the name of a PersistentVolume, by NAMESPACE/CLAIM, or by a volume id, which needs no
// PersistentVolume.
func targets(pvs []corev1.PersistentVolume, args []string) ([]target, error) {
	var found []target
	for _, arg := range args {
		i := slices.IndexFunc(pvs, func(v corev1.PersistentVolume) bool {
			claim := v.Spec.ClaimRef
			return v.Name == arg || v.Spec.CSI.VolumeHandle == arg || claim != nil && claim.Namespace+"/"+claim.Name == arg
		})
		t := target{id: arg}
		switch {
		case i >= 0:
			t = target{id: pvs[i].Spec.CSI.VolumeHandle, pv: &pvs[i]}
		case !strings.Contains(arg, ":"):
			return nil, fmt.Errorf("no PersistentVolume of this driver is named %q or bound to such a claim; a volume is named by its PersistentVolume, "+
				"by NAMESPACE/CLAIM or by its id, see kubectl strata volumes -o wide", arg)
		}
		if tier, _, _ := strings.Cut(t.id, ":"); tier != "warm" {
			return nil, fmt.Errorf("%s is a volume of tier %s: only those of tier warm have identities", arg, tier)
		}
		if !slices.ContainsFunc(found, func(o target) bool { return o.id == t.id }) {
			found = append(found, t)
		}
	}
	return found, nil
}

// everyTarget are the PersistentVolumes with an identity of their own, by the index of their clusters.
func (c Clients) everyTarget(ctx context.Context, pvs []corev1.PersistentVolume) ([]target, stored, error) {
	s, err := c.stored(ctx, "orphans")
	if err != nil {
		return nil, s, err
	}
	var found []target
	for i := range pvs {
		id := pvs[i].Spec.CSI.VolumeHandle
		if slices.ContainsFunc(s.Identities, func(i inspect.Identity) bool { return i.Volume == id }) {
			found = append(found, target{id: id, pv: &pvs[i]})
		}
	}
	return found, s, nil
}

// changeKeys runs one of the controller's programs on volumes. What was done before an error is in the list.
func (c Clients) changeKeys(ctx context.Context, program string, flags []string, volumes []target) (KeyList, error) {
	out := KeyList{Header: c.header("KeyList"), Volumes: []VolumeKeys{}}
	for chunk := range slices.Chunk(volumes, keysTogether) {
		args := slices.Clone(flags)
		for _, t := range chunk {
			args = append(args, t.id)
		}
		raw, err := c.change(ctx, program, args...)
		if err != nil {
			return out, err
		}
		var list inspect.KeyList
		if err := decodeInspect(raw, &list, inspect.KindKeys); err != nil {
			return out, err
		}
		for _, k := range list.Volumes {
			v := VolumeKeys{Keys: k}
			i := slices.IndexFunc(chunk, func(t target) bool { return t.id == k.Volume })
			if i >= 0 && chunk[i].pv != nil {
				v.PV = chunk[i].pv.Name
				if r := chunk[i].pv.Spec.ClaimRef; r != nil {
					v.Namespace, v.PVC = r.Namespace, r.Name
				}
			}
			out.Volumes = append(out.Volumes, v)
		}
	}
	return out, nil
}

func (l KeyList) print(w io.Writer) error {
	if len(l.Volumes) == 0 {
		_, err := fmt.Fprintln(w, "No volume has an identity of its own.")
		return err
	}
	rows := [][]string{{"NAMESPACE", "CLAIM", "PV", "KEY", "BEFORE", "REMOVED", "SHUT OUT", "RESULT"}}
	for _, v := range l.Volumes {
		key, result := strings.TrimPrefix(v.User, "client."), "done"
		if v.Fenced {
			key = "(fenced)"
		}
		if v.Error != "" {
			result = "FAILED"
		}
		rows = append(rows, []string{v.Namespace, v.PVC, v.PV, key, orNone(len(v.Former)), orNone(len(v.Retired)), orNone(len(v.ShutOut)), result})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, v := range l.Volumes {
		for _, o := range v.ShutOut {
			if _, err := fmt.Fprintf(w, "shut out of %s: %s, host %s\n", v.name(), oneLine(o.Address), oneLine(o.Host)); err != nil {
				return err
			}
		}
		if v.Error != "" {
			if _, err := fmt.Fprintf(w, "FAILED %s: %s\n", v.name(), oneLine(v.Error)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v VolumeKeys) name() string {
	if v.PV != "" {
		return v.PV
	}
	return v.Volume
}

func orNone(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
