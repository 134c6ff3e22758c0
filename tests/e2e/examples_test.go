//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/s3"
)

// The files of examples/ as they stand: classes, sizes, scripts and image. hack/e2e gives the base of our own images the name of that image.
func TestExamples(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files []string
		test  func(*space)
	}{
		"dataset":           {[]string{"dataset.yaml", "snapshot.yaml", "clone.yaml"}, exampleDataset},
		"migration":         {[]string{"migration.yaml"}, exampleMigration},
		"scratch-inline":    {[]string{"scratch-inline.yaml"}, exampleInline},
		"scratch-ephemeral": {[]string{"scratch-ephemeral.yaml"}, exampleEphemeral},
		"scratch-claim":     {[]string{"scratch-claim.yaml"}, exampleClaim},
		"statefulset":       {[]string{"statefulset.yaml"}, exampleStatefulSet},
		"striped":           {[]string{"striped.yaml"}, exampleStriped},
		"training":          {[]string{"training-job.yaml"}, exampleTraining},
		"training-tiers":    {[]string{"training-tiers.yaml"}, exampleTrainingTiers},
		"cold-claim":        {[]string{"cold-claim.yaml"}, exampleColdClaim},
		"cold-dataset":      {[]string{"cold-dataset.yaml"}, exampleColdDataset},
	}
	files, err := filepath.Glob(filepath.Join(k.root, "examples", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		used := 0
		for _, tt := range tests {
			if slices.Contains(tt.files, filepath.Base(f)) {
				used++
			}
		}
		if used != 1 {
			t.Errorf("%s is in %d tests", f, used)
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.test(newSpace(t))
		})
	}
}

// A dataset that one pod writes and another reads; its snapshot, restored and served; and a clone of it.
func exampleDataset(s *space) {
	s.example("dataset.yaml")
	wrote := sum(s, s.succeeds("dataset-writer"))
	if read := sum(s, s.succeeds("dataset-reader")); read != wrote {
		s.Errorf("the reader has %s, and %s was written", read, wrote)
	}
	s.example("snapshot.yaml")
	s.example("clone.yaml")
	if log := s.succeeds("dataset-compare"); strings.Count(log, wrote) != 2 {
		s.Errorf("restored and served are not both %s:\n%s", wrote, log)
	}
	if log := s.succeeds("dataset-experiment"); !strings.Contains(log, "shard-0") {
		s.Errorf("the clone has no shard-0:\n%s", log)
	}
	p := s.run("looks", "", claimed("dataset", "/data"))
	if got := p.sh("ls -A /data"); got != "shard-0" {
		s.Errorf("the clone's changes are in the source: %q", got)
	}
}

// The old volume is a directory of a node, as any driver's could be, with what tar and names have trouble with.
func exampleMigration(s *space) {
	node := k.nodes[0]
	dir := "/var/lib/strata-old/" + s.name
	if _, err := k.machine.onNode(s.ctx, node, "mkdir -p "+dir); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if _, err := k.machine.onNode(s.ctx, node, "rm -rf "+dir); err != nil {
			s.Error(err)
		}
	})
	once := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	s.createExtra(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: s.name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: once,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}},
	}})
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "old-data", Namespace: s.name}, Spec: claimSpec("", "1Gi", corev1.ReadWriteOnce)}
	c.Spec.VolumeName = s.name
	s.create(c)
	const list = " && find . ! -type d ! -path './.strata-migration/*' | sort | while read -r f; do echo \"$f $(stat -c '%a %u %g %Y' \"$f\") $(sha256sum < \"$f\")\"; done"
	old := s.run("old", "", claimed("old-data", "/data"))
	want := old.sh(`mkdir -p '/data/a b/c' && cd /data && for i in 1 2 3 4 5; do head -c 3000000 /dev/urandom > "a b/c/file $i"; done &&
		echo x > "a b/-" && chmod 640 "a b/-" && chown 1000:2000 "a b/-" && ln -s "a b/-" link && touch -d '2020-01-02 03:04:05' 'a b/c/file 1'` + list)
	old.remove()
	s.example("migration.yaml")
	logs := s.completes("migration")
	if len(logs) != 1 || !strings.Contains(logs[0], "COMPLETE: 7 files, all the same") {
		s.Errorf("the migration of 7 files says:\n%s", logs)
	}
	if got := s.run("new", k.nodes[1], claimed("new-data", "/data")).sh("cd /data" + list); got != want {
		s.Errorf("the new volume has\n%s\nand the old one\n%s", got, want)
	}
}

func exampleInline(s *space) {
	s.example("scratch-inline.yaml")
	s.succeeds("train")
	holds(s.run("again", "", mount{at: "/scratch", volume: s.volumeOf("train", "scratch")}), 50)
}

func exampleEphemeral(s *space) {
	s.example("scratch-ephemeral.yaml")
	s.succeeds("preprocess")
	holds(s.run("again", "", mount{at: "/scratch", volume: s.volumeOf("preprocess", "scratch")}), 200)
}

// The example is a class and a claim; the pod is ours.
func exampleClaim(s *space) {
	s.example("scratch-claim.yaml")
	holds(s.run("own", "", claimed("shuffle", "/scratch")), 1024)
}

// volumeOf is a volume as the specification of a pod has it.
func (s *space) volumeOf(pod, name string) corev1.VolumeSource {
	s.Helper()
	p, err := k.client.CoreV1().Pods(s.name).Get(s.ctx, pod, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, v := range p.Spec.Volumes {
		if v.Name == name {
			return v.VolumeSource
		}
	}
	s.Fatalf("pod %s has no volume %s", pod, name)
	return corev1.VolumeSource{}
}

// holds wants nearly so many GiB to fit into /scratch, and no more than they. What df says is no proof: on btrfs it is the disk's size.
func holds(p *running, gib int) {
	p.s.Helper()
	p.sh(fmt.Sprintf("fallocate -l %dM /scratch/most && rm /scratch/most", gib*1024*9/10))
	p.fails(fmt.Sprintf("fallocate -l %dM /scratch/more", gib*1024+1), "No space left on device", "Disk quota exceeded", "Quota exceeded")
}

// Every pod of a set finds its own volume again, and has new scratch space.
func exampleStatefulSet(s *space) {
	s.example("statefulset.yaml")
	const first = "until [ -s /data/log ] && [ -s /tmp/scratch/now ]; do sleep 0.1; done; head -n 1 /data/log"
	zero, one := s.ready("tracker-0"), s.ready("tracker-1")
	began, scratch := zero.sh(first), s.bound("tracker-0-scratch").Name
	one.sh(first)
	if a, b := s.bound("data-tracker-0").Name, s.bound("data-tracker-1").Name; a == b {
		s.Errorf("both pods have volume %s", a)
	}
	zero.remove()
	if got := s.ready("tracker-0").sh(first); got != began {
		s.Errorf("the log begins with %q after the pod was made anew, and with %q before", got, began)
	}
	if got := s.bound("tracker-0-scratch").Name; got == scratch {
		s.Errorf("the new pod has the scratch volume %s of the old one", got)
	}
}

// The example is a class, whose volumes are for group 2000; the claim and the pods are ours.
func exampleStriped(s *space) {
	s.example("striped.yaml")
	s.claim("data", "strata-warm-striped", "1Gi", corev1.ReadWriteMany)
	as := func(name string, group int64) *running {
		user := int64(1000)
		p := s.pod(name, "", claimed("data", "/data"))
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, SupplementalGroups: []int64{group}}
		return s.start(p)
	}
	wrote := as("member", 2000).sh("head -c 40000000 /dev/urandom > /data/large && sync && sha256sum < /data/large && stat -c '%a %g' /data")
	if !strings.HasSuffix(wrote, "\n770 2000") {
		s.Errorf("the volume's root has not mode 770 and group 2000: %q", wrote)
	}
	as("stranger", 3000).fails("ls /data", "Permission denied")
	if got := as("reader", 2000).sh("sha256sum < /data/large"); got != strings.TrimSuffix(wrote, "\n770 2000") {
		s.Errorf("read is %s, and written was %s", got, wrote)
	}
}

func exampleTraining(s *space) {
	s.example("training-job.yaml")
	logs := s.completes("training")
	for worker := range 2 {
		if last := fmt.Sprintf("worker %d: step 10\n", worker); !slices.ContainsFunc(logs, func(l string) bool { return strings.HasSuffix(l, last) }) {
			s.Errorf("no log ends with %q: %q", last, logs)
		}
	}
	p := s.run("looks", "", claimed("training-checkpoints", "/checkpoints"))
	if got := p.sh("cd /checkpoints && cat worker-0 worker-1 && ls | wc -l"); got != "10\n10\n2" {
		s.Errorf("the checkpoints are %q", got)
	}
}

// Shards on the warm drive, a copy on each node, checkpoints in S3.
func exampleTrainingTiers(s *space) {
	s.example("training-tiers.yaml")
	logs := s.completes("training-tiers")
	for worker := range 2 {
		if last := fmt.Sprintf("worker %d: step 10\n", worker); !slices.ContainsFunc(logs, func(l string) bool { return strings.HasSuffix(l, last) }) {
			s.Errorf("no log ends with %q: %q", last, logs)
		}
	}
	bucket, err := k.store.bucket(s.ctx, volumesBucket)
	if err != nil {
		s.Fatal(err)
	}
	keys, err := keysBelow(s.ctx, bucket, s.bound("tiers-checkpoints").Spec.CSI.VolumeAttributes["prefix"]+"worker-")
	if err != nil {
		s.Fatal(err)
	}
	for _, end := range []string{"worker-0/1", "worker-0/10", "worker-1/1", "worker-1/10"} {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, end) }) {
			s.Errorf("no object %s in %v", end, keys)
		}
	}
}

var sha256Sum = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// sum is the SHA-256 that stands in a log.
func sum(s *space, log string) string {
	s.Helper()
	found := sha256Sum.FindString(log)
	if found == "" {
		s.Fatalf("no SHA-256 in the log:\n%s", log)
	}
	return found
}

// placeholders are those of a Secret of tier cold, with the key.
func (s store) placeholders() []string {
	return []string{"PUT-THE-ID-HERE", s.key.AccessKeyID, "PUT-THE-SECRET-HERE", s.key.SecretAccessKey}
}

// What a pod writes to a claim of tier cold is an object of the same content.
func exampleColdClaim(s *space) {
	s.exampleOf("cold-claim.yaml", k.store.placeholders()...)
	log := s.succeeds("archive-writer")
	bucket, err := k.store.bucket(s.ctx, volumesBucket)
	if err != nil {
		s.Fatal(err)
	}
	content, err := object(s.ctx, bucket, s.bound("archive").Spec.CSI.VolumeAttributes["prefix"]+"checkpoint-0001.pt")
	if err != nil {
		s.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(content)); !strings.Contains(log, want) {
		s.Errorf("the object's sum is %s, and the pod says\n%s", want, log)
	}
}

// A bucket that others have filled is read, and nothing of it is touched.
func exampleColdDataset(s *space) {
	name := s.name + "-datasets"
	bucket, err := k.store.bucket(s.ctx, name)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := emptied(s.ctx, bucket); err != nil {
			s.Error(err)
		}
	})
	for _, key := range []string{"imagenet/train/1.tar", "imagenet/train/2.tar", "imagenet/labels", "imagenet2/other"} {
		if _, err := bucket.Put(s.ctx, key, strings.NewReader("content"), 7, s3.WriteOptions{}); err != nil {
			s.Fatal(err)
		}
	}
	s.exampleOf("cold-dataset.yaml", append(k.store.placeholders(), "https://s3.example.com", k.store.endpoint, "bucket: datasets", "bucket: "+name,
		"namespace: default", "namespace: "+s.name)...)
	log := s.succeeds("imagenet-reader")
	for _, file := range []string{"/data/train/1.tar", "/data/train/2.tar", "/data/labels"} {
		if !strings.Contains(log, file+"\n") {
			s.Errorf("the reader found no %s:\n%s", file, log)
		}
	}
	if strings.Contains(log, "other") {
		s.Errorf("the reader found what is below another prefix:\n%s", log)
	}
	s.deleteClaim("imagenet")
	keys, err := keysBelow(s.ctx, bucket, "")
	if err != nil || len(keys) != 4 {
		s.Errorf("the bucket has %v after the claim is gone: %v", keys, err)
	}
}
