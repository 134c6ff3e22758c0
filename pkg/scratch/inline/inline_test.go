package inline

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	gib    = int64(1) << 30
	podUID = "0ba4f2f5-6b1f-4d3e-8a0b-5f6f0e5f7f11"
)

var configuration = config.Config{Classes: []config.Class{
	{Name: "default", Pool: "nvme", DefaultSize: 10 * gib, MaxSize: 100 * gib, Wipe: disk.WipeNone},
	{Name: "fast", Pool: "nvme", FSType: "xfs", MountOptions: []string{"noatime"}, Wipe: disk.WipeZero},
}}

func path(uid, name string) string {
	return "/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~csi/" + name + "/mount"
}

// request is one that is granted, of volume "work".
func request(attributes map[string]string) tier.InlineSpec {
	return tier.InlineSpec{
		ID: ID(podUID, "work"), Path: path(podUID, "work"), Attributes: attributes,
		Pod: tier.Pod{Name: "train-0", Namespace: "vision", UID: podUID},
	}
}

func attributesOf(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestWhatAPodMayHave(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes map[string]string
		fsType     string
		class      int
		size       int64
	}{
		{name: "nothing said", class: 0, size: 10 * gib},
		{name: "a size", attributes: attributesOf("size", "100Gi"), class: 0, size: 100 * gib},
		{name: "a size rounded up", attributes: attributesOf("size", "20M"), class: 0, size: 20 << 20},
		{name: "the least", attributes: attributesOf("size", "16777216"), class: 0, size: disk.MinSize},
		{name: "the default class by name", attributes: attributesOf("class", "default"), class: 0, size: 10 * gib},
		{name: "an empty class", attributes: attributesOf("class", ""), class: 0, size: 10 * gib},
		{name: "another class", attributes: attributesOf("class", "fast", "size", "1.5Ti"), class: 1, size: 1536 * gib},
		{name: "the file system that the class has", attributes: attributesOf("class", "fast", "size", "1Gi"), fsType: "xfs", class: 1, size: gib},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := request(c.attributes)
			spec.FSType = c.fsType
			got, err := Parse(spec, configuration)
			want := Request{Class: configuration.Classes[c.class], Size: c.size, PodUID: podUID, PodNamespace: "vision", PodName: "train-0", VolumeName: "work"}
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, d)
			}
		})
	}
}

func TestWhatAPodIsRefused(t *testing.T) {
	with := func(change func(*tier.InlineSpec)) tier.InlineSpec {
		spec := request(nil)
		change(&spec)
		return spec
	}
	at := func(p string) tier.InlineSpec { return with(func(s *tier.InlineSpec) { s.Path = p }) }
	attribute := func(pairs ...string) tier.InlineSpec { return request(attributesOf(pairs...)) }
	const notKubelets = "isn't one that kubelet makes"
	for _, c := range []struct {
		name string
		spec tier.InlineSpec
		is   error // default volume.ErrInvalid
		want []string
	}{
		{name: "unknown attribute", spec: attribute("sise", "1Gi"), want: []string{"volume work of pod vision/train-0", `"sise", which a pod can't choose, did you mean "size"?`, "allowed: class, size"}},
		{name: "attribute of the operator's", spec: attribute("mountOptions", "suid"), want: []string{`"mountOptions", which a pod can't choose`}},
		{name: "attribute in another case", spec: attribute("Size", "1Gi"), want: []string{`did you mean "size"?`}},
		{name: "attribute like kubelet's", spec: attribute("csi.storage.k8s.io/pod.uid", "x"), want: []string{"which a pod can't choose"}},
		{name: "a tier", spec: attribute("tier", "scratch"), want: []string{`"tier", which a pod can't choose`}},
		{name: "unknown class", spec: attribute("class", "fats"), want: []string{`no class "fats", did you mean "fast"?`, "it has: default, fast"}},
		{name: "class that is a path", spec: attribute("class", "../default"), want: []string{"no class"}},
		{name: "size of nothing", spec: attribute("size", "0"), want: []string{`size "0" is too small: the least is 16Mi`}},
		{name: "empty size", spec: attribute("size", ""), want: []string{`size "" is not a size`, "100Gi"}},
		{name: "negative size", spec: attribute("size", "-1Gi"), want: []string{`size "-1Gi" is not a size`}},
		{name: "small size", spec: attribute("size", "16777215"), want: []string{"is too small: the least is 16Mi"}},
		{name: "fraction of a byte", spec: attribute("size", "20000000.5"), want: []string{"is not a whole number of bytes"}},
		{name: "thousandths", spec: attribute("size", "100000000000m"), want: []string{"is not a size"}},
		{name: "exponent", spec: attribute("size", "1e10"), want: []string{"is not a size"}},
		{name: "more than there is", spec: attribute("size", "99999999999999999999E"), want: []string{"the most is 1Ei"}},
		{name: "above the class", spec: attribute("size", "100.5Gi"), want: []string{"size 102912Mi is above what class default allows, 100Gi"}},
		{name: "no size where the class has none", spec: attribute("class", "fast"), want: []string{"size is missing, and class fast has no default"}},
		{name: "file system where the disk chooses", spec: with(func(s *tier.InlineSpec) { s.FSType = "ext4" }), want: []string{`fsType is "ext4" and class default has the disk's own choice`, "remove it"}},
		{name: "another file system", spec: with(func(s *tier.InlineSpec) {
			s.FSType, s.Attributes = "ext4", attributesOf("class", "fast", "size", "1Gi")
		}), want: []string{`fsType is "ext4" and class fast has xfs`}},
		{name: "mount options", spec: with(func(s *tier.InlineSpec) { s.Options = []string{"noatime"} }), want: []string{`mount options ["noatime"]`, "class alone"}},

		{name: "no pod", spec: with(func(s *tier.InlineSpec) { s.Pod = tier.Pod{} }), is: volume.ErrPrecondition, want: []string{"CSIDriver", "podInfoOnMount: true"}},
		{name: "no pod UID", spec: with(func(s *tier.InlineSpec) { s.Pod.UID = "" }), is: volume.ErrPrecondition, want: []string{"podInfoOnMount: true"}},
		{name: "no pod name", spec: with(func(s *tier.InlineSpec) { s.Pod.Name = "" }), is: volume.ErrPrecondition, want: []string{"podInfoOnMount: true"}},
		{name: "no namespace", spec: with(func(s *tier.InlineSpec) { s.Pod.Namespace = "" }), is: volume.ErrPrecondition, want: []string{"podInfoOnMount: true"}},
		{name: "another pod's path", spec: at(path("other", "work")), want: []string{`UID "` + podUID + `"`, `"other"`, "podInfoOnMount: true"}},
		{name: "another volume's path", spec: at(path(podUID, "home")), want: []string{"volume home of pod vision/train-0", ID(podUID, "work"), ID(podUID, "home")}},
		{name: "an id that a pod made up", spec: with(func(s *tier.InlineSpec) { s.ID = "csi-1" }), want: []string{`"csi-1"`, ID(podUID, "work")}},
		{name: "upper-case id", spec: with(func(s *tier.InlineSpec) { s.ID = strings.ToUpper(s.ID) }), want: []string{"kubelet would have made"}},
		{name: "id of a claim's volume", spec: with(func(s *tier.InlineSpec) { s.ID = "scratch:default:pvc-1" }), want: []string{"kubelet would have made"}},
		{name: "no path", spec: at(""), want: []string{notKubelets}},
		{name: "relative path", spec: at(strings.TrimPrefix(path(podUID, "work"), "/")), want: []string{notKubelets}},
		{name: "path with a slash at its end", spec: at(path(podUID, "work") + "/"), want: []string{notKubelets}},
		{name: "path through ..", spec: at("/x/../" + path(podUID, "work")), want: []string{notKubelets}},
		{name: "path without mount", spec: at(strings.TrimSuffix(path(podUID, "work"), "/mount")), want: []string{notKubelets}},
		{name: "path below mount", spec: at(path(podUID, "work") + "/x"), want: []string{notKubelets}},
		{name: "path of another plugin", spec: at(strings.Replace(path(podUID, "work"), "~csi", "~secret", 1)), want: []string{notKubelets}},
		{name: "staging path", spec: at("/var/lib/kubelet/plugins/kubernetes.io/csi/csi.strata.dev/0123/globalmount"), want: []string{notKubelets}},
		{name: "name that is no volume's", spec: at(path(podUID, "Work")), want: []string{notKubelets}},
		{name: "escaped name", spec: at(path(podUID, "a~b")), want: []string{notKubelets}},
		{name: "path without a root", spec: at("/pods/" + podUID), want: []string{notKubelets}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.is == nil {
				c.is = volume.ErrInvalid
			}
			got, err := Parse(c.spec, configuration)
			if !errors.Is(err, c.is) {
				t.Fatalf("got %+v, %v", got, err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %q", w, err)
				}
			}
			if !cmp.Equal(got, Request{}) {
				t.Errorf("a refused request is %+v", got)
			}
		})
	}
}

// TestKubeletElsewhere: the root directory of kubelet differs from one distribution to the next.
func TestKubeletElsewhere(t *testing.T) {
	for _, root := range []string{"", "/var/snap/microk8s/common/var/lib/kubelet", "/pods/x/volumes"} {
		spec := request(nil)
		spec.Path = root + "/pods/" + podUID + "/volumes/kubernetes.io~csi/work/mount"
		if _, err := Parse(spec, configuration); err != nil {
			t.Errorf("%q: %v", root, err)
		}
	}
}

// TestIDIsKubelets: the digits are those of `printf uidname | sha256sum`.
func TestIDIsKubelets(t *testing.T) {
	if got, want := ID("uid", "name"), "csi-9b6ace7c01cfc0bcedec231914715a7b807d857f9bacaeb09d392a9eea9a9766"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ID(podUID, "work"), path(podUID, "work"), podUID, "size", "1Gi", "")
	f.Add("csi-0", "/pods/../volumes/kubernetes.io~csi/a/mount", "..", "class", "fast", "xfs")
	f.Add("", "", "", "", "", "")
	f.Add(ID("..", "a"), path("..", "a"), "..", "size", "1e400000000Gi", "ext4")
	f.Add(ID(podUID, "work"), path(podUID, "work"), podUID, "size", "00000000000000000001.9999999999999999Ei", "")
	f.Fuzz(func(t *testing.T, id, path, uid, key, value, fsType string) {
		spec := tier.InlineSpec{ID: id, Path: path, Attributes: attributesOf(key, value), FSType: fsType, Pod: tier.Pod{Name: "p", Namespace: "n", UID: uid}}
		r, err := Parse(spec, configuration)
		if err != nil {
			if !errors.Is(err, volume.ErrInvalid) && !errors.Is(err, volume.ErrPrecondition) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		switch {
		case r.Size < disk.MinSize || r.Size%(1<<20) != 0 || r.Class.MaxSize > 0 && r.Size > r.Class.MaxSize:
			t.Errorf("size %d of class %s", r.Size, r.Class.Name)
		case ID(r.PodUID, r.VolumeName) != id || !strings.HasSuffix(path, "/"+uid+"/volumes/kubernetes.io~csi/"+r.VolumeName+"/mount"):
			t.Errorf("%s at %s is none of kubelet's", id, path)
		}
	})
}
