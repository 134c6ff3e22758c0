package examples

// What the examples of tier cold say is what its node takes.

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/strata-csi/strata/pkg/cold/client"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// A PersistentVolume that is written by hand is one that a node would stage, with a Secret that is beside it.
func TestVolumesMadeByHandAreAccepted(t *testing.T) {
	p := mountpoint.NewProber(0)
	node, err := client.New(client.Config{Holder: noHolder{}, Prober: p, Unmounter: mountpoint.NewUnmounter(p)})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for file, objects := range all(t) {
		for _, o := range objects {
			if o.Kind != "PersistentVolume" {
				continue
			}
			checked++
			csi := o.Spec.CSI
			id, err := volume.ParseID(csi.Handle)
			if err == nil {
				err = node.CheckContext(id, csi.Attributes, o.Spec.MountOptions)
			}
			if err != nil {
				t.Errorf("%s: PersistentVolume %s: %v", file, o.Metadata.Name, err)
			}
			for _, ref := range []reference{csi.StageSecret, csi.PublishSecret} {
				if !slices.ContainsFunc(objects, func(s object) bool {
					return s.Kind == "Secret" && s.Metadata.Name == ref.Name && s.Metadata.Namespace == ref.Namespace
				}) {
					t.Errorf("%s: PersistentVolume %s has its key in Secret %s/%s", file, o.Metadata.Name, ref.Namespace, ref.Name)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no example has a PersistentVolume")
	}
}

// The Secrets of the examples have the keys that the driver reads, and no key of anybody.
func TestSecretsAreOfTheFormAndEmpty(t *testing.T) {
	placeholder := regexp.MustCompile(`^PUT-THE-(ID|SECRET)-HERE$`)
	classes := map[string]bool{} // the Secrets that the chart's classes of tier cold name
	for _, o := range chart(t, "storageclasses.yaml") {
		if o.Parameters["tier"] == string(volume.Cold) {
			classes[o.Parameters["csi.storage.k8s.io/node-stage-secret-namespace"]+"/"+o.Parameters["csi.storage.k8s.io/node-stage-secret-name"]] = false
		}
	}
	seen := 0
	for file, objects := range all(t) {
		for _, o := range objects {
			if o.Kind != "Secret" {
				continue
			}
			seen++
			if _, err := secret.Parse(o.Text); err != nil {
				t.Errorf("%s: Secret %s: %v", file, o.Metadata.Name, err)
			}
			for key, value := range o.Text {
				if !placeholder.MatchString(value) {
					t.Errorf("%s: Secret %s: %s isn't for the reader to fill in", file, o.Metadata.Name, key)
				}
			}
			if name := o.Metadata.Namespace + "/" + o.Metadata.Name; slices.Contains(slices.Collect(maps.Keys(classes)), name) {
				classes[name] = true
			}
		}
	}
	if seen == 0 || len(classes) == 0 {
		t.Errorf("%d Secrets and %d classes were seen in %s", seen, len(classes), filepath.Base("examples"))
	}
	for name, has := range classes {
		if !has {
			t.Errorf("no example has the Secret %s, which the chart's class names", name)
		}
	}
}

// noHolder is for a node that is asked for nothing but its opinion.
type noHolder struct{ client.Holder }
