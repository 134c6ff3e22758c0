package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	discoveryfake "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// now is when all tests take place.
var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// world is a cluster in which everything is as it should be, for a test to change.
type world struct {
	t         *testing.T
	objects   []runtime.Object
	snapshots []runtime.Object
	forbid    string // a resource that may not be listed
	controller
}

// controller answers in the place of strata-controller inspect.
type controller struct {
	doctor    inspect.Doctor
	inventory inspect.Inventory
	err       error
	revokeErr error                            // of strata-controller revoke
	keys      func(volume string) inspect.Keys // what strata-controller rotate and fence did with a volume
	fence     []inspect.ClusterFence           // what strata-controller fence-node did
	commands  [][]string
}

func (c *controller) Run(_ context.Context, namespace, pod, container string, command []string) ([]byte, error) {
	c.commands = append(c.commands, append([]string{namespace, pod, container}, command...))
	if c.err != nil {
		return nil, c.err
	}
	if slices.Contains(command, "revoke") {
		return nil, c.revokeErr
	}
	if i := slices.IndexFunc(command, func(a string) bool { return a == "rotate" || a == "fence" }); i >= 0 {
		list := inspect.NewKeyList()
		for _, a := range command[i+1:] {
			if !strings.HasPrefix(a, "--") {
				list.Volumes = append(list.Volumes, c.keys(a))
			}
		}
		return json.Marshal(list)
	}
	if slices.Contains(command, "fence-node") {
		f := inspect.NewNodeFence(command[len(command)-len(configured)-1], slices.Contains(command, "--undo"))
		f.Clusters = c.fence
		return json.Marshal(f)
	}
	if slices.Contains(command, "doctor") {
		return json.Marshal(c.doctor)
	}
	return json.Marshal(c.inventory)
}

func ptr[T any](v T) *T { return &v }

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour))}
}

func inNamespace(name string) metav1.ObjectMeta {
	m := meta(name)
	m.Namespace = "strata"
	return m
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	driver := &storagev1.CSIDriver{ObjectMeta: meta(driverName), Spec: storagev1.CSIDriverSpec{AttachRequired: ptr(false), PodInfoOnMount: ptr(true),
		StorageCapacity: ptr(true), SELinuxMount: ptr(false), FSGroupPolicy: ptr(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy),
		VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}}}
	deployment := &appsv1.Deployment{ObjectMeta: inNamespace(controllerName), Spec: appsv1.DeploymentSpec{Replicas: ptr(int32(2)), Selector: selector("controller"),
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: controllerName, Containers: []corev1.Container{
			{Name: controllerName, Image: "ghcr.io/strata-csi/strata-controller:0.1.0", Args: []string{"--endpoint=unix:///csi/csi.sock", "--cluster-config=/etc/strata/other.yaml", "--namespace=$(POD_NAMESPACE)"},
				Env: []corev1.EnvVar{{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
			{Name: "csi-provisioner", Image: "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0"},
			{Name: "csi-resizer", Image: "registry.k8s.io/sig-storage/csi-resizer:v2.2.0@sha256:abc"},
			{Name: "csi-snapshotter", Image: "localhost:5000/csi-snapshotter:v8.6.0"}}}}},
		Status: appsv1.DeploymentStatus{ReadyReplicas: 2, AvailableReplicas: 2}}
	w.add(driver, deployment, daemonSet(nodeName, "node"), daemonSet(holderName, "mountd"), account(controllerName), account(nodeName))
	holder := account(holderName)
	holder.AutomountServiceAccountToken = ptr(false)
	w.add(holder)
	for _, name := range []string{"strata-controller-a", "strata-controller-b"} {
		p := pod(name, "controller", "node-a")
		p.Spec.Containers = deployment.Spec.Template.Spec.Containers
		w.add(p)
	}
	for _, name := range []string{"node-a", "node-b"} {
		n := &corev1.Node{ObjectMeta: meta(name)}
		n.Labels = map[string]string{topologyKey: name}
		w.add(n, &storagev1.CSINode{ObjectMeta: meta(name), Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driverName, NodeID: name,
			TopologyKeys: []string{topologyKey, driverName + "/scratch-btrfs"}}}}},
			daemonPod(nodeName, "node", name), daemonPod(holderName, "mountd", name), scratchRoom(name, 100*gib, now.Add(-30*time.Second)))
	}
	w.add(
		&storagev1.StorageClass{ObjectMeta: meta("strata-warm"), Provisioner: driverName, Parameters: map[string]string{"tier": "warm", "team": "${pvc.namespace}",
			"csi.storage.k8s.io/node-stage-secret-name": "strata-warm", "csi.storage.k8s.io/node-stage-secret-namespace": "strata",
			"csi.storage.k8s.io/node-publish-secret-name": "strata-warm", "csi.storage.k8s.io/node-publish-secret-namespace": "strata"}},
		&storagev1.StorageClass{ObjectMeta: meta("strata-scratch"), Provisioner: driverName, Parameters: map[string]string{"tier": "scratch"},
			VolumeBindingMode: ptr(storagev1.VolumeBindingWaitForFirstConsumer)},
		&storagev1.StorageClass{ObjectMeta: meta("foreign"), Provisioner: "other.example.com", Parameters: map[string]string{"tier": "lukewarm"}},
		&corev1.Secret{ObjectMeta: inNamespace("strata-warm"), Data: map[string][]byte{"userID": []byte("strata-node"), "userKey": []byte("AQtopsecret==")}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "snapshot-controller", Namespace: "kube-system"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "registry.k8s.io/sig-storage/snapshot-controller:v8.6.0"}}}}},
			Status: appsv1.DeploymentStatus{AvailableReplicas: 1}},
	)
	w.snapshots = append(w.snapshots, &volumesnapshotv1.VolumeSnapshotClass{ObjectMeta: meta("strata-warm"), Driver: driverName, DeletionPolicy: "Delete",
		Parameters: map[string]string{"tier": "warm", "csi.storage.k8s.io/snapshotter-secret-name": "x"}})
	head := func(kind string) inspect.Header {
		return inspect.Header{APIVersion: inspect.APIVersion, Kind: kind, Program: "devel", Time: now}
	}
	w.doctor = inspect.Doctor{Header: head(inspect.KindDoctor), Checks: []inspect.Check{{Name: "ceph-reachable", Subject: "cluster main", Result: inspect.OK, Found: "10.0.0.1:3300 answers client.strata-controller"}},
		Clusters: []inspect.Cluster{{ID: "main", NamePrefix: "k8s-a", Defaults: map[string]string{"fsName": "warm", "pool": "warm-ec"},
			FileSystems: []inspect.FileSystem{{Name: "warm", DataPools: []string{"warm-data", "warm-ec"}, Active: 1, Wanted: 1, Standby: 1}},
			Pools:       []inspect.Pool{{Name: "warm-data", Size: 3, Available: 20 * gib}, {Name: "warm-ec", Erasure: true, Overwrites: true, Size: 6, Available: 40 * gib}}}}}
	w.inventory = inspect.Inventory{Header: head(inspect.KindInventory), Places: []inspect.Place{{Cluster: "main", FileSystem: "warm", NamePrefix: "k8s-a"}},
		Missed: []inspect.Missed{}, Volumes: []inspect.Volume{}, Snapshots: []inspect.Snapshot{}}
	return w
}

func (w *world) add(o ...runtime.Object) { w.objects = append(w.objects, o...) }

// object finds one to change.
func object[T metav1.Object](w *world, name string) T {
	w.t.Helper()
	for _, o := range slices.Concat(w.objects, w.snapshots) {
		if x, ok := o.(T); ok && x.GetName() == name {
			return x
		}
	}
	var none T
	w.t.Fatalf("there is no %T %s", none, name)
	return none
}

// drop takes objects away.
func drop[T metav1.Object](w *world, names ...string) {
	w.objects = slices.DeleteFunc(w.objects, func(o runtime.Object) bool {
		x, ok := o.(T)
		return ok && slices.Contains(names, x.GetName())
	})
}

func (w *world) clients() Clients {
	kube := fake.NewClientset(w.objects...)
	if d, ok := kube.Discovery().(*discoveryfake.FakeDiscovery); ok {
		d.FakedServerVersion = &apiversion.Info{Major: "1", Minor: "35", GitVersion: "v1.35.4"}
	}
	kube.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := a.(clienttesting.CreateAction)
		if !ok {
			return false, nil, nil
		}
		review, ok := create.GetObject().(*authorizationv1.SubjectAccessReview)
		if !ok {
			return false, nil, nil
		}
		review.Status.Allowed = strings.HasSuffix(review.Spec.User, ":too-mighty")
		return true, review, nil
	})
	if w.forbid != "" {
		kube.PrependReactor("list", w.forbid, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: w.forbid}, "", errors.New("not yours"))
		})
	}
	//lint:ignore SA1019 the library has no other
	snaps := snapshotfake.NewSimpleClientset(w.snapshots...)
	return Clients{Kube: kube, Snapshots: snaps, Exec: &w.controller, Namespace: "strata", Now: func() time.Time { return now }}
}

// run runs the program in the world.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	c := w.clients()
	code, err := Main(w.t.Context(), args, &out, &errs, testTiers, func(a Access) (Clients, error) {
		c.Namespace = a.Namespace
		return c, nil
	})
	if err != nil {
		errs.WriteString("error: " + err.Error() + "\n")
	}
	return code, out.String(), errs.String()
}

// testTiers know tier warm with a few parameters, and tier scratch.
var testTiers = Tiers{
	volume.Warm: func(p map[string]string) error {
		for k := range p {
			if !slices.Contains([]string{"tier", "team", "pool", "fsName", "clusterID", "identity"}, k) {
				return errors.Join(volume.ErrInvalid, errors.New("there is no parameter "+k))
			}
		}
		return nil
	},
	volume.Scratch: func(map[string]string) error { return nil },
}

func selector(component string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/component": component}}
}

func account(name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: inNamespace(name)}
}

func daemonSet(name, component string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: inNamespace(name), Spec: appsv1.DaemonSetSpec{Selector: selector(component),
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
		Template:       corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: name, Containers: []corev1.Container{{Name: name}}}}}}
}

func pod(name, component, node string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: inNamespace(name), Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	p.Labels = selector(component).MatchLabels
	return p
}

func daemonPod(set, component, node string) *corev1.Pod {
	p := pod(set+"-"+node, component, node)
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: set}}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func scratchRoom(node string, free int64, at time.Time) *corev1.ConfigMap {
	raw, err := json.Marshal(map[string]any{"node": node, "time": at, "classes": map[string]any{"default": map[string]int64{"available": free, "largest": free}}})
	if err != nil {
		panic(err)
	}
	m := &corev1.ConfigMap{ObjectMeta: inNamespace(reportPrefix + node), Data: map[string]string{"report.json": string(raw)}}
	m.Labels = map[string]string{reportLabel: "true"}
	return m
}

// persistent makes a PersistentVolume, bound to a claim when there is one ("namespace/name").
func persistent(name, id, claim string, size int64, class string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: meta(name), Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}, StorageClassName: class,
		AccessModes:            []corev1.PersistentVolumeAccessMode{mode},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: id}}}}
	if namespace, pvc, ok := strings.Cut(claim, "/"); ok {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: pvc}
		v.Status.Phase = corev1.VolumeBound
	}
	return v
}

func userPod(name, namespace, node string, volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: corev1.PodSpec{NodeName: node, Volumes: volumes},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

func claimed(claim string) corev1.Volume {
	return corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

// held is a volume of cluster main as inspect tells it.
func held(team, name string, size, used int64) inspect.Volume {
	return inspect.Volume{ID: "warm:main:warm:k8s-a." + team + ":" + name, Cluster: "main", FileSystem: "warm", Group: "k8s-a." + team, Name: name, Team: team, PV: name,
		Namespace: team, PVC: "data", Pool: "warm-ec", State: inspect.Ready, Size: size, Used: &used, Files: ptr(int64(7)), Changed: ptr(now.Add(-72 * time.Hour)), Health: []inspect.Condition{}}
}
