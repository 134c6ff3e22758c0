package main

// What the tests have in common: the renderings of testdata, decoded.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/strata-csi/strata/hack/chart/render"
)

const root = "../.."

// cases are the values files in testdata, without ".yaml".
var cases = []string{"warm", "scratch", "cold", "everything", "openshift", "e2e"}

func options(values ...string) render.Options {
	return render.Options{Chart: filepath.Join(root, "deploy", "strata"), Values: values, Release: "strata", Namespace: "strata"}
}

func values(name string) string { return filepath.Join("testdata", name+".yaml") }

func files(t *testing.T, name string) []render.File {
	t.Helper()
	f, err := render.Files(options(values(name)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// prometheus-operator's types, as far as the chart uses them: a field that isn't here is refused.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Interval    string `json:"interval"`
			Relabelings []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name     string `json:"name"`
			Interval string `json:"interval"`
			Rules    []struct {
				Alert         string            `json:"alert"`
				Record        string            `json:"record"`
				Expr          string            `json:"expr"`
				For           string            `json:"for"`
				KeepFiringFor string            `json:"keep_firing_for"`
				Labels        map[string]string `json:"labels"`
				Annotations   map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

func (s *serviceMonitor) DeepCopyObject() runtime.Object { c := *s; return &c }
func (p *prometheusRule) DeepCopyObject() runtime.Object { c := *p; return &c }

// object is one of a rendering.
type object struct {
	file string
	obj  runtime.Object
	meta metav1.Object
	text []byte
}

func (o object) kind() string   { return o.obj.GetObjectKind().GroupVersionKind().Kind }
func (o object) String() string { return fmt.Sprintf("%s %s (%s)", o.kind(), o.meta.GetName(), o.file) }

var strict = func() runtime.Decoder {
	s := runtime.NewScheme()
	utilruntime.Must(scheme.AddToScheme(s))
	utilruntime.Must(snapshotv1.AddToScheme(s))
	monitoring := metav1.GroupVersion{Group: "monitoring.coreos.com", Version: "v1"}
	s.AddKnownTypeWithName(schemaKind(monitoring, "ServiceMonitor"), &serviceMonitor{})
	s.AddKnownTypeWithName(schemaKind(monitoring, "PrometheusRule"), &prometheusRule{})
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Yaml: true, Strict: true})
}()

// objects decodes a rendering strictly: an unknown field, a field twice and a wrong type are errors.
func objects(t *testing.T, files []render.File) []object {
	t.Helper()
	var out []object
	for _, f := range files {
		for i, text := range bytes.Split(f.Text, []byte("\n---\n")) {
			obj, gvk, err := strict.Decode(text, nil, nil)
			if err != nil {
				t.Errorf("%s, document %d: %v\n%s", f.Name, i, err, text)
				continue
			}
			obj.GetObjectKind().SetGroupVersionKind(*gvk)
			out = append(out, object{f.Name, obj, obj.(metav1.Object), text})
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// each runs a test for each case.
func each(t *testing.T, check func(*testing.T, []object)) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) { check(t, objects(t, files(t, name))) })
	}
}

// template is the pod template of an object that has one.
func template(o object) (corev1.PodTemplateSpec, *metav1.LabelSelector, bool) {
	switch w := o.obj.(type) {
	case *deployment:
		return w.Spec.Template, w.Spec.Selector, true
	case *daemonSet:
		return w.Spec.Template, w.Spec.Selector, true
	}
	return corev1.PodTemplateSpec{}, nil, false
}

// Every file of testdata is a case, so that none is forgotten.
func TestCasesAreComplete(t *testing.T) {
	found, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(found) != len(cases) {
		t.Fatalf("testdata has %v, and the cases are %v", found, cases)
	}
	for _, f := range found {
		if !strings.Contains(strings.Join(cases, " "), strings.TrimSuffix(filepath.Base(f), ".yaml")) {
			t.Errorf("%s is no case", f)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
